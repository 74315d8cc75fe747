"""Files beside samples, of which maps are made: read as their samples are, found by name or table, told where not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from mmdiff.adapters.audio.io import AudioReader
from mmdiff.adapters.controls import Companion
from mmdiff.adapters.points.reader import PointReader
from mmdiff.adapters.video.controls import Depth
from mmdiff.adapters.video.reader import VideoReader
from mmdiff.cache.encode import encode
from mmdiff.cache.latents import Latents
from mmdiff.cache.originals import moved, uncached
from mmdiff.cli import main
from mmdiff.config.build import ConfigError
from mmdiff.config.overrides import composed
from mmdiff.data.folders import FolderDataset
from mmdiff.data.joined import Joined
from mmdiff.data.loaders import eval_loader, train_loader
from mmdiff.data.stream import Stream
from mmdiff.training.run import assemble, opened
from tests.data.test_captions import Numbers

LEVEL = 0.008
"""A grey level of 255: scaling rounds."""
RNGS = [None, *range(8)]


def chance(seed):
    return None if seed is None else np.random.default_rng(seed)


def pictures(folder, seed, *, frames=7, size=(20, 24)):
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed).integers(0, 256, (frames, *size, 3), dtype=np.uint8)
    for k, frame in enumerate(noise):
        Image.fromarray(frame).save(folder / f"{k:03d}.png")


def sound(path, x, rate=8000):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(x, np.float32), rate, subtype="FLOAT")


@pytest.fixture
def films(tmp_path):
    """Three films and their negatives beside them, in a folder within the films' own."""
    for i, name in enumerate(("a", "deep/b", "deep/c.v2")):
        pictures(tmp_path / "root" / name, i)
        for file in (tmp_path / "root" / name).iterdir():
            negative = tmp_path / "root" / "maps" / name / file.name
            negative.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(255 - np.asarray(Image.open(file))).save(negative)
    return tmp_path / "root"


def reader(**options):
    return VideoReader(3, fps=8, frames=4, height=12, width=12, crop="random", **options)


@pytest.mark.parametrize("seed", RNGS)
def test_a_film_beside_a_film_is_cut_and_cropped_as_it_is(films, seed):
    data = FolderDataset(reader(), films, maps={"depth": films / "maps"})
    assert [data.name(i) for i in range(len(data))] == ["a", "deep/b", "deep/c.v2"] and data.maps == ("depth",)
    for i in range(3):
        sample, _ = data.read(i, chance(seed))
        torch.testing.assert_close(data.beside(i, chance(seed))["depth"], -sample, rtol=0, atol=LEVEL)


@pytest.mark.parametrize("seed", RNGS)
@pytest.mark.parametrize("rate", [8000, 16000])
def test_a_sound_beside_a_sound_is_of_the_same_moment_and_may_be_silent_there(tmp_path, seed, rate):
    t = np.arange(16000) / 8000
    mix = np.where(t > 0.5, t, 0)                                     # the first half second is silent, drawn anew
    sound(tmp_path / "root/a.wav", mix)
    stem = np.arange(2 * rate) / rate
    sound(tmp_path / "stems/a.wav", np.where(stem > 1.2, stem / 2, 0), rate)
    read = AudioReader(8000, seconds=0.25)
    data = FolderDataset(read, tmp_path / "root", maps={"drums": tmp_path / "stems"})
    sample, _ = data.read(0, chance(seed))
    drums = data.beside(0, chance(seed))["drums"]
    assert drums.shape == sample.shape
    late = sample > 1.25
    inner = (..., slice(40, -40))                                     # a resampling filter rings at its ends
    torch.testing.assert_close(drums[inner][late[inner]], (sample / 2)[inner][late[inner]], rtol=0, atol=2e-2)
    assert (drums[inner][(sample < 1.15)[inner]].abs() < 2e-2).all()


def test_a_sound_beside_a_sound_keeps_its_level_against_it(tmp_path):
    mix = np.sin(np.arange(4000) / 9)
    sound(tmp_path / "root/a.wav", 0.25 * mix)
    sound(tmp_path / "stems/a.wav", 0.01 * mix)
    data = FolderDataset(AudioReader(8000, peak=0.5), tmp_path / "root", maps={"drums": tmp_path / "stems"})
    (sample, _), drums = data.read(0), data.beside(0)["drums"]
    assert sample.abs().max() == pytest.approx(0.5, abs=1e-6)
    torch.testing.assert_close(drums, 0.04 * sample, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", RNGS)
def test_a_cloud_beside_a_cloud_has_the_same_points_turned_alike(tmp_path, seed):
    points = np.random.default_rng(0).standard_normal((200, 3))
    for folder, scale in (("root", 1), ("maps", 2)):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "a.npy", scale * points)
    data = FolderDataset(PointReader(points=64, rotate="so3", mirror="x"), tmp_path / "root",
                         maps={"coarse": tmp_path / "maps"})
    sample, _ = data.read(0, chance(seed))
    torch.testing.assert_close(data.beside(0, chance(seed))["coarse"], 2 * sample, rtol=1e-5, atol=1e-5)


def test_a_reader_of_another_package_reads_both_with_one_choice(tmp_path):
    for folder, value in (("root", 1), ("maps", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.num").write_text(str(value))
    data = FolderDataset(Numbers(), tmp_path / "root", maps={"more": tmp_path / "maps"})
    difference = data.beside(0, chance(3))["more"] - data.read(0, chance(3))[0]
    assert torch.allclose(difference, torch.tensor(4.0))


def test_what_does_not_go_with_its_sample_is_told_and_the_sample_is_told_no_map(films):
    shutil.rmtree(films / "maps/a")
    pictures(films / "maps/a", 9, frames=9)
    shutil.rmtree(films / "maps/deep/b")
    pictures(films / "maps/deep/b", 9, size=(20, 40))
    with pytest.warns(UserWarning, match=r"2 of 3 samples in .* are told no map depth; a: .*has 9 frames at 8"):
        data = FolderDataset(reader(), films, maps={"depth": films / "maps"})
    assert [list(data.mapped(i)) for i in range(3)] == [[], [], ["depth"]] and data.beside(0)["depth"] is None
    reasons = dict(data.report()["without_maps"]["depth"])
    assert "another shape of picture than 20 x 24" in reasons["deep/b"]
    shutil.rmtree(films / "maps/deep")
    with pytest.raises(ValueError, match=r"no sample in .* has its file of the map depth .*has 9 frames"):
        FolderDataset(reader(), films, maps={"depth": films / "maps"})


@pytest.mark.parametrize(("make", "message"), [
    (lambda root: {"maps": {"depth": root / "nowhere"}}, "data.maps.depth=.*nowhere is not a folder"),
    (lambda root: {"maps": {"depth": root / "deep"}}, "holds the samples themselves"),
    (lambda root: {"maps": {"depth": root}}, "holds the samples themselves"),
    (lambda root: {"maps": {"depth": pictures(root.parent / "no/a", 1) or root.parent / "no"}}, "no sample in .* has"),
])
def test_a_folder_that_is_none_or_has_nothing_is_an_error(films, make, message):
    with pytest.raises(ValueError, match=message):
        FolderDataset(reader(), films / "deep", **make(films))


def test_dots_in_the_name_of_a_folder_of_frames_are_no_ending(tmp_path):
    for i, name in enumerate(("root/take.1", "root/take.2", "maps/take.1")):
        pictures(tmp_path / name, i)
    with pytest.warns(UserWarning, match="take.2: there is no such file"):
        data = FolderDataset(reader(), tmp_path / "root", maps={"depth": tmp_path / "maps"})
    assert [data.mapped(i) for i in range(2)] == [["depth"], []]
    pictures(tmp_path / "maps/take.2", 4)
    data = FolderDataset(reader(), tmp_path / "root", maps={"depth": tmp_path / "maps"})
    assert [row.maps["depth"].name for row in data.rows] == ["take.1", "take.2"]


def test_the_frames_of_one_film_lie_in_the_folders_themselves(tmp_path):
    for i, name in enumerate(("root", "maps")):
        pictures(tmp_path / name, i)
    data = FolderDataset(reader(), tmp_path / "root", maps={"depth": tmp_path / "maps"})
    assert [data.mapped(i) for i in range(len(data))] == [["depth"]]


def test_maps_that_a_link_leads_to_are_no_samples(tmp_path):
    pictures(tmp_path / "root/a", 1)
    pictures(tmp_path / "maps/a", 2)
    (tmp_path / "root/maps").symlink_to(tmp_path / "maps")
    for folder in ("maps", "root/maps"):
        data = FolderDataset(reader(), tmp_path / "root", maps={"depth": tmp_path / folder})
        assert [data.name(i) for i in range(len(data))] == ["a"] and data.mapped(0) == ["depth"]


@pytest.mark.parametrize("maps", ["root/maps", "beside"])
def test_folders_of_maps_move_with_the_samples(tmp_path, maps):
    node = {"root": str(tmp_path / "old/root"), "maps": {"depth": str(tmp_path / "old" / maps)}}
    assert moved(node, str(tmp_path / "new/root")) == {**node, "root": str(tmp_path / "new/root")}
    (tmp_path / "new/root").mkdir(parents=True)
    (tmp_path / "new" / maps).mkdir()
    assert Path(moved(node, str(tmp_path / "new/root"))["maps"]["depth"]).resolve() == tmp_path / "new" / maps


def test_two_files_of_one_sample_are_an_error(tmp_path):
    for name in ("root/a.wav", "maps/a.wav", "maps/a.flac"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.ones(4000), 8000)
    with pytest.raises(ValueError, match=r"a.flac and a.wav in .* are both of the sample a"):
        FolderDataset(AudioReader(8000), tmp_path / "root", maps={"drums": tmp_path / "maps"})


@pytest.mark.parametrize(("name", "scale", "reason"), [
    ("long.wav", 2.0, r"has 1\.000 s, and its sample 0\.500 s"),
])
def test_sounds_of_other_lengths_do_not_go_together(tmp_path, name, scale, reason):
    sound(tmp_path / "root/long.wav", np.ones(4000))
    sound(tmp_path / "maps" / name, np.ones(int(4000 * scale)))
    with pytest.raises(ValueError, match=reason):
        FolderDataset(AudioReader(8000, seconds=0.1), tmp_path / "root", maps={"drums": tmp_path / "maps"})


def test_a_sound_beside_another_that_holds_nan_is_refused_where_it_is_read(tmp_path):
    sound(tmp_path / "root/a.wav", np.ones(4000))
    sound(tmp_path / "maps/a.wav", np.r_[np.ones(3000), np.full(1000, np.nan)])
    data = FolderDataset(AudioReader(8000, seconds=0.25), tmp_path / "root", maps={"drums": tmp_path / "maps"})
    assert data.beside(0)["drums"].isfinite().all()                   # what is checked first is its beginning
    with pytest.raises(ValueError, match="a.wav holds NaN or infinite samples"):
        [data.beside(0, chance(seed)) for seed in range(8)]


def test_a_table_names_the_file_of_each_row(films):
    table = films.parent / "t.csv"
    table.write_text("file,kind,control.depth\na,x,maps/a\ndeep/b,y,\na,y,deep/../maps/a\n")
    with pytest.warns(UserWarning, match="1 of 3 samples"):
        data = FolderDataset(reader(), films, table=table)
    assert data.maps == ("depth",) and not [name for name in data.fields if "." in name]
    assert [list(data.mapped(i)) for i in range(3)] == [["depth"], [], ["depth"]]


def test_an_object_of_json_names_the_files_as_columns_do(films):
    table = films.parent / "t.jsonl"
    rows = [{"file": "a", "control": {"depth": "maps/a"}}, {"file": "deep/b", "control": {"depth": None}},
            {"file": "a", "control.depth": "maps/a"}, {"file": "deep/b", "control": "loud"}]
    table.write_text("\n".join(map(json.dumps, rows)))
    with pytest.warns(UserWarning, match="2 of 4 samples"):
        data = FolderDataset(reader(), films, table=table)
    assert [list(data.mapped(i)) for i in range(4)] == [["depth"], [], ["depth"], []]
    assert data.column(3)["control"] == "loud"                        # what is no object is a label as any other


@pytest.mark.parametrize(("row", "message"), [
    ({"control.depth": "maps/a", "control": {"depth": "maps/a"}}, "control.depth is told twice"),
    ({"control": {"depth": ["maps/a"]}}, r"control.depth is the path of a file, got \['maps/a'\]"),
])
def test_a_map_that_is_told_twice_or_by_no_path_is_an_error(films, row, message):
    (films.parent / "t.jsonl").write_text(json.dumps({"file": "a", **row}))
    with pytest.raises(ValueError, match=message):
        FolderDataset(reader(), films, table=films.parent / "t.jsonl")


def test_a_column_of_a_table_in_which_every_cell_is_empty_is_told(films):
    table = films.parent / "t.csv"
    table.write_text("file,control.depth\na,\ndeep/b,\n")
    with pytest.raises(ValueError, match=r"no sample in .* has its file of the map depth"):
        FolderDataset(reader(), films, table=table)


def test_a_batch_says_which_samples_have_their_map_and_parts_of_it_do_too(films):
    shutil.rmtree(films / "maps/deep/b")
    with pytest.warns(UserWarning, match="deep/b: there is no such file"):
        data = FolderDataset(reader(), films, maps={"depth": films / "maps"})
    batch = next(iter(eval_loader(data, 3)))
    depth = batch.beside["depth"]
    assert depth.present.tolist() == [True, False, True] and not depth.x[1].any()
    torch.testing.assert_close(depth.x[0], -batch.samples.x[0], rtol=0, atol=LEVEL)
    assert [part.beside["depth"].present.tolist() for part in batch.split(3)] == [[True], [False], [True]]
    order = Stream(3, 3, seed=0, steps=2)
    for drawn in train_loader(data, order):
        there = drawn.beside["depth"]
        torch.testing.assert_close(there.x[there.present], -drawn.samples.x[there.present], rtol=0, atol=LEVEL)


def test_of_two_data_sets_only_the_one_with_files_tells_maps(films):
    both = Joined(FolderDataset(reader(), films / "deep", maps={"depth": films / "maps/deep"}),
                  FolderDataset(reader(), films / "deep"), share=0.5)
    batch = next(iter(eval_loader(both, 4)))
    assert both.maps == ("depth",) and batch.beside["depth"].present.tolist() == [True, True, False, False]


def test_depth_is_the_brightness_of_the_other_film_blurred():
    x = torch.rand(2, 3, 2, 8, 8)
    grey = Depth(3)(x, x)
    assert grey.shape == (2, 1, 2, 8, 8) and Depth(3).of_files
    blurred = Depth(3, blur=3)(x, x)
    torch.testing.assert_close(blurred[..., 4, 4], grey[..., 3:6, 3:6].mean((-1, -2)), rtol=0, atol=LEVEL)
    torch.testing.assert_close(Depth(3, blur=3)(torch.ones_like(x), x), torch.ones_like(grey))   # also at the border
    assert torch.equal(Companion(3)(x, 2 * x), 2 * x)
    with pytest.raises(ValueError, match="blur is an odd number"):
        Depth(3, blur=2)


def run_words(films, *words):
    return ["adapter=video", "adapter.network.dim=32", "adapter.network.depth=1", "adapter.network.heads=2",
            "adapter.reader.frames=4", "adapter.reader.height=12", "adapter.reader.width=12", "adapter.codec.fps=8",
            "adapter.network.patch=[2,4,4]", "adapter.reader.crop=random", f"data.root={films}", "loader.val=0",
            "loader.batch_size=3", "data.labels=[]", *words]


def assembled(run, *words):
    config, record, _ = opened(Path(run), composed("train", [*words, f"run={run}"]), None)
    return assemble(config, Path(run), record=record, base=None)


def test_a_run_follows_the_files_beside_its_samples(films, tmp_path):
    shutil.rmtree(films / "maps/deep/b")
    words = run_words(films, "adapter/controls=depth", f"data.maps.depth={films / 'maps'}")
    with pytest.warns(UserWarning, match="told no map depth"):
        module = assembled(tmp_path / "run", *words).module
    model, batch = module.model, next(iter(eval_loader(module.dataset, 3)))
    model.codec.fit([batch.samples])
    concat = model.drawn_condition(model.held_out(batch)).concat
    assert concat[:, 1, 0, 0, 0].tolist() == [1, 0, 1] and not concat[1].any()
    for i in (0, 2):
        torch.testing.assert_close(concat[i, :1], model.map_of("depth", -batch.samples.x[i]), rtol=0, atol=2 * LEVEL)
    told = model.maps_of(batch.samples.x[1], module.dataset.beside(1))
    assert told == {}                                                 # nothing beside it, and not of itself


def test_latents_carry_the_features_of_what_lies_beside_each_copy(films, tmp_path):
    shutil.rmtree(films / "maps/deep/b")
    words = run_words(films, "adapter/controls=companion", f"data.maps.companion={films / 'maps'}")
    out = tmp_path / "latents"
    with pytest.warns(UserWarning, match="told no map companion"):
        encode(composed("train", [*words, "run=unused"]), str(out), copies=3, progress=False)
    with pytest.warns(UserWarning, match="told no map companion"):
        again = encode(composed("train", [*words, "run=unused"]), str(out), copies=3, progress=False)
    assert again.encoded == 0
    cached = assembled(tmp_path / "c", *[w for w in words if not w.startswith("data.")], "data=latents",
                       f"data.root={out}").module
    assert cached.dataset.maps == ("companion",)
    for seed in range(4):
        sample, _ = cached.dataset.read(0, chance(seed))
        torch.testing.assert_close(cached.dataset.beside(0, chance(seed))["companion"], -sample, rtol=0, atol=LEVEL)
    with pytest.warns(UserWarning, match="told no map companion"):
        fresh = assembled(tmp_path / "f", *words).module
    batches = [next(iter(eval_loader(module.dataset, 3))) for module in (fresh, cached)]
    for module, batch in zip((fresh, cached), batches, strict=True):
        module.model.measure([batch.samples], encoded=batch.encoded)
    one, two = (m.model.drawn_condition(m.model.held_out(b)).concat
                for m, b in zip((fresh, cached), batches, strict=True))
    assert torch.equal(one, two) and one.any()


def sounds(tmp_path, *, nan=()):
    for i in range(4):
        sound(tmp_path / f"root/{i}.wav", np.ones(4000))
        sound(tmp_path / f"maps/{i}.wav", np.r_[np.ones(3000), np.full(1000, np.nan if i in nan else 0.5)])
    return ["adapter=audio", "adapter/controls=companion", "adapter.network.base=8", "adapter.reader.seconds=0.25",
            f"data.root={tmp_path / 'root'}", f"data.maps.companion={tmp_path / 'maps'}", "loader.val=0",
            "data.labels=[]"]


def test_an_item_whose_file_of_a_map_cannot_be_read_is_encoded_without_that_map_and_told(tmp_path, capsys):
    words, out = sounds(tmp_path, nan=(1, 2)), tmp_path / "latents"
    with pytest.raises(SystemExit, match="0"):
        main(["encode", *words, f"out={out}", "copies=8", "data.check=false"])
    said = capsys.readouterr().out
    assert "2 of 4 items are told no map companion; 1.wav: " in said and "holds NaN" in said
    assert "4 of 4 items are encoded, 0 skipped" in said
    latents = Latents(None, str(out))
    assert [list(latents.mapped(i)) for i in range(4)] == [["companion"], [], [], ["companion"]]
    assert [name for name, _ in latents.report()["without_maps"]["companion"]] == ["1.wav", "2.wav"]
    originals = uncached(latents, AudioReader(8000, seconds=0.25))
    assert [list(originals.mapped(i)) for i in range(4)] == [latents.mapped(i) for i in range(4)]
    assert originals.beside(1) == {"companion": None} and originals.beside(0)["companion"] is not None
    again = encode(composed("train", [*words, "run=unused"]), str(out), copies=8, progress=False)
    assert again.encoded == 0 and [name for name, _ in again.without["companion"]] == ["1.wav", "2.wav"]


def test_a_cache_in_which_no_item_has_its_map_is_an_error(tmp_path):
    words = sounds(tmp_path, nan=range(4))
    with pytest.raises(ValueError, match=r"no item has its file of the map companion; 0.wav: .*NaN"):
        encode(composed("train", [*words, "run=unused"]), str(tmp_path / "latents"), copies=8, progress=False)


@pytest.mark.parametrize(("words", "message"), [
    (["adapter/controls=edges", "data.maps.edgse={maps}"], "data.maps.edgse is of no effect: .*edges"),
    (["data.maps.depth={maps}"], "data.maps.depth is of no effect: nothing follows"),
    (["adapter/controls=depth"], "the map depth is made of files beside the samples: data.maps.depth=FOLDER"),
])
def test_what_would_be_of_no_effect_or_lacks_its_files_is_refused(films, tmp_path, words, message):
    with pytest.raises(ConfigError, match=message):
        assembled(tmp_path / "r", *run_words(films, *(word.format(maps=films / "maps") for word in words)))
