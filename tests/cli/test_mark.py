"""Marks on the command line and in jobs: recorded without the secret, found with rates, tested against attacks."""

import json

import pytest
import torch

import mmdiff
from mmdiff import Request
from mmdiff.cli import check, sample
from mmdiff.cli import eval as eval_command
from mmdiff.cli import mark as command
from mmdiff.config.build import ConfigError
from mmdiff.core.samplers import Auto
from mmdiff.core.types import Masked
from mmdiff.generation.finding import find, joined
from mmdiff.generation.reproduce import reproduce
from mmdiff.marks.base import Found
from mmdiff.marks.latent import LatentMark
from mmdiff.marks.ledger import LedgerMark

SECRET = "letters that nobody guesses"
SIGNS = {"_target_": "mmdiff.marks.signs.SignsMark", "secret": "env:MINE", "message": "a7"}
LEDGER = {"_target_": "mmdiff.marks.ledger.LedgerMark", "steps": 2}


@pytest.fixture(autouse=True)
def secret(monkeypatch):
    monkeypatch.setenv("MINE", SECRET)


@pytest.fixture(scope="module")
def pipeline(run):
    return mmdiff.load(run, device="cpu")


def requests(count):
    return [Request(seed=i, labels={"instrument": "blown"}) for i in range(count)]


def test_files_with_the_mark_of_the_ledger_are_those_without_to_the_last_bit(run, pipeline, tmp_path):
    marked = mmdiff.load(run, device="cpu", mark=LEDGER)
    files = [p.save(requests(3), tmp_path / name) for name, p in (("marked", marked), ("plain", pipeline))]
    for one, other in zip(*files, strict=True):
        assert one.read_bytes() == other.read_bytes()
    told = [json.loads(one[0].with_suffix(".json").read_text()) for one in files]
    assert told[0] == told[1] and told[0]["mark"] is None


def test_a_sidecar_tells_the_mark_and_which_secret_but_not_the_secret(run, pipeline, tmp_path, monkeypatch, capsys):
    words = [str(run), f"out={tmp_path}", "n=2", "device=cpu", "mark=signs", "mark.secret=env:MINE", "mark.message=a7"]
    assert sample.main(words) == 0
    text = "".join(path.read_text() for path in tmp_path.glob("*.json*"))
    assert SECRET not in text + capsys.readouterr().out
    told = json.loads(next(tmp_path.glob("0000*.json")).read_text())
    assert told["mark"]["secret"] == "env:MINE" and told["mark"]["message"] == "a7" and len(told["mark_key"]) == 8
    again = mmdiff.load(run, device="cpu", mark=told["mark"])
    assert again.mark.key == told["mark_key"]
    assert sample.main(words) == 0, "what is there already is kept"
    monkeypatch.setenv("MINE", "another secret of some length")
    with pytest.raises(FileExistsError, match="made with another mark_key"):
        sample.main(words)
    with pytest.raises(FileExistsError, match="made with another mark"):
        sample.main([word for word in words if not word.startswith("mark")])


def test_a_marked_file_is_made_again_bit_for_bit_with_its_secret_alone(run, tmp_path, monkeypatch):
    (path,) = mmdiff.load(run, device="cpu", mark=SIGNS).save(requests(1), tmp_path)
    assert reproduce(path, run, device="cpu").equal
    monkeypatch.setenv("MINE", "another secret of some length")
    again = reproduce(path, run, device="cpu")
    assert not again.equal and any(word.startswith("mark_key was ") for word in again.differs)


@pytest.mark.parametrize(("word", "reason"), [
    ("mark.secret=openly", "names the variable"), ("mark.secret=env:NONE", "NONE is not set"),
    ("mark.message=xyz", "hexadecimal digits"), ("mark.bits=5", "bits are those of hexadecimal digits"),
])
def test_a_mark_that_cannot_be_made_is_told_in_a_line(run, tmp_path, word, reason):
    with pytest.raises(ValueError, match=reason):
        sample.main([str(run), f"out={tmp_path}", "device=cpu", "mark=signs", "mark.secret=env:MINE", word])


def test_what_is_known_of_a_latent_gets_no_pattern(pipeline):
    model, mark = pipeline.model, LatentMark("env:MINE", strength=0.5)
    shape = model.codec.latent_shape(seconds=0.25)
    mask = torch.zeros(1, 1, *shape, dtype=torch.bool)
    mask[..., :4] = True
    known = Masked(torch.rand(1, model.codec.channels, *shape), mask)
    plain, marked = (
        model.latents([{}], [0], shape, sampler=Auto(2), known=known, mark=mark) for mark in (None, mark)
    )
    assert torch.equal(plain[..., :4], marked[..., :4]) and not torch.equal(plain[..., 4:], marked[..., 4:])


def test_find_tells_the_seed_the_rate_and_how_many_were_compared(run, pipeline, tmp_path, capsys):
    paths = pipeline.save(requests(4), tmp_path / "made", audit=tmp_path / "audit")
    for log in ("made", "audit"):
        assert command.main(["find", str(paths[2]), str(run), f"ledger={tmp_path / log}", "device=cpu"]) == 0
        told = capsys.readouterr().out
        assert "ledger: z " in told and "false-positive rate" in told and "over 36 comparisons" in told
    assert command.main(["find", str(paths[2]), str(run), "secret=env:MINE", "seeds=5", "device=cpu", "shifts=0"]) == 0
    told = capsys.readouterr().out
    assert "signs: z " in told and "latent: z " in told and "over 5 comparisons" in told and SECRET not in told


def test_marked_samples_are_judged_by_eval(run, pipeline):
    config, late = eval_command._composed([f"run={run}", "mark=latent", "mark.secret=env:MINE", "sampler.steps=3"])
    judged = eval_command._pipeline(pipeline, config, late)
    assert isinstance(judged.mark, LatentMark) and judged.sampler.steps == 3
    assert judged.settings["mark"]["secret"] == "env:MINE" and judged.settings["mark_key"]


def test_check_looks_for_marks_where_a_model_is_named(run, pipeline, tmp_path, capsys):
    path = pipeline.save(requests(1), tmp_path)[0]
    assert check.main([str(path), f"model={run}", f"ledger={tmp_path}"]) == 4, "unsigned all the same"
    assert "mark       ledger: z " in capsys.readouterr().out
    assert check.main([str(path)]) == 4 and "mark       " not in capsys.readouterr().out
    with pytest.raises(ConfigError, match="name its run or file, model=RUN"):
        check.main([str(path), "secret=env:MINE"])


def test_rows_of_other_models_are_no_candidates_and_sizes_are_those_of_the_rows(pipeline, tmp_path):
    path, own = pipeline.save(requests(1), tmp_path)[0], pipeline.header["sha256"]
    rows = [{"seed": 0, "model": own}, {"seed": 1, "model": "other"}, {"seed": 2, "size": {"seconds": 0.5}}]
    found = find(path, pipeline, [LedgerMark(steps=1)], rows, shifts=0)["ledger"]
    longer = pipeline.model.codec.latent_shape(seconds=0.5)[0] - pipeline.model.codec.latent_shape(seconds=0.25)[0]
    assert found.tests == 1 + longer + 1
    with pytest.raises(ValueError, match="names no sample of this model"):
        find(path, pipeline, [LedgerMark(steps=1)], rows[1:2])


@pytest.mark.parametrize(("size", "reason"), [
    ([1], "size of seed 0 in the ledger is a mapping"), ({"seconds": -1}, "size of seed 0"),
    ({"seconds": "x"}, "size of seed 0"), ({"points": 3}, "the ledger has a sample with points=; the size of this"),
])
def test_a_size_in_a_ledger_of_anybody_is_data(pipeline, tmp_path, size, reason):
    with pytest.raises(ValueError, match=reason):
        find(tmp_path / "none.wav", pipeline, [LedgerMark(steps=1)], [{"seed": 0, "size": size}])


def test_two_searches_are_one_with_the_comparisons_of_both():
    one, other = Found(-20.0, 10, {"seed": 1}), Found(-21.0, 1000, {"seed": 2})
    both = joined(one, other)
    assert both.facts == {"seed": 2} and both.tests == 1010 and both.rate > other.rate
    assert both.z == pytest.approx(other.z)


@pytest.mark.parametrize(("words", "reason"), [
    (["look"], "no command 'look'"), (["find", "a.wav"], "mmdiff mark find FILE RUN"),
    (["find", "a.wav", "RUN"], "say what to look for"), (["test"], "mmdiff mark test RUN"),
    (["find", "a.wav", "RUN", "secret=env:MINE", "mark=latent", "mark.secret=env:MINE"], "goes with no mark="),
    (["find", "a.wav", "RUN", "ledger=log.jsonl", "seeds=5"], "leave seeds= out"),
    (["find", "a.wav", "RUN", "seeds=0"], "seeds is a whole number, at least 1"),
])
def test_a_mistake_in_a_command_is_told(run, words, reason):
    with pytest.raises(ConfigError, match=reason):
        command.main([str(run) if word == "RUN" else word for word in words])


def test_the_test_of_a_mark_has_a_row_for_each_attack_and_says_where_it_fails(run, tmp_path, capsys):
    words = [str(run), f"out={tmp_path}", "n=4", "quality=false", "device=cpu", "mark=signs", "mark.secret=env:MINE"]
    assert command.main(["test", *words, "mark.message=a7", "mark.steps=1"]) == 0
    told = json.loads((tmp_path / "signs.json").read_text())
    names = [row["after"] for row in told["rows"]]
    assert names[0] == "as saved" and names[-1] == "no mark" and "MP3, 32 kbit/s" in names
    for row in told["rows"]:
        assert 0 <= row["found"]["low"] <= row["found"]["value"] <= row["found"]["high"] <= 1
        assert row["least z"] <= row["z"]["value"] and 0 <= row["bits right"]["value"] <= 1
    assert told["change"]["log-spectral distance, dB"]["value"] > 0
    assert "Fails: as saved" in capsys.readouterr().out, "an untrained model maps noise to nothing"
    assert SECRET not in (tmp_path / "signs.md").read_text() + json.dumps(told)
