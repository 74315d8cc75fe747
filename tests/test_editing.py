"""Modes: what is kept of an input, and how it grows beyond one window."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mmdiff import Edit, Pipeline, Request
from mmdiff.adapters.base import Adapter, Count
from mmdiff.adapters.conditioners import Labels
from mmdiff.adapters.series.codec import SeriesCodec
from mmdiff.cli.requests import requests_of
from mmdiff.config.build import ConfigError
from mmdiff.core.parameterizations import Data
from mmdiff.core.schedules import Linear
from mmdiff.generation.edits import EncodedEdit, Known, carry_out, roll_out
from mmdiff.model import DiffusionModel
from mmdiff.nn.unet1d import UNet1d


class Plain:
    """A codec whose latents are its samples, one position a second."""

    def __init__(self, sample):
        self.sample = sample

    def load(self, path: Path, **size):
        return self.sample

    def encode(self, samples):
        return samples

    encode_part = encode

    def latent_shape(self, *, seconds):
        return (round(seconds),)


INPUT = Path(__file__)
CPU = torch.device("cpu")
SAMPLE = torch.arange(1.0, 5.0)[None]                                 # (1, 4): 1 2 3 4


def given(edit, sample, seconds):
    return edit.known(Plain(sample), {"seconds": seconds}, device=CPU)


def placed(mode, seconds, **options):
    known = given(Edit(mode, INPUT, **options), SAMPLE, seconds)
    return torch.where(known.mask, known.x, 0)[0].int().tolist()


def test_each_mode_keeps_the_input_where_it_says():
    assert placed("extend", 6) == [1, 2, 3, 4, 0, 0]
    assert placed("extend", 6, keep=1) == [4, 0, 0, 0, 0, 0]
    assert placed("complete", 6) == [1, 2, 3, 4, 0, 0]
    assert sorted(placed("complete", 6, keep=2)) in ([0, 0, 0, 0, a, b] for a in range(1, 4) for b in range(a, 5))
    assert placed("interpolate", 7) == [1, 0, 2, 0, 3, 0, 4]
    assert placed("interpolate", 5, keep=2) == [1, 0, 0, 0, 2]
    assert placed("inpaint", 4, hole=(1, 3)) == [1, 0, 0, 4]
    assert placed("inpaint", 4, hole=(0, 2)) == [0, 0, 3, 4]


def test_what_cannot_be_done_is_refused_with_the_remedy():
    with pytest.raises(ValueError, match="ask for more"):
        placed("extend", 4)
    with pytest.raises(ValueError, match="hole"):
        Edit("inpaint", INPUT)
    with pytest.raises(ValueError, match="within the input"):
        placed("inpaint", 4, hole=(3, 9))
    with pytest.raises(ValueError, match="mode is one of"):
        Edit("dream", INPUT)
    with pytest.raises(ValueError, match="not a file"):
        Edit("extend", INPUT / "nothing")
    for keep in (0, 1.5, "2", True):
        with pytest.raises(ValueError, match="keep is a whole number, at least 1"):
            Edit("extend", INPUT, keep=keep)
    for hole in ((1,), (1, "2"), 3.0):
        with pytest.raises(ValueError, match=r"hole is \[a number, a number\]"):
            Edit("inpaint", INPUT, hole=hole)
    with pytest.raises(ValueError, match="two frames"):
        placed("interpolate", 4, keep=1)


def test_an_input_may_be_text_and_a_hole_a_list():
    edit = Edit("inpaint", str(INPUT), hole=[1, 3])
    assert edit == Edit("inpaint", INPUT, hole=(1.0, 3.0)) and hash(edit) == hash(Edit("inpaint", INPUT, hole=(1, 3)))


def test_the_input_of_an_edit_is_hashed_once_for_all_its_requests(tmp_path, monkeypatch):
    (tmp_path / "a.wav").write_bytes(b"some")
    edit, read = Edit("extend", tmp_path / "a.wav"), []
    monkeypatch.setattr(Path, "read_bytes", lambda path: read.append(path) or b"some")
    assert edit.facts == edit.facts and len(read) == 1


def count_on(calls):
    """A model that continues what it is given by counting on, window by window."""

    def make(shape, *, known=None, window=None, overlap=0, draw=0):
        calls.append((shape, draw))
        x = torch.where(known.mask, known.x, torch.nan)[0, 0]
        last = int((~x.isnan()).nonzero().max())
        return (torch.arange(len(x)) - last + x[last])[None, None]

    return make


@pytest.mark.parametrize("total", [6, 7, 9, 20])
@pytest.mark.parametrize(("given", "overlap"), [(1, 2), (4, 2), (4, 5), (5, 1)])
def test_rolling_out_continues_to_the_end_with_new_noise_for_each_window(total, given, overlap):
    x, mask, calls = torch.zeros(1, 1, total), torch.zeros(1, 1, total, dtype=torch.bool), []
    x[..., :given], mask[..., :given] = torch.arange(given), True
    out = roll_out(count_on(calls), Known(x, mask), window=6, overlap=overlap)
    assert out[0, 0].tolist() == list(range(total))
    assert [draw for _, draw in calls] == list(range(len(calls)))
    assert all(shape == (6,) for shape, _ in calls)


def test_overlap_must_leave_something_to_make():
    known = Known(torch.zeros(1, 1, 9), torch.zeros(1, 1, 9, dtype=torch.bool))
    for overlap in (0, 4):
        with pytest.raises(ValueError, match="overlap"):
            roll_out(count_on([]), known, window=4, overlap=overlap)


def filled(edits, total, calls, *, window):
    """Edits of samples of ``total`` seconds, each position 0 where it is made and 1 + its number where it is given."""
    sample = torch.arange(1.0, total + 1)[None]
    placed = [EncodedEdit.of(edit, given(edit, sample, total), window) for edit in edits]

    def make(shape, *, known=None, window=None, overlap=0, draw=0):
        calls.append((shape, window))
        return torch.where(known.mask, known.x, 0)

    assert len({p.way for p in placed}) == 1
    return carry_out(make, placed, device=CPU)[:, 0].int().tolist()


@pytest.mark.parametrize(("hole", "length"), [((10, 13), 8), ((0, 2), 8), ((38, 40), 8), ((4, 20), 20), ((0, 40), 40)])
def test_what_is_filled_in_is_made_with_what_is_near_and_the_rest_stays(hole, length):
    calls = []
    (made,) = filled([Edit("inpaint", INPUT, hole=hole)], 40, calls, window=8)
    assert made == [0 if hole[0] <= i < hole[1] else i + 1 for i in range(40)]
    assert calls == [((length,), None if length == 8 else 8)]


def test_holes_at_any_place_of_samples_of_one_size_are_filled_together():
    edits, calls = [Edit("inpaint", INPUT, hole=(start, start + 2)) for start in (1, 17, 36)], []
    made = filled(edits, 40, calls, window=8)
    assert len(calls) == 1
    assert [[i for i in range(40) if not row[i]] for row in made] == [[1, 2], [17, 18], [36, 37]]


def test_only_what_is_longer_than_a_window_is_rolled_out():
    def placed(mode, **options):
        edit = Edit(mode, INPUT, **options)
        return EncodedEdit.of(edit, given(edit, SAMPLE, 6), 4).way

    assert placed("extend")[:2] == (4, None) and placed("extend").given == 4
    assert placed("interpolate") == (6, 4, 2, None)
    assert placed("complete") == (6, None, 0, None)


class Steps(SeriesCodec):
    """What a package of others brings: series in steps, one a .npy file."""

    suffix = ".npy"
    reading: dict = {}  # noqa: RUF012

    def latent_shape(self, *, length: Count):
        return (int(length),)

    def size(self, sample):
        return {"length": sample.shape[-1]}

    def save(self, sample, path):
        np.save(path, sample.numpy())
        return path

    def load(self, path, **size):
        return torch.from_numpy(np.load(path))


@pytest.fixture(scope="module")
def series():
    """An untrained model of series of 16 steps."""
    torch.manual_seed(0)
    codec = Steps(1)
    network = UNet1d(1, 8, base=8, multipliers=[1, 2])
    for parameter in network.parameters():                            # zero at first: it would give the same for all
        torch.nn.init.normal_(parameter, std=0.05)
    adapter = Adapter(None, codec, Labels({"kind": ["a", "b"]}, dim=8), network)
    model = DiffusionModel(adapter, schedule=Linear(), parameterization=Data()).eval().requires_grad_(False)
    parts = {"sampler": "mmdiff.core.samplers.DDIM", "guidance": "mmdiff.core.guidance.Unguided"}
    config = {"size": {"length": 16}, **{name: {"_target_": target} for name, target in parts.items()}}
    return Pipeline(model, {"config": config, "sha256": "0"})


@pytest.fixture
def files(tmp_path):
    for i, length in enumerate((40, 40, 40, 6, 9, 6)):
        np.save(tmp_path / f"{i}.npy", np.random.default_rng(i).normal(size=(1, length)).astype(np.float32))
    return [tmp_path / f"{i}.npy" for i in range(6)]


def test_a_hole_in_a_file_longer_than_the_trained_length_gives_the_whole_file(series, files):
    (made,) = series.sample(1, edit=Edit("inpaint", files[0], hole=(12, 15)))
    given = torch.from_numpy(np.load(files[0]))
    assert made.shape == (1, 40)
    assert (made - given).abs().flatten().gt(1e-5).nonzero().flatten().tolist() == [12, 13, 14]
    assert series.sample(1, edit=Edit("inpaint", files[0], hole=(12, 15)), length=24)[0].shape == (1, 24)


def test_edits_of_different_inputs_are_made_together_and_each_is_the_same_in_any_job(series, files, monkeypatch):
    holes = [(3, 5), (12, 15), (30, 31)]
    requests = [Request(seed=i, edit=Edit("inpaint", files[i], hole=hole)) for i, hole in enumerate(holes)]
    short = [Request(seed=i, edit=Edit("extend", files[i]), size={"length": 16}) for i in (3, 4, 5)]
    long = [Request(seed=i, edit=Edit("extend", files[i]), size={"length": 40}) for i in (3, 5)]
    batches, finished = [], series.model.finished
    monkeypatch.setattr(series.model, "finished", lambda x, **size: batches.append(len(x)) or finished(x, **size))
    job = [*requests, *short, *long]
    whole = dict(series.run(job, 3, show_progress=False))
    assert batches == [3, 3, 3], "one batch for each kind of edit, whatever its files"
    for i, request in enumerate(job):
        for company in ([], [job[i - 1]], [job[i - 2], job[i - 1]]):
            part = dict(series.run([*company, request], 3, show_progress=False))
            assert torch.equal(part[len(company)], whole[i])


def test_a_file_is_encoded_once_for_all_jobs_of_a_model_until_it_changes(series, files, monkeypatch, tmp_path):
    monkeypatch.setenv("MMDIFF_CACHE", str(tmp_path / "cache"))
    encoded, inner = [], Steps.encode
    monkeypatch.setattr(Steps, "encode", lambda self, samples: encoded.append(1) or inner(self, samples))

    def job(pipeline=series, hole=(3, 5)):
        return pipeline.sample(1, edit=Edit("inpaint", files[0], hole=hole))[0]

    first = job()
    assert torch.equal(job(), first) and len(encoded) == 1
    (kept,) = (tmp_path / "cache/inputs").iterdir()
    kept.write_bytes(kept.read_bytes()[:20])                          # a disk that was full
    assert torch.equal(job(), first) and len(encoded) == 2
    job(hole=(4, 6))
    assert len(encoded) == 3
    np.save(files[0], np.load(files[0]) + 1)
    assert not torch.equal(job(), first) and len(encoded) == 4
    job(Pipeline(series.model, {**series.header, "sha256": "1"}))
    assert len(encoded) == 5
    nameless = Pipeline(series.model, {**series.header, "sha256": None})
    assert torch.equal(job(nameless), job(nameless)) and len(encoded) == 7


def told(tmp_path, text, fields=None, edit=None, name="wishes.csv"):
    (tmp_path / name).write_text(text)
    settings = {"n": 1, "seed": 0, "cond": {}, "size": {}, "kinds": {"length": Count}, "edit": edit or {}}
    return requests_of(str(tmp_path / name), **settings, fields=fields or {})


def test_a_table_of_requests_says_what_each_starts_from(tmp_path, files):
    rows = ["extend,0.npy,3,", 'inpaint,1.npy,,"[12, 15]"', "inpaint,1.npy,,0.5 2", "extend,2.npy,,"]
    assert [request.edit for request in told(tmp_path, "\n".join(["mode,input,keep,hole", *rows]))] == [
        Edit("extend", files[0], keep=3), Edit("inpaint", files[1], hole=(12, 15)),
        Edit("inpaint", files[1], hole=(0.5, 2)), Edit("extend", files[2]),
    ]
    (row,) = told(tmp_path, f'{{"input": "{files[4]}", "keep": 2}}\n', edit={"mode": "interpolate"}, name="a.jsonl")
    assert row.edit == Edit("interpolate", files[4], keep=2)


@pytest.mark.parametrize(("row", "text"), [
    ("extend,,,", "row 1: to start from a file give both mode= and input="),
    ("extend,none.npy,,", r"row 1: input=.*none\.npy is not a file"), ("dream,0.npy,,", "row 1: mode is one of"),
    ("extend,0.npy,0,", "row 1: keep is a whole number, at least 1"), ("inpaint,0.npy,,1-2", "row 1: hole is a number"),
    ("inpaint,0.npy,,1", r"row 1: hole is \[a number, a number\]"),
    ("inpaint,0.npy,,2 1", r"row 1: hole is \[start,stop\]"),
])
def test_a_row_that_is_no_edit_is_told_with_its_number(tmp_path, files, row, text):
    with pytest.raises(ConfigError, match=text):
        told(tmp_path, f"mode,input,keep,hole\n{row}\n")


def test_a_field_of_the_name_of_a_size_or_of_an_edit_is_a_column_of_its_whole_key(tmp_path, files):
    fields = {"length": ["long", "short"], "mode": ["major", "minor"]}
    rows = told(tmp_path, "cond.length,length,cond.mode,mode,input\nlong,20,,extend,0.npy\n,9,minor,,\n", fields)
    assert [(row.labels, row.size) for row in rows] == [
        ({"length": "long"}, {"length": 20}), ({"mode": "minor"}, {"length": 9})
    ]
    assert rows[0].edit == Edit("extend", files[0]) and rows[1].edit is None
    with pytest.raises(ConfigError, match="mode is the sample's own and a field of the model too; .* cond.mode"):
        told(tmp_path, "mode\nmajor\n", fields)
