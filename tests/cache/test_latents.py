"""A cache of latents: each item encoded once, under a key of all that it depends on, and read back as it was."""

import copy
import os
from functools import cache

import numpy as np
import pytest
import soundfile
import torch
from omegaconf import OmegaConf

import mmdiff.cache.encode as encoding
from mmdiff.adapters.video.shapes import Shapes
from mmdiff.adapters.video.write import write_video
from mmdiff.cache.encode import JobPart, encode, require, settings
from mmdiff.cache.latents import Latents
from mmdiff.cache.originals import uncached
from mmdiff.cache.shards import Shards
from mmdiff.cli.encode import job_part, main
from mmdiff.config.adapter import build_codec
from mmdiff.config.build import ConfigError, build
from mmdiff.config.overrides import composed
from mmdiff.data.dataset import Dataset
from mmdiff.data.loaders import Loading, eval_loader, samples, train_loader
from mmdiff.data.splits import split

AUDIO = ["adapter=audio", "adapter.reader.seconds=0.5", "adapter.reader.pad=mask"]


def sounds(root, names=("ann_0", "ann_1", "bob_2", "bob_3", "bob_4")):
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        wave = np.random.default_rng(i).uniform(-0.5, 0.5, 1500 + 500 * i)
        soundfile.write(root / f"{name}.wav", wave, 8000)
    return [*AUDIO, f"data.root={root}", r"data.pattern='(?P<who>[a-z]+)_(?P<pitch>\d)'", "data.scalars=[pitch]"]


def films(root):
    data = Shapes(n=6, frames=6, size=24)
    for i in range(6):
        (root / str(i % 2)).mkdir(parents=True, exist_ok=True)
        write_video(data.read(i)[0][:, : 6 if i % 3 else 3], root / str(i % 2) / f"{i}.mkv", 8)
    return ["adapter=video", "adapter.reader.buckets=[[4,16,16],[2,16,16]]", f"data.root={root}", "loader.budget=2048",
            "loader.multiple=1"]


def clouds(root):
    for i in range(48):
        (root / str(i % 2)).mkdir(parents=True, exist_ok=True)
        np.savez(root / str(i % 2) / f"{i}.npz", points=np.random.default_rng(i).normal(i, i + 1, (50, 3)))
    return ["adapter=points", "adapter.reader.points=40", f"data.root={root}"]


@cache
def base(adapter):
    return composed("encode", [adapter, "data.root=x"])


def configured(words):
    """As the command line composes it, only quicker: ``words[0]`` is the adapter."""
    config = copy.deepcopy(base(words[0]))
    for key, value in OmegaConf.to_container(OmegaConf.create([w.split("=", 1) for w in words[1:]])):
        OmegaConf.update(config, key, OmegaConf.from_dotlist([f"v={value}"]).v, force_add=True)
    return config


def molecules(root):
    root.mkdir()
    for i in range(5):
        atoms = [f"{'CHO'[k % 3]} {k} {i * k} {k % 2}\n" for k in range(3 + i)]
        (root / f"{i}.xyz").write_text(f"{3 + i}\n\n" + "".join(atoms))
    return ["adapter=molecules", f"data.root={root}"]


def job(words, out, **options):
    return encode(configured(words), str(out), progress=False, **options)


def both(words, out):
    """(codec, data set) of the folder, and of the latents."""
    made, config = [], configured(words)
    for data in (config.data, {"_target_": "mmdiff.cache.latents.Latents", "root": str(out)}):
        codec, reader = build_codec(config.adapter)
        made.append((codec, build(data, Dataset, reader=reader), build(config.loader, Loading)))
    return made


def batches(dataset, training):
    if training:                                                      # where no clip is long enough to be cropped
        return list(train_loader(dataset, Loading(batch_size=2).order(dataset, seed=1, steps=5)))
    return list(eval_loader(dataset, 3))


@pytest.mark.parametrize(("make", "training"), [(sounds, True), (films, False), (clouds, False), (molecules, False)])
def test_latents_are_those_of_the_folder(tmp_path, make, training):
    words = make(tmp_path / "files")
    done = job(words, tmp_path / "out", shard_mb=1e-4)
    assert done.encoded == done.items and done.skipped == [] and done.waiting == 0
    assert len(list((tmp_path / "out").glob("*.latents"))) > 1
    (codec, folder, _), (other, cached, _) = both(words, tmp_path / "out")
    assert cached.fields == {name: list(field) for name, field in folder.fields.items()}
    for i in range(len(folder)):
        assert all(getattr(cached, told)(i) == getattr(folder, told)(i) for told in ("name", "shape", "column"))
        assert cached.size(i) == codec.size(folder.read(i)[0])
    codec.fit(samples(folder, 2))
    other.measure(samples(cached, 2))
    assert all(torch.equal(a, b) for a, b in zip(codec.state_dict().values(), other.state_dict().values(), strict=True))
    pairs = zip(batches(folder, training), batches(cached, training), strict=True)
    for one, two in pairs:
        a, b = codec.encode(one.samples), other.whiten(two.samples)
        assert two.encoded and torch.equal(a.x, b.x) and torch.equal(one.draws, two.draws)
        assert (a.mask is None and b.mask is None) or torch.equal(a.mask, b.mask)
        assert all(torch.equal(one.labels[name], two.labels[name]) for name in one.labels)
    assert [p.indices for p in split(folder, 0.3)] == [p.indices for p in split(cached, 0.3)]


def test_a_cache_knows_the_samples_that_it_was_made_of_also_where_they_moved(tmp_path, monkeypatch):
    words = sounds(tmp_path / "files")
    (tmp_path / "files" / "ann_5.wav").write_bytes(b"no sound")
    monkeypatch.chdir(tmp_path)
    job([word.replace(f"root={tmp_path}/", "root=") for word in words], tmp_path / "out")
    monkeypatch.chdir("/")
    (_, folder, _), (_, cached, _) = both([*words, "data.check=true"], tmp_path / "out")
    _, reader = build_codec(configured(words).adapter)

    def parts(dataset):
        return [(part.indices, [part.read(i)[0].tolist() for i in range(len(part))]) for part in split(dataset, 0.4)]

    wanted = parts(folder)

    assert parts(uncached(cached, reader)) == wanted
    (tmp_path / "files").rename(tmp_path / "moved")
    assert parts(uncached(cached, reader, root=str(tmp_path / "moved"))) == wanted
    (tmp_path / "moved" / "bob_2.wav").unlink()
    with pytest.raises(ConfigError, match=r"1 of 5 are not there, such as 'bob_2.*root=FOLDER"):
        uncached(cached, reader, root=str(tmp_path / "moved"))
    with pytest.raises(ConfigError, match=r"samples that .*out was made of: .*/files.*root=FOLDER"):
        uncached(cached, reader)


def test_a_sample_or_label_that_changed_under_its_name_is_told(tmp_path):
    words = sounds(tmp_path / "files")
    rows = [f"{i}.wav,{name}" for name, i in (("x", 0), ("y", 1), ("z", 0))]
    for i in range(2):
        (tmp_path / "files" / f"ann_{i}.wav").rename(tmp_path / "files" / f"{i}.wav")
    (tmp_path / "t.csv").write_text("\n".join(["file,who", *rows]))
    words = [*words[:-2], f"data.table={tmp_path / 't.csv'}"]
    job(words, tmp_path / "out")
    _, reader = build_codec(configured(words).adapter)
    cached = Latents(reader, str(tmp_path / "out"))
    again = uncached(cached, reader)
    assert [again.read(i)[1]["who"] for i in range(3)] == ["x", "y", "z"]        # one file, two rows
    soundfile.write(tmp_path / "files" / "1.wav", np.full(2000, 0.1), 8000)
    again = uncached(cached, reader)
    assert again.read(0)[1]["who"] == "x"
    with pytest.raises(ConfigError, match=r"1\.wav has changed since .*out was made of it.*mmdiff encode again"):
        again.read(1)
    (tmp_path / "t.csv").write_text("\n".join(["file,who", *rows[:2], "0.wav,y"]))
    with pytest.raises(ConfigError, match=r"the labels of 0\.wav have changed .*\"z\".*are .*\"y\""):
        uncached(cached, reader)


def test_training_takes_the_same_draws_and_buckets_as_from_the_folder(tmp_path):
    words = films(tmp_path / "films")
    job(words, tmp_path / "out")
    (_, folder, loading), (_, cached, _) = both(words, tmp_path / "out")
    one, two = (list(loading.order(data, seed=1, steps=9)) for data in (folder, cached))
    assert one == two and len({len(step) for step in one}) == 2


def test_what_does_not_change_features_encodes_nothing(tmp_path):
    words = sounds(tmp_path / "sounds")
    assert job(words, tmp_path / "out").encoded == 5
    for change in (
        ["optim.lr=1"], ["adapter.network.base=8"], ["adapter.codec.vocoder.n_iter=3"], ["loader.val=0.5"],
        ["data.labels=[who]"], ["seed=3"],
    ):
        assert job([*words, *change], tmp_path / "out").encoded == 0, change
    (tmp_path / "sounds").rename(tmp_path / "moved")
    os.utime(tmp_path / "moved" / "ann_0.wav", (0, 0))
    moved = [w.replace("/sounds", "/moved") for w in words]
    assert job(moved, tmp_path / "out").encoded == 0
    assert job(moved, tmp_path / "out", shard_mb=1).encoded == 0


@pytest.mark.parametrize(("change", "options"), [
    (["adapter.reader.seconds=0.25"], {}), (["adapter.reader.pad=silence"], {}), (["adapter.reader.peak=0.5"], {}),
    (["adapter.codec.mel=audioldm_16k"], {}), (["adapter.codec.mel=speech_8k_48"], {}), ([], {"dtype": "float16"}),
])
def test_what_changes_features_encodes_everything(tmp_path, change, options):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "out")
    assert job([*words, *change], tmp_path / "out", **options).encoded == 5
    assert job(words, tmp_path / "out").encoded == 0


@pytest.mark.parametrize("change", [
    ["adapter.reader.height=24"], ["adapter.reader.frames=4"], ["adapter.reader.crop=random"],
    ["adapter.codec.fps=4.0"], ["adapter.codec.channels=1"],
])
def test_crop_and_resampling_of_films_are_part_of_the_key(change):
    def told(words):
        config = configured(["adapter=video", *words])
        return settings(config.adapter, *build_codec(config.adapter), dtype="float32")

    assert told(change) != told([])
    assert told(["adapter.reader.cache=somewhere"]) == told([])


def test_the_codecs_weights_are_part_of_the_key_and_its_whitening_is_not():
    adapter = configured(AUDIO).adapter
    codec, reader = build_codec(adapter)
    before = settings(adapter, codec, reader, dtype="float32")
    codec.mean += 1
    assert settings(adapter, codec, reader, dtype="float32") == before
    codec.log_mel.basis *= 1.001
    assert settings(adapter, codec, reader, dtype="float32") != before


def test_a_changed_file_alone_is_encoded_anew(tmp_path):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "out")
    before = Latents(None, tmp_path / "out").read(1)[0]
    soundfile.write(tmp_path / "sounds" / "ann_1.wav", np.random.default_rng(9).uniform(-1, 1, 2000), 8000)
    assert job(words, tmp_path / "out").encoded == 1
    assert not torch.equal(Latents(None, tmp_path / "out").read(1)[0], before)


def test_the_files_that_a_shape_refers_to_are_part_of_its_digest(tmp_path):
    words = ["adapter=points", f"data.root={tmp_path}", "data.check=false"]
    (tmp_path / "a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd a.png\n")
    (tmp_path / "a.gltf").write_text('{"buffers": [{"uri": "a%20b.bin"}, {"uri": "data:,x"}]}')
    digests = []
    for name in ("a.png", "a b.bin"):
        for content in (b"one", b"two"):
            (tmp_path / name).write_bytes(content)
            config = configured(words)
            dataset = build(config.data, Dataset, reader=build_codec(config.adapter)[1])
            digests.append(tuple(dataset.digest(i) for i in range(2)))
    gltf, obj = zip(*digests, strict=True)
    assert len(set(obj)) == 2 and len(set(gltf)) == 3


def test_files_of_the_same_bytes_share_a_key_only_where_they_are_read_alike(tmp_path):
    for adapter, name, content in (
        ("points", "{}.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"), ("audio", "{}.wav", b"RIFF"),
    ):
        for folder, which in (("x", "a"), ("x", "b"), ("y", "a")):
            (tmp_path / adapter / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / adapter / folder / name.format(which)).write_bytes(content)
        config = configured([f"adapter={adapter}", f"data.root={tmp_path / adapter}", "data.check=false"])
        dataset = build(config.data, Dataset, reader=build_codec(config.adapter)[1])
        first, second, third = (dataset.digest(i) for i in range(3))
        assert first == third and (first == second) == (adapter == "audio")


def test_an_interrupted_job_goes_on_where_it_stopped(tmp_path, monkeypatch):
    words, read = sounds(tmp_path / "sounds"), encoding._Work._encode
    stops = {"at": 3, "with": KeyboardInterrupt}

    def features(self, index, *rest):
        if index == stops["at"]:
            raise stops["with"]
        return read(self, index, *rest)

    monkeypatch.setattr(encoding._Work, "_encode", features)
    with pytest.raises(KeyboardInterrupt):
        job(words, tmp_path / "out")
    with pytest.raises(ValueError, match="has not come to its end"):
        Latents(None, tmp_path / "out")
    stops.update(at=4, **{"with": RuntimeError})                      # as if killed: what fills no shard yet is lost
    with pytest.raises(RuntimeError):
        job(words, tmp_path / "out")
    stops["at"] = -1
    assert job(words, tmp_path / "out").encoded == 2
    assert len(Latents(None, tmp_path / "out")) == 5
    job(words, tmp_path / "straight")
    one, two = (Latents(None, tmp_path / name) for name in ("out", "straight"))
    assert all(torch.equal(one.read(i)[0], two.read(i)[0]) for i in range(5))


def test_several_processes_share_a_job_in_any_order(tmp_path):
    words = sounds(tmp_path / "sounds")
    (tmp_path / "sounds" / "eve_7.wav").write_bytes(b"no sound")
    job(words, tmp_path / "one")
    for index, waiting in ((2, 2), (0, 1), (1, 0)):
        done = job(words, tmp_path / "three", part=JobPart(index, 3))
        assert done.items == 2 and done.waiting == waiting
    one, three = (Latents(None, tmp_path / name) for name in ("one", "three"))
    assert [item["name"] for item in one.items] == [item["name"] for item in three.items]
    assert all(torch.equal(one.read(i)[0], three.read(i)[0]) for i in range(5))
    assert three.skipped == one.skipped and [name for name, _ in one.skipped] == ["eve_7.wav"]
    assert not list((tmp_path / "three").glob("*-of-*"))


def test_unreadable_files_are_counted_and_named_and_leave_no_trace(tmp_path, capsys):
    words = sounds(tmp_path / "sounds")
    (tmp_path / "sounds" / "eve_7.wav").write_bytes(b"no sound")
    (tmp_path / "sounds" / "zoe.wav").write_bytes(b"")
    main([*words, f"out={tmp_path / 'out'}"])
    output = capsys.readouterr().out
    assert "5 of 6 items are encoded, 1 skipped; 5 encoded now" in output and "skipped eve_7.wav:" in output
    (_, folder, _), (_, cached, _) = both(words, tmp_path / "out")
    assert cached.fields == {name: list(field) for name, field in folder.fields.items()}
    assert "eve" not in cached.fields["who"] and len(cached) == len(folder) == 5
    assert sorted(name for name, _ in cached.report()["skipped"]) == sorted(n for n, _ in folder.report()["skipped"])


def test_where_nothing_can_be_read_no_cache_is_made(tmp_path):
    words = sounds(tmp_path / "sounds", names=["ann_0"])
    (tmp_path / "sounds" / "ann_0.wav").write_bytes(b"no sound")
    with pytest.raises(ValueError, match="none of 1 items can be read: .*ann_0"):
        job(words, tmp_path / "out")
    with pytest.raises(ValueError, match="mmdiff encode"):
        Latents(None, tmp_path / "nowhere")


def test_latents_are_read_from_an_object_store_by_worker_processes(tmp_path):
    words = sounds(tmp_path / "sounds")
    job(words, "memory://bucket/latents", shard_mb=0.02)
    job(words, tmp_path / "out")
    remote, local = (Latents(None, root) for root in ("memory://bucket/latents", tmp_path / "out"))
    for workers in (0, 2):
        one, two = (
            list(train_loader(data, Loading(batch_size=2).order(data, seed=0, steps=4), workers=workers))
            for data in (remote, local)
        )
        assert all(torch.equal(a.samples.x, b.samples.x) for a, b in zip(one, two, strict=True))
    assert job(words, "memory://bucket/latents").encoded == 0
    with pytest.raises(ValueError, match="nosuch"):
        Latents(None, "nosuch://bucket")


def test_further_copies_are_random_and_the_first_is_the_fixed_one(tmp_path):
    words = [*sounds(tmp_path / "sounds"), "adapter.reader.seconds=0.1"]
    assert job(words, tmp_path / "out").encoded == 5
    assert job(words, tmp_path / "out", copies=3).encoded == 10
    (codec, folder, _), (_, cached, _) = both(words, tmp_path / "out")
    fixed = codec.features(next(iter(eval_loader(folder, 1))).samples).x[0]
    assert torch.equal(cached.read(0)[0], fixed)
    seen = [cached.read(0, np.random.default_rng(i))[0] for i in range(30)]
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 3 and any(torch.equal(x, fixed) for x in seen)


@pytest.mark.parametrize(("dtype", "bound"), [("float16", 2**-11), ("bfloat16", 2**-8)])
def test_half_precision_rounds_and_no_more(tmp_path, dtype, bound):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "half", dtype=dtype)
    job(words, tmp_path / "full")
    half, full = (Latents(None, tmp_path / name).read(0)[0] for name in ("half", "full"))
    assert half.dtype == torch.float32
    assert 0 < ((half - full) / full).abs().max() <= bound


def test_training_refuses_another_adapter_and_names_what_differs(tmp_path):
    job(sounds(tmp_path / "sounds"), tmp_path / "out")
    held = Latents(None, tmp_path / "out").settings
    for words, text in (
        (["adapter.reader.seconds=1.0"], "adapter.reader.seconds was 0.5, is 1.0"),
        (["adapter.codec.mel=speech_8k_48"], "adapter.codec.mel was speech_8k, is speech_8k_48"),
    ):
        adapter = configured([*AUDIO, *words]).adapter
        with pytest.raises(ConfigError, match=text):
            require(held, adapter, *build_codec(adapter))
    adapter = configured([*AUDIO, "adapter.codec.vocoder.n_iter=3"]).adapter
    require(held, adapter, *build_codec(adapter))


def test_a_flipped_bit_is_an_error_and_no_sample(tmp_path):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.latents")
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-7] + bytes([whole[-7] ^ 4]) + whole[-6:])
    told = []
    for i in range(5):
        try:
            Latents(None, tmp_path / "out").read(i)
        except ValueError as error:
            told.append(str(error))
    assert len(told) == 1 and f"{shard.name} of {tmp_path / 'out'} is damaged or cut off: delete it" in told[0]
    shard.unlink()
    assert job(words, tmp_path / "out").encoded == 5 and shard.read_bytes() == whole


def test_a_shard_that_was_cut_off_is_an_error_and_is_encoded_again(tmp_path):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "out")
    (shard,) = (tmp_path / "out").glob("*.latents")
    whole = shard.read_bytes()
    for size in (len(whole) - 5, 40, 4):
        shard.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="cut off"):
            [Latents(None, tmp_path / "out").read(i) for i in range(5)]
        assert len(Shards(str(tmp_path / "out"), limit=1).locations) == 0
    assert job(words, tmp_path / "out").encoded == 5
    assert shard.read_bytes() == whole


def test_a_mistake_in_the_command_is_told(tmp_path):
    words = sounds(tmp_path / "sounds")
    job(words, tmp_path / "latents")
    again = configured(AUDIO)
    again.data = {"_target_": "mmdiff.cache.latents.Latents", "root": str(tmp_path / "latents")}
    with pytest.raises(ConfigError, match="encoded already"):
        encode(again, str(tmp_path / "out"))
    with pytest.raises(ConfigError, match="dtype is one of"):
        job(words, tmp_path / "out", dtype="int8")
    with pytest.raises(ConfigError, match="copies >= 1"):
        job(words, tmp_path / "out", copies=0)
    for shard in ("3/2", "0/2", "x", 2):
        with pytest.raises(ConfigError, match="shard is k/n"):
            job_part(shard)
    with pytest.raises(ConfigError, match="mmdiff encode out=DIR"):
        main([])


def test_a_share_is_named_or_torchruns(monkeypatch):
    assert job_part(None) == JobPart(0, 1) and job_part("2/8") == JobPart(1, 8)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert job_part(None) == JobPart(3, 4) and job_part("2/8") == JobPart(1, 8)


def test_an_encoding_ends_at_the_first_shard_that_cannot_be_written_and_blames_no_file(tmp_path, monkeypatch):
    config, tries = configured(sounds(tmp_path / "sounds")), []

    def full(self, name, data):
        tries.append(name)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Shards, "write", full)
        with pytest.raises(OSError, match="No space left"):
            encode(config, str(tmp_path / "latents"), shard_mb=1e-6, progress=False)
    assert len(tries) == 1
    assert encode(config, str(tmp_path / "latents"), shard_mb=1e-6, progress=False).skipped == []
