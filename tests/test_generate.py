"""Generation from a trained run: the same item is the same file, and nothing is half done."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import mmdiff
from mmdiff import Request
from mmdiff.adapters.base import Adapter
from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.points.codec import PointCodec
from mmdiff.cli import sample
from mmdiff.config.files import MODEL_FILE
from mmdiff.config.header import ModelFileError
from mmdiff.core.parameterizations import Data
from mmdiff.core.samplers import Euler
from mmdiff.core.schedules import Cosine, Linear, Shifted
from mmdiff.core.types import Masked
from mmdiff.data.labels import is_scalar, part_name
from mmdiff.generation.autoguidance import RunAutoguidance
from mmdiff.generation.job import MANIFEST
from mmdiff.generation.pipeline import Pipeline, usual_batch
from mmdiff.model import DiffusionModel
from mmdiff.nn.network import Network
from mmdiff.store import load_model, save_model, usual
from mmdiff.weights import digest
from tests.conftest import mmdiff as command


@pytest.fixture(scope="module")
def pipeline(run):
    return mmdiff.load(run, device="cpu")


def requests(count, **labels):
    return [Request(seed=i, labels={"instrument": "blown", "pitch": 60.0, **labels}) for i in range(count)]


def test_a_run_directory_and_its_file_alone_give_the_same_sample(run, tmp_path, pipeline):
    shutil.copy(run / MODEL_FILE, tmp_path / "lonely.safetensors")
    alone = mmdiff.load(tmp_path / "lonely.safetensors", device="cpu")
    cond = {"instrument": "struck", "pitch": 55}
    assert torch.equal(pipeline.sample(2, seed=3, cond=cond)[1], alone.sample(2, seed=3, cond=cond)[1])


@pytest.mark.parametrize("sampler", [None, {"_target_": "mmdiff.core.samplers.DDPM", "steps": 5}])
def test_an_item_is_the_same_in_any_job_at_equal_micro_batch(run, sampler):
    pipeline = mmdiff.load(run, device="cpu", sampler=sampler)
    whole = dict(pipeline.run(requests(7), 4, show_progress=False))
    part = dict(pipeline.run([requests(7)[i] for i in (6, 2, 5)], 4, show_progress=False))
    for position, i in enumerate((6, 2, 5)):
        assert torch.equal(part[position], whole[i])


def test_an_item_differs_by_rounding_alone_between_micro_batches(pipeline):
    one, four = (dict(pipeline.run(requests(4), size, show_progress=False)) for size in (1, 4))
    for i in range(4):
        torch.testing.assert_close(one[i], four[i], rtol=0, atol=1e-2)        # Griffin-Lim amplifies rounding


def test_labels_and_seeds_matter(pipeline):
    base = pipeline.sample(1, seed=0, cond={"instrument": "blown"})[0]
    assert not torch.equal(base, pipeline.sample(1, seed=1, cond={"instrument": "blown"})[0])
    assert not torch.equal(base, pipeline.sample(1, seed=0, cond={"instrument": "struck"})[0])
    assert torch.equal(base, pipeline.sample(1, seed=0, cond={"instrument": "blown"})[0])


def test_guidance_leads_away_from_negative_labels_where_there_are_any(pipeline, tmp_path):
    struck, blown = {"instrument": "struck"}, {"instrument": "blown"}
    cfg = {"_target_": "mmdiff.core.guidance.ClassifierFree", "scale": 3.0}
    several = {"_target_": "mmdiff.core.several.Several", "scales": {"instrument": 3.0}}
    none = {"_target_": "mmdiff.core.guidance.Unguided"}
    plain, guided, field = (Pipeline(pipeline.model, pipeline.header, guidance=g) for g in (none, cfg, several))
    away = guided.sample(1, cond=blown, negative=struck)[0]
    assert not torch.equal(away, guided.sample(1, cond=blown)[0])
    for way in (guided, field):
        torch.testing.assert_close(way.sample(1, cond=blown, negative=blown)[0], plain.sample(1, cond=blown)[0],
                                   rtol=0, atol=1e-2)                 # no difference, so no guidance
    torch.testing.assert_close(field.sample(1, cond=blown, negative=struck)[0], away, rtol=0, atol=1e-2)
    (path,) = guided.save([Request(labels=blown, negative=struck)], tmp_path)
    assert json.loads(path.with_suffix(".json").read_text())["negative"] == struck
    for way in (plain, Pipeline(pipeline.model, pipeline.header, guidance={**cfg, "scale": 1.0})):
        with pytest.raises(ValueError, match="negative labels act through guidance that contrasts"):
            way.sample(1, cond=blown, negative=struck)
    with pytest.raises(ValueError, match="instrument has no class 'brass'"):
        guided.sample(1, negative={"instrument": "brass"})


def test_a_wish_beside_what_a_request_tells_is_guided_to_as_if_the_request_told_it(pipeline):
    def composed(scale, kind):
        node = {"_target_": "mmdiff.core.composed.Composed", "scale": 0.0}
        return Pipeline(pipeline.model, pipeline.header,
                        guidance={**node, "also": [{"cond": {"instrument": kind}, "scale": scale}]})

    cfg = {"_target_": "mmdiff.core.guidance.ClassifierFree", "scale": 3.0}
    guided = Pipeline(pipeline.model, pipeline.header, guidance=cfg).sample(1, cond={"instrument": "blown"})[0]
    torch.testing.assert_close(composed(3.0, "blown").sample(1)[0], guided, rtol=0, atol=1e-2)
    with pytest.raises(ValueError, match="instrument has no class 'brass'"):
        composed(3.0, "brass").sample(1)


@pytest.mark.parametrize("seconds", [0.05, 0.25, 0.4])
def test_the_requested_length_is_honoured_to_one_hop(pipeline, seconds):
    sample = pipeline.sample(1, seconds=seconds)[0]
    assert 0 <= sample.shape[-1] / 8000 - seconds < pipeline.model.codec.mel.hop_length / 8000


def test_a_hole_in_a_sound_longer_than_the_trained_length_gives_the_whole_sound(pipeline, tmp_path):
    source = pipeline.model.codec.save(0.5 * torch.randn(1, 8000).clamp(-1, 1), tmp_path / "a.wav")
    edit = mmdiff.Edit("inpaint", source, hole=(0.4, 0.5))
    (path,) = pipeline.save([Request(edit=edit)], tmp_path / "out")
    made = pipeline.model.codec.load(path)
    assert 0 <= made.shape[-1] - 8000 < pipeline.model.codec.mel.hop_length
    assert json.loads(path.with_suffix(".json").read_text())["size"] == {"seconds": 1.0}
    shorter = pipeline.sample(1, edit=edit, seconds=0.75)[0]
    assert shorter.shape[-1] < 6500, "a length that is asked for is kept"


def test_a_job_writes_each_file_with_its_sidecar_and_continues_where_it_stopped(pipeline, tmp_path):
    paths = pipeline.save(requests(5), tmp_path)
    first = {p: (p.read_bytes(), os.stat(p).st_mtime_ns) for p in paths}
    facts = json.loads(paths[2].with_suffix(".json").read_text())
    assert facts["seed"] == 2 and facts["labels"]["instrument"] == "blown"
    assert facts["model"] == pipeline.header["sha256"] and facts["sampler"]["_target_"].endswith("Auto")
    paths[1].unlink()                                                 # a kill between sidecar and file
    stale = [tmp_path / f".{paths[1].stem}.{2**22 + 1}.partial.wav", tmp_path / f".{paths[1].stem}.1.partial.wav"]
    for path in stale:
        path.write_bytes(b"rubbish")
    again = pipeline.save(requests(5), tmp_path)
    assert again == paths and all(p.read_bytes() == first[p][0] for p in paths)
    assert [p.name for p in paths if os.stat(p).st_mtime_ns != first[p][1]] == [paths[1].name]
    assert [path.exists() for path in stale] == [False, True], "what a process that lives is writing stays"


def test_a_longer_job_keeps_what_is_there_unless_another_micro_batch_is_asked_for(pipeline, tmp_path):
    pipeline.save(requests(2), tmp_path)
    before = {path: os.stat(path).st_mtime_ns for path in tmp_path.glob("*.wav")}
    paths = pipeline.save(requests(3), tmp_path)
    assert {path: os.stat(path).st_mtime_ns for path in paths[:2]} == before
    rows = [json.loads(line) for line in (tmp_path / MANIFEST).read_text().splitlines()]
    assert [row["batch_size"] for row in rows] == [2, 2, 3], "each as it was made"
    with pytest.raises(FileExistsError, match=r"0000_.*\.wav is there already, made with another batch_size"):
        pipeline.save(requests(3), tmp_path, batch_size=3)


def test_no_micro_batch_is_filled_up_by_more_than_it_must_be():
    for n in range(1, 200):
        size, fewest = usual_batch(n), -(-n // 16)
        assert 1 <= size <= 16 and -(-n // size) == fewest, "as few as there can be"
        assert n <= 16 or size % 4 == 0, "of which every row has the same bits"
        assert size * fewest - n < 4 * fewest
    assert [usual_batch(n) for n in (3, 16, 17, 20, 33, 64, 1000)] == [3, 16, 12, 12, 12, 16, 16]


def test_files_that_were_made_otherwise_or_by_others_are_replaced_on_demand_alone(pipeline, tmp_path):
    path = pipeline.save([Request(seed=0, name="a")], tmp_path)[0]
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.wav is there already, made with another seed: .* replace=true"):
        pipeline.save([Request(seed=1, name="a")], tmp_path)
    with pytest.raises(FileExistsError, match="made with another suffix"):
        pipeline.save([Request(seed=0, name="a")], tmp_path, suffix=".flac")
    assert path.read_bytes() == before
    pipeline.save([Request(seed=1, name="a")], tmp_path, replace=True)
    assert path.read_bytes() != before
    pipeline.save([Request(seed=1, name="a")], tmp_path, suffix=".flac", replace=True)
    assert not path.exists() and (tmp_path / "a.flac").exists(), "no file is left without its sidecar"
    (tmp_path / "mine.wav").write_bytes(b"a file of mine")
    with pytest.raises(FileExistsError, match=r"mine\.wav is there already, and has no mine\.json"):
        pipeline.save([Request(name="mine")], tmp_path)
    assert (tmp_path / "mine.wav").read_bytes() == b"a file of mine"


def test_a_mistaken_request_is_refused_before_any_work(pipeline, tmp_path):
    for labels, text in [({"instrumnt": "blown"}, "did you mean 'instrument'"),
                         ({"instrument": "blwn"}, "did you mean 'blown'"), ({"pitch": "high"}, "a number between")]:
        with pytest.raises(ValueError, match=f"request 3: .*{text}"):
            pipeline.save([*requests(2), Request(labels=labels)], tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.wav"))
    with pytest.raises(ValueError, match="the name 'x'"):
        pipeline.save([Request(name="x"), Request(name="x")], tmp_path)


@pytest.mark.parametrize(("asked", "text"), [
    ({"n": 2.5}, "n is a whole number, at least 0, got 2.5"), ({"n": -1}, "n is a whole number, at least 0, got -1"),
    ({"seed": "a"}, "seed is a whole number, got 'a'"), ({"seed": 1.5}, "seed is a whole number, got 1.5"),
    ({"batch_size": 0}, "batch_size is a whole number, at least 1, or auto, or null, got 0"),
    ({"batch_size": -1}, "batch_size is"), ({"seconds": "1"}, "size is a mapping to a number, above 0"),
    ({"seconds": -1}, "size is"), ({"cond": "kick"}, "labels is a mapping"), ({"cond": {"pitch": True}}, "labels is"),
    ({"edit": "a.wav"}, "edit is an mmdiff.Edit"),
])
def test_what_python_asks_for_is_checked_before_any_work(pipeline, asked, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        pipeline.sample(**asked)


@pytest.mark.parametrize(("asked", "text"), [
    ({"requests": "kicks"}, "requests are a list of mmdiff.Request, got 'kicks'"),
    ({"requests": [{"seed": 0}]}, "requests are a list"),
    ({"shard": "1/2"}, "shard is [a whole number, a whole number]"),
    ({"shard": (2, 2)}, "shard is (k, n) with 0 <= k < n"), ({"shard": (-1, 2)}, "shard is (k, n)"),
    ({"replace": "no"}, "replace is true or false, got 'no'"), ({"suffix": 3}, "suffix is a text, or null"),
    ({"batch_size": 0}, "batch_size is"),
])
def test_what_python_saves_is_checked_before_any_work(pipeline, tmp_path, asked, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        pipeline.save(**{"requests": requests(1), "out": tmp_path / "out", **asked})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("settings", "text"), [
    ({"sampler": "ddam"}, "ddim"), ({"guidance": 3}, "guidance is the name of an option or a mapping"),
    ({"device": "foo"}, "device is one that this machine has"),
])
def test_settings_of_load_are_checked(run, settings, text):
    with pytest.raises(ValueError, match=text):
        mmdiff.load(run, **{"device": "cpu", **settings})


def test_numbers_of_numpy_are_numbers(pipeline, tmp_path):
    one = Request(seed=np.int64(3), labels={"instrument": "blown", "pitch": np.float32(60)},
                  size={"seconds": np.float64(0.25)})
    assert one == Request(seed=3, labels={"instrument": "blown", "pitch": 60.0}, size={"seconds": 0.25})
    assert len(pipeline.save((request for request in [one]), tmp_path, batch_size=np.int64(1))) == 1
    assert len(pipeline.sample(np.int64(1), np.uint8(3), seconds=0.25)) == 1


def test_names_that_the_job_uses_itself_or_that_no_system_takes_are_refused_before_any_work(pipeline, tmp_path):
    for name in ("preview", "Manifest"):
        with pytest.raises(ValueError, match=f"no sample can have the name '{name}'"):
            pipeline.save([Request(name=name)], tmp_path / "out")
    with pytest.raises(ValueError, match="request 2: its name has 300 bytes, a file's at most 200"):
        pipeline.save([Request(), Request(name="é" * 150)], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / MANIFEST).write_text("not JSON\n")
    with pytest.raises(ValueError, match="manifest.jsonl is no list of generated files, so move it away"):
        pipeline.save(requests(1), tmp_path)


def test_names_keep_letters_of_any_script_and_differ_on_any_system(pipeline, tmp_path):
    for name, kept in (("हिन्दी", "हिन्दी"), ("e\u0301te\u0301", "été"), (".x", "-x"), ("a b/c", "a-b-c"), ("..", "-.")):
        assert Request(name=name).file_name(0) == kept
    for pair in (("Kick", "kick"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301")):
        with pytest.raises(ValueError, match="two requests have the name"):
            pipeline.save([Request(name=name) for name in pair], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_pictures_of_a_job_show_samples_from_all_of_it(pipeline, tmp_path, monkeypatch):
    shown, paths = [], [Path(f"{i}.wav") for i in range(40)]
    monkeypatch.setattr(pipeline.model.codec, "load", lambda path, **size: int(path.stem))
    monkeypatch.setattr(pipeline.model.codec, "pictures", lambda samples, titles, folder: shown.extend(samples))
    pipeline.pictures([Request(seed=i) for i in range(40)], paths, tmp_path)
    assert len(shown) == 16 and max(shown) >= 36 and shown == sorted(set(shown))


def test_long_labels_give_names_that_fit_and_differ(pipeline):
    long = ["ü" * 300 + end for end in "ab"]
    names = {Request(labels={"instrument": value}).file_name(0) for value in long}
    assert len(names) == 2
    assert all(len(n.encode()) <= 200 and n.startswith("0000_instrument-ü") and n.endswith("_seed0") for n in names)


def test_what_a_codec_had_to_change_is_told_and_stands_beside_the_sample(pipeline, tmp_path, monkeypatch, capsys):
    level = torch.tensor([3.0, 0.1])[:, None, None]
    monkeypatch.setattr(pipeline.model.codec, "decode", lambda latents: Masked(level * torch.ones(2, 1, 800)))
    loud, quiet = pipeline.save(requests(2), tmp_path)
    said = capsys.readouterr().out
    assert "1 of 2 samples were changed to fit their files: limited_share up to" in said and "limited_db up to" in said
    stored = [json.loads(path.with_suffix(".json").read_text()) for path in (loud, quiet)]
    assert 9 < stored[0]["limited_db"] < 11 and stored[0]["limited_share"] > 0.9 and "limited_db" not in stored[1]
    assert json.loads((tmp_path / MANIFEST).read_text().splitlines()[0])["limited_db"] > 9
    assert all(sample.abs().max() < 1 for sample in pipeline.sample(2))
    assert "1 of 2 samples were changed" in capsys.readouterr().out


def test_a_second_job_in_a_folder_adds_to_its_manifest(pipeline, tmp_path):
    def files():
        return [json.loads(line)["file"] for line in (tmp_path / MANIFEST).read_text().splitlines()]

    for name in "abca":
        pipeline.save([Request(name=name)], tmp_path)
    assert files() == ["b.wav", "c.wav", "a.wav"]
    (tmp_path / "b.wav").unlink()
    pipeline.save([Request(name="a")], tmp_path)
    assert files() == ["c.wav", "a.wav"]


@pytest.mark.parametrize(("sizes", "expected"), [
    ([4, 10, 19, 24], 10), ([14, 15], 14), ([7], 7), ([24, 4, 9], 9),
])
def test_the_usual_size_is_one_that_occurs(sizes, expected):
    assert usual([{"points": n} for n in sizes]) == {"points": expected}
    assert type(usual([{"points": n} for n in sizes])["points"]) is int


def test_the_usual_size_of_buckets_is_a_shape_of_one_of_them():
    shapes = [(8, 32, 64)] * 4 + [(8, 64, 32)] * 4 + [(16, 32, 32)] * 3
    sizes = [dict(zip(("frames", "height", "width"), shape, strict=True)) for shape in shapes]
    assert tuple(usual(sizes).values()) in shapes


def undropped(run, path):
    def change(header):
        header["config"]["adapter"]["conditioner"]["drop"] = 0.0

    return rewritten(run, path / "undropped.safetensors", change)


def test_guidance_of_a_model_that_never_saw_a_hidden_label_is_told_and_is_none_unless_it_is_insisted_on(run, tmp_path):
    path, cond = undropped(run, tmp_path), {"instrument": "blown"}
    cautious = mmdiff.load(path, device="cpu")
    with pytest.warns(UserWarning, match=r"0 % of the training samples were told nothing .*: its scale is 1"):
        plain = cautious.sample(1, cond=cond)[0]
    assert cautious.settings["guidance"] == {"_target_": "mmdiff.core.guidance.Unguided"}
    node = {"_target_": "mmdiff.core.guidance.ClassifierFree", "scale": 3.0}
    insisted = mmdiff.load(path, device="cpu", guidance=node)
    with pytest.warns(UserWarning, match="by scale 3 contrasts with what the model never learned"):
        guided = insisted.sample(1, cond=cond)[0]
    assert not torch.equal(guided, plain)
    assert not mmdiff.load(run, device="cpu").notice
    assert not mmdiff.load(path, device="cpu", guidance={"_target_": "mmdiff.core.guidance.Unguided"}).notice


@pytest.mark.parametrize(("words", "scale"), [([], 1), (["guidance=apg"], 1), (["guidance.scale=3"], 3)])
def test_the_command_insists_on_a_guidance_scale_by_its_key_alone(run, tmp_path, words, scale):
    words = [str(undropped(run, tmp_path)), "n=1", f"out={tmp_path}", "device=cpu", "sampler.steps=1", *words]
    with pytest.warns(UserWarning, match="0 % of the training samples"):
        assert sample.main(words) == 0
    facts = json.loads((tmp_path / MANIFEST).read_text())
    assert facts["guidance"].get("scale", 1) == scale


def test_what_is_refused_leaves_no_folder_and_json_is_for_sidecars(pipeline, tmp_path):
    with pytest.raises(ValueError, match="did you mean 'instrument'"):
        pipeline.save([Request(labels={"instrumnt": "blown"})], tmp_path / "out")
    with pytest.raises(ValueError, match="cannot be .json files"):
        pipeline.save(requests(1), tmp_path / "out", suffix=".json")
    assert not (tmp_path / "out").exists()


def test_fields_keep_their_order_in_a_model_file(run, tmp_path):
    model, header = load_model(run)
    node = header["config"]["adapter"]["conditioner"]
    node["fields"] = dict(reversed(node["fields"].items()))
    save_model(model, header["config"], tmp_path / "other.safetensors")
    loaded, _ = load_model(tmp_path / "other.safetensors")
    assert list(loaded.conditioner.fields) == list(reversed(model.conditioner.fields))


def test_one_changed_byte_anywhere_is_an_error_that_names_the_file(run, tmp_path):
    data = (run / MODEL_FILE).read_bytes()
    for position in (3, 40, 300, len(data) // 2, len(data) - 1):
        broken = bytearray(data)
        broken[position] ^= 1
        path = tmp_path / f"broken-{position}.safetensors"
        path.write_bytes(broken)
        with pytest.raises(ModelFileError, match=path.name):
            load_model(path)
    (tmp_path / "short.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ModelFileError, match=r"short\.safetensors is damaged"):
        load_model(tmp_path / "short.safetensors")


def rewritten(run, path, change):
    tensors = load_file(run / MODEL_FILE)
    with safe_open(run / MODEL_FILE, "pt") as file:
        header = json.loads(file.metadata()["mmdiff"])
    change(header)
    header["sha256"] = digest(header, tensors)
    save_file(tensors, path, {"mmdiff": json.dumps(header)})
    return path


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "lightning.pytorch.Trainer", "mmdiff.cli.main"])
def test_a_foreign_class_in_a_model_file_is_refused_by_name(run, tmp_path, target):
    def change(header):
        header["config"]["adapter"]["network"]["_target_"] = target

    with pytest.raises(ModelFileError, match=target.replace(".", r"\.")):
        load_model(rewritten(run, tmp_path / "foreign.safetensors", change))


def test_a_file_of_a_later_format_and_a_strange_file_are_refused(run, tmp_path):
    later = rewritten(run, tmp_path / "later.safetensors", lambda header: header.update(format=99))
    with pytest.raises(ModelFileError, match="update mmdiff"):
        load_model(later)
    save_file({"x": torch.zeros(1)}, tmp_path / "strange.safetensors")
    with pytest.raises(ModelFileError, match="not written by mmdiff"):
        load_model(tmp_path / "strange.safetensors")
    with pytest.raises(ModelFileError, match="no model at"):
        load_model(tmp_path / "none")


def test_the_command_takes_labels_tables_and_changed_settings(run, tmp_path):
    table = tmp_path / "wishes.csv"
    table.write_text("name,instrument,pitch,seconds,seed\nlow,plucked,50,0.3,9\nhigh,,70,,\n")
    output = command("sample", run, f"requests={table}", f"out={tmp_path / 'a'}", "sampler=ddim", "sampler.steps=3",
                     "guidance.scale=1.5", "device=cpu")
    assert "2 file(s)" in output
    facts = json.loads((tmp_path / "a" / "low.json").read_text())
    assert facts["seed"] == 9 and facts["labels"] == {"instrument": "plucked", "pitch": 50.0}
    assert facts["sampler"]["steps"] == 3 and facts["guidance"]["scale"] == 1.5 and facts["size"]["seconds"] == 0.3
    assert (tmp_path / "a" / "preview.png").stat().st_size > 1000
    command("sample", run, "n=2", "cond.instrument=blown", f"out={tmp_path / 'b'}", "suffix=.flac", "device=cpu")
    assert len(list((tmp_path / "b").glob("*blown*.flac"))) == 2


@pytest.mark.parametrize(("arguments", "text"), [
    (["n=0"], "n is a whole number, at least 1, got 0"),
    (["sampler.stps=3"], "did you mean 'sampler.steps'"), (["samplr=ddim"], "no key 'samplr'"),
    (["cond.instrument=drum"], "no class 'drum'"), (["requests=nowhere.csv"], "cannot read the table"),
    (["seconds=-1"], "seconds is a number, above 0"), (["run=nowhere"], "there is no such run directory or file"),
])
def test_a_mistake_on_the_command_line_is_told_without_a_traceback(run, tmp_path, arguments, text):
    output = command("sample", run, f"out={tmp_path}", "device=cpu", *arguments, code=2)
    assert text in output and "Traceback" not in output


@pytest.mark.parametrize(("row", "text"), [
    ("x,60", "row 2: seed is a whole number"), ("3,high", "row 2: pitch is a number between"),
])
def test_a_mistake_in_a_table_names_its_row(run, tmp_path, row, text):
    (tmp_path / "wishes.csv").write_text(f"seed,pitch\n1,50\n{row}\n")
    with pytest.raises(ValueError, match=text):
        sample.main([str(run), f"requests={tmp_path / 'wishes.csv'}", f"out={tmp_path}", "device=cpu"])


def test_guidance_by_the_same_model_changes_nothing(run):
    def made(target, **settings):
        pipeline = mmdiff.load(run, device="cpu", guidance={"_target_": target, **settings})
        return pipeline.sample(2, cond={"instrument": "blown", "pitch": 60.0})

    plain = made("mmdiff.core.guidance.Unguided")
    guided = made("mmdiff.generation.autoguidance.RunAutoguidance", weak=str(run), scale=3.0)
    for a, b in zip(plain, guided, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-2)


class Parrot(Network):
    """Puts out its condition, and knows where it was asked."""

    ordered = False

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, level, cond, mask):
        return x * self.weight if cond.vector is None else x * 0 + cond.vector[:, :1, None]


def parrot(fields, *, schedule=None, mean=0.0, extra=0):
    codec = PointCodec(extra=extra)
    codec.mean.fill_(mean)
    conditioner = Labels(fields, dim=4)
    for name, field in fields.items():
        if not is_scalar(field):                                      # what a class means hangs on its name alone
            for row, value in enumerate(field):
                conditioner.embeddings[part_name(name)].weight.data[row] = float(sum(value.encode()))
    adapter = Adapter(None, codec, conditioner, Parrot())
    return DiffusionModel(adapter, schedule=schedule or Linear(), parameterization=Data())


def guided_by(weak, strong, labels):
    guidance = RunAutoguidance("weak", scale=3.0)
    guidance.__dict__["model"] = weak
    return strong.latents(labels, [0] * len(labels), (5,), sampler=Euler(2), guidance=guidance)


def test_autoguidance_tells_the_weak_model_the_classes_by_name():
    rows = [{"word": "hat"}, {"word": "kick"}]
    strong, weak = parrot({"word": ["hat", "kick"]}), parrot({"word": ["kick", "cow", "hat"]})
    plain = strong.latents(rows, [0, 0], (5,), sampler=Euler(2))
    torch.testing.assert_close(guided_by(weak, strong, rows), plain)


@pytest.mark.parametrize(("weak", "text"), [
    ({"fields": {"word": ["hat"]}}, "it has no word 'kick'"), ({"fields": {}}, "it is not told word"),
    ({"fields": {"word": ["hat", "kick"], "pitch": (0.0, 1.0)}}, "it is told pitch"),
    ({"fields": {"word": (0.0, 1.0)}}, "word is a number to it"),
    ({"schedule": Cosine()}, r"schedule is Cosine\(\), not"),
    ({"schedule": Shifted(Linear(), 2.0)}, r"its schedule is Shifted\(schedule=Linear\(\), shift=2.0\), not Linear"),
    ({"mean": 0.3}, "codec's mean has other values"), ({"extra": 1}, "codec's channels is 4, not 3"),
])
def test_a_weak_model_that_means_something_else_is_refused_by_what_differs(weak, text):
    strong = parrot({"word": ["hat", "kick"]})
    with pytest.raises(ValueError, match=f"guidance.weak=weak cannot guide this model: .*{text}"):
        guided_by(parrot(**{"fields": {"word": ["hat", "kick"]}, **weak}), strong, [{"word": "kick"}])


def test_an_unlabelled_weak_model_goes_where_the_strong_one_is():
    weak, strong = parrot({}), parrot({}).to("meta")
    guidance = RunAutoguidance("weak")
    guidance.__dict__.update(model=weak, compared=strong)
    guidance.bind([{}], strong)
    assert weak.device.type == "meta"
