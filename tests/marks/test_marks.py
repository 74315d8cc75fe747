"""Marks of the noise and of the latent: what they change, and that chance alone looks like chance."""

import json
import math

import numpy as np
import pytest
import torch
from scipy.special import gammaincc
from scipy.stats import kstest, norm

from mmdiff.core.schedules import Linear, VarianceExploding
from mmdiff.marks.base import Candidate, Found, Source
from mmdiff.marks.correlation import correlated, likeliest, limited, log_tail, overlaps, signs, written
from mmdiff.marks.latent import LatentMark
from mmdiff.marks.ledger import LedgerMark, read_ledger
from mmdiff.marks.secret import Secret
from mmdiff.marks.signs import SignsMark
from mmdiff.testing import Gaussian, denoiser

SHAPE = (4, 12, 5)
SECRET, OTHER = "env:MARK_SECRET", "env:MARK_OTHER"
MAKE = {
    "ledger": lambda secret: LedgerMark(), "signs": lambda secret: SignsMark(secret, message="a7"),
    "signs without a message": lambda secret: SignsMark(secret, bits=0), "latent": LatentMark,
    "latent with a message": lambda secret: LatentMark(secret, bits=4, message="5"),
}
every_mark = pytest.mark.parametrize("kind", MAKE)


@pytest.fixture(autouse=True)
def secrets(monkeypatch):
    monkeypatch.setenv("MARK_SECRET", "a secret of enough letters")
    monkeypatch.setenv("MARK_OTHER", "another one, as long as that")


def wanted(seeds, shape=SHAPE):
    return [Candidate(seed, shape[1:]) for seed in seeds]


def noise(seeds, shape=SHAPE):
    return LedgerMark().reference(wanted(seeds, shape), shape[0])


@every_mark
def test_what_a_sample_gets_is_the_same_in_batches_of_1_4_and_16(kind):
    mark, seeds = MAKE[kind](SECRET), list(range(16))
    for embed in (mark.embed_noise, mark.embed_latent):
        whole = embed(noise(seeds), seeds, 0)
        for size in (1, 4):
            parts = [embed(noise(seeds[i : i + size]), seeds[i : i + size], 0) for i in range(0, 16, size)]
            assert torch.equal(torch.cat(parts), whole)


def test_the_ledger_mark_changes_nothing():
    mark, x = LedgerMark(), noise([3, 4])
    assert mark.embed_noise(x, [3, 4], 0) is x and mark.embed_latent(x, [3, 4], 0) is x
    assert mark.embed_sample(x[0], 3, None) is not None and torch.equal(mark.embed_sample(x[0], 3, None), x[0])


@pytest.mark.parametrize("message", ["0000", "ffff", "a712"])
def test_noise_with_a_message_is_normal_over_numbers_and_over_seeds_at_one_place(message):
    mark = SignsMark(SECRET, bits=16, message=message)
    x = mark.embed_noise(torch.empty(2000, 4, 25, 5), range(2000), 0)
    assert x.numel() == 10**6
    assert kstest(x.flatten().numpy(), "norm").pvalue > 0.01
    for place in ((0, 0, 0), (1, 7, 2), (3, 24, 4)):
        assert kstest(x[(slice(None), *place)].numpy(), "norm").pvalue > 0.01
    correlation = torch.corrcoef(x[:64].flatten(1)) - torch.eye(64)
    assert correlation.abs().max() < 6 / x[0].numel() ** 0.5


def test_each_draw_seed_secret_and_message_has_noise_of_its_own():
    x, mark = torch.empty(1, *SHAPE), SignsMark(SECRET, message="00")
    base = mark.embed_noise(x, [1], 0)
    others = [
        mark.embed_noise(x, [2], 0), mark.embed_noise(x, [1], 1), SignsMark(OTHER, message="00").embed_noise(x, [1], 0),
        noise([1]), SignsMark(SECRET, message="01").embed_noise(x, [1], 0),
    ]
    assert not any(torch.equal(base, other) for other in others)
    assert torch.equal(base.abs(), others[-1].abs()), "a message is in the signs alone"
    assert int((base != others[-1]).sum()) == math.prod(SHAPE) // 8, "a bit has every eighth place"


FILES = torch.stack([                                                 # what no model made: waves, steps, spikes, chance
    *(torch.sin(0.1 * (k + 1) * torch.arange(240.0) + k) for k in range(40)),
    *(torch.arange(240.0).remainder(k + 2).sub(k / 2).sign() + 0.01 * k for k in range(20)),
    *(torch.nn.functional.one_hot(torch.tensor([k, 7 * k % 240]), 240).sum(0).float() for k in range(20)),
    *torch.randn(20, 240, generator=torch.Generator().manual_seed(0)).pow(3),
]).reshape(-1, *SHAPE)


@every_mark
def test_scores_of_wrong_seeds_and_secrets_are_normal_whatever_the_file_is(kind):
    marked = MAKE[kind](SECRET).embed_latent(MAKE[kind](SECRET).embed_noise(FILES, range(100), 0), range(100), 0)
    evidence = limited(marked)
    wrong = MAKE[kind](OTHER)
    patterns = [c._replace(seed=c.seed + 1000) for c in wanted(range(1200))]
    if kind.startswith("latent"):
        wrong.patterns = 10**9
    references = wrong.reference(patterns, SHAPE[0])
    u = torch.stack([correlated(references, e, bits=wrong.bits) for e in evidence])
    z = torch.from_numpy(-norm.ppf(log_tail(u.flatten(0, 1)).exp().numpy()))
    assert len(z) == 120_000
    assert abs(z.mean()) < 0.01 and abs(z.std() - 1) < 0.01
    assert 0.5 < (z > 4).double().mean() / norm.sf(4) < 2


def test_a_message_is_scored_by_the_tail_of_chi_squared_and_none_by_that_of_the_normal():
    u = torch.randn(50, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    expected = np.log(gammaincc(4, u.square().sum(1).numpy() / 2))
    torch.testing.assert_close(log_tail(u), torch.from_numpy(expected))
    torch.testing.assert_close(log_tail(u[:, :1]), torch.from_numpy(norm.logsf(u[:, 0].numpy())))
    assert log_tail(torch.zeros(1, 8, dtype=torch.float64)).item() == 0


def test_a_rate_counts_every_comparison_and_has_no_least_value():
    found = Found(norm.logsf(8.0) + math.log(1000), 1000, {})
    assert found.z == pytest.approx(8) and found.rate == pytest.approx(1000 * norm.sf(8))
    assert Found(-5000.0, 10, {}).z > 90 and Found(-5000.0, 10, {}).rate == 0
    assert Found(math.log(3), 3, {}).rate == 1


@pytest.mark.parametrize(("own", "other", "shifts", "count"), [(5, 5, 0, 1), (5, 5, 2, 5), (3, 5, 0, 3), (7, 5, 1, 5)])
def test_every_place_of_one_length_in_the_other_is_compared_once(own, other, shifts, count):
    places = list(overlaps(own, other, shifts))
    assert len(set(places)) == count == len(places)
    assert all(p.start + p.length <= own and p.other + p.length <= other and p.length > 0 for p in places)


@every_mark
@pytest.mark.parametrize("part", [slice(0, 12), slice(3, 10)])
def test_a_part_of_a_sample_is_found_at_its_place_with_its_message(kind, part):
    mark, shape = MAKE[kind](SECRET), (4, 48, 5)
    (reference,) = mark.reference(wanted([5], shape), 4)
    part = slice(4 * part.start, 4 * part.stop)
    message = getattr(mark, "message", "")
    evidence = (reference * signs(message, shape))[:, part] + torch.randn(4, 4 * 12, 5)[:, part]
    candidates = wanted(range(16), shape)
    found, candidate = likeliest(
        evidence, candidates, lambda some: mark.reference(some, 4), bits=getattr(mark, "bits", 0), shifts=2
    )
    assert candidate.seed == 5 and found.facts["shift"] == part.start and found.z > 10
    assert found.facts.get("message", "") == message
    assert found.tests == len(candidates) * (48 - (part.stop - part.start) + 5)


def test_keyed_noise_is_the_same_however_long_the_sample_is():
    short, long = (SignsMark(SECRET).embed_noise(torch.empty(1, 4, n, 5), [1], 0) for n in (12, 30))
    assert torch.equal(long[:, :, :12], short)


SMOOTH = Gaussian(torch.zeros(240, dtype=torch.float64), torch.logspace(-2.5, 0.2, 240, dtype=torch.float64))


def source(schedule):
    """A model of Gaussians, whose codec does nothing."""
    flat = denoiser(SMOOTH.posterior_mean, schedule)

    def denoise(x, t):
        return flat(x.double().flatten(1), t).to(x).reshape(x.shape)

    class Plain(torch.nn.Module):
        def encode(self, batch):
            return batch

    return Source(Plain(), schedule, denoise, torch.device("cpu"))


@pytest.mark.parametrize("schedule", [Linear(), VarianceExploding()], ids=["linear", "exploding"])
@every_mark
def test_a_mark_is_found_in_samples_of_a_gaussian_and_in_no_others(kind, schedule):
    mark, seeds = MAKE[kind](SECRET), [11, 12, 13]
    end = [float(v) for v in schedule.level(torch.ones((), dtype=torch.float64))]
    x1 = mark.embed_noise(noise(seeds), seeds, 0).double().flatten(1) * math.hypot(*end)
    made = SMOOTH.endpoint(x1, *end).reshape(-1, *SHAPE).float()
    marked = mark.embed_latent(made, seeds, 0)
    candidates = [wanted(range(20))] * 3
    found = mark.score(list(marked), source(schedule), candidates)
    assert [f.facts.get("seed", s) for f, s in zip(found, seeds, strict=True)] == seeds
    assert [f.facts.get("pattern", s) for f, s in zip(found, seeds, strict=True)] == seeds
    assert all(f.rate < 1e-6 for f in found), [f.z for f in found]
    other = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(2))
    assert all(f.rate > 1e-4 for f in mark.score(list(other), source(schedule), candidates))


def test_a_secret_is_named_and_never_written_and_must_not_be_guessed(monkeypatch):
    for place, reason in (
        ("plainly written", "names the variable"), ("env:", "names the variable"),
        ("env:NOT_SET", "NOT_SET is not set"),
    ):
        with pytest.raises(ValueError, match=reason):
            SignsMark(place)
    monkeypatch.setenv("SHORT", "123")
    with pytest.raises(ValueError, match="shorter than 16 characters"):
        LatentMark("env:SHORT")
    mark = SignsMark(SECRET)
    assert "a secret" not in repr(vars(mark)) and mark.key != SignsMark(OTHER).key
    assert Secret(SECRET).key("a", 1) != Secret(SECRET).key("a", 2) < 2**64


@pytest.mark.parametrize(("bits", "message"), [(6, None), (-4, None), (8, "123"), (8, "xy"), (8, "-1"), (0, "1")])
def test_a_message_that_does_not_fit_is_refused(bits, message):
    with pytest.raises(ValueError, match="hexadecimal digits"):
        SignsMark(SECRET, bits=bits, message=message)


def test_a_message_is_read_as_it_is_written():
    for message in ("00", "ff", "07", "a5"):
        assert written(signs(message, (1, 8)).reshape(8) < 0) == message


def test_a_ledger_is_rows_with_seeds_in_a_file_or_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.jsonl").write_text(json.dumps({"seed": 3, "size": {"seconds": 1}}) + "\n{}\n")
    (tmp_path / "two.jsonl").write_text(json.dumps({"seed": 2**63 - 1}) + "\n")
    assert [row["seed"] for row in read_ledger(tmp_path)] == [3, 2**63 - 1]
    with (tmp_path / "two.jsonl").open("a") as file:
        file.write('{"seed": 5, "half')                                # of a job that was killed, or goes on
    assert [row["seed"] for row in read_ledger(tmp_path)] == [3, 2**63 - 1]
    (tmp_path / "two.jsonl").write_text("nothing\n")
    for path, reason in ((tmp_path, "line 1 of .*two.jsonl is no JSON"), (tmp_path / "no.jsonl", "cannot be read")):
        with pytest.raises(ValueError, match=reason):
            read_ledger(path)
    (tmp_path / "two.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="names no seed"):
        read_ledger(tmp_path / "two.jsonl")
