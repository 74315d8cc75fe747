"""Modes: what is kept of an input, and how it grows beyond one window."""

from pathlib import Path

import pytest
import torch

from mmdiff.core.types import Masked
from mmdiff.generation.edits import Edit, carry_out, roll_out


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


def placed(mode, seconds, **options):
    known = Edit(mode, INPUT, **options).place(Plain(SAMPLE), {"seconds": seconds}, device=CPU)
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
    out = roll_out(count_on(calls), Masked(x, mask), window=6, overlap=overlap)
    assert out[0, 0].tolist() == list(range(total))
    assert [draw for _, draw in calls] == list(range(len(calls)))
    assert all(shape == (6,) for shape, _ in calls)


def test_overlap_must_leave_something_to_make():
    known = Masked(torch.zeros(1, 1, 9), torch.zeros(1, 1, 9, dtype=torch.bool))
    for overlap in (0, 4):
        with pytest.raises(ValueError, match="overlap"):
            roll_out(count_on([]), known, window=4, overlap=overlap)


def test_only_what_is_longer_than_a_window_is_rolled_out():
    known, calls = Masked(torch.ones(1, 1, 6), torch.ones(1, 1, 6, dtype=torch.bool)), []

    def make(shape, **options):
        calls.append(options)
        return torch.zeros(1, 1, *shape)

    carry_out(make, known, mode="extend", window=6)
    carry_out(make, known, mode="interpolate", window=4)
    carry_out(make, known, mode="complete", window=4)
    assert [c.get("window") for c in calls] == [None, 4, None]
