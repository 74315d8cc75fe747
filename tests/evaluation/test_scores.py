"""Rows of scores: what each metric sees of faults of known kinds, and what subsets and scale do to it."""

import numpy as np
import pytest
import torch

from mmdiff.adapters.audio.codec import MelCodec
from mmdiff.adapters.audio.judge import AudioJudge
from mmdiff.adapters.points.judge import PointJudge
from mmdiff.adapters.points.molecule_judge import MoleculeJudge
from mmdiff.adapters.points.molecules import MoleculeCodec
from mmdiff.adapters.video.judge import VideoJudge
from mmdiff.core.types import Masked
from mmdiff.evaluation.embedders.embedder import Embedder
from mmdiff.evaluation.embedders.fitting import fit
from mmdiff.evaluation.report.findings import sensitivity
from mmdiff.evaluation.scorer import Scorer
from mmdiff.metrics.bootstrap import Interval
from tests.points.made import chain

LABELS = ["low", "high"]


def tones(n, seed):
    """Decaying tones of two classes of pitch, with their labels."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % 2
    hz = (200 + 300 * true) * 2 ** (0.1 * torch.randn(n, generator=generator))
    t = torch.arange(4000) / 8000
    waves = sum(torch.sin(2 * torch.pi * k * hz[:, None] * t) / k for k in (1, 2, 3)) * torch.exp(-3 * t)
    waves = waves + 0.01 * torch.randn(waves.shape, generator=generator)
    return 0.8 * (waves / waves.abs().amax(1, keepdim=True))[:, None], [{"kind": LABELS[c]} for c in true]


def blobs(n, seed):
    """Clips of a disc that moves evenly; the class is its direction."""
    generator = torch.Generator().manual_seed(seed)
    true, y = torch.arange(n) % 2, 8 + 16 * torch.rand(n, generator=generator)
    x = torch.where(true == 0, 6, 26)[:, None] + torch.where(true == 0, 2.5, -2.5)[:, None] * torch.arange(8)
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    near = ((rows - y[:, None, None, None]) ** 2 + (columns - x[:, :, None, None]) ** 2) < 16
    return (2.0 * near - 1)[:, None], [{"kind": LABELS[c]} for c in true]


def solids(n, seed):
    """Balls and rods."""
    generator = torch.Generator().manual_seed(seed)
    true = torch.arange(n) % 2
    x = torch.nn.functional.normalize(torch.randn(n, 3, 128, generator=generator), dim=1)
    x[true == 1] *= torch.tensor([0.3, 1.0, 0.3])[:, None]
    return x + 0.01 * torch.randn(x.shape, generator=generator), [{"kind": LABELS[c]} for c in true]


def chains(n, seed):
    """Molecules that end in an oxygen or a nitrogen."""
    rng, true = np.random.default_rng(seed), torch.arange(n) % 2
    samples = []
    for i in range(n):
        inner = "".join(rng.choice(list("CNO"), 2 + i % 4))
        elements, places = chain("C" + inner + "ON"[i % 2], rng)
        kinds = np.eye(len(ELEMENTS))[[ELEMENTS.index(e) for e in elements]]
        samples.append(torch.from_numpy(np.concatenate([places.T, kinds.T]).astype(np.float32)))
    return MoleculeJudge().stacked(samples, MoleculeCodec(elements=ELEMENTS), {}), [{"kind": LABELS[c]} for c in true]


MAKERS = {"audio": tones, "video": blobs, "points": solids, "molecules": chains}
ELEMENTS = ["H", "C", "N", "O"]


@pytest.fixture(scope="module")
def benches():
    made = {}
    judges = {
        "audio": AudioJudge(), "video": VideoJudge(), "points": PointJudge(points=128), "molecules": MoleculeJudge(),
    }
    for kind, judge in judges.items():
        train, labels = MAKERS[kind](48, 1)
        codec = MelCodec("speech_8k_48") if kind != "molecules" else MoleculeCodec(elements=ELEMENTS)
        if kind != "molecules":
            codec.fit([Masked(tones(8, 0)[0])])
        settings = {"video": {"channels": 1}, "points": {}}.get(kind) or judge.settings(codec)
        true = {"kind": torch.tensor([LABELS.index(row["kind"]) for row in labels])}
        embedder = fit(train, true, judge=judge, fields={"kind": LABELS}, settings=settings, steps=40, batch=24)
        scorer = Scorer(judge, embedder, codec, train, known=judge.known(judge.parted(train), codec), draws=10)
        real, told = MAKERS[kind](40, 2)
        floor = scorer.measure(real, told, truth=real)
        made[kind] = scorer, real, told, floor
    return made


@pytest.fixture(scope="module", params=list(MAKERS))
def table(request, benches):
    scorer, real, told, floor = benches[request.param]
    faults = scorer.judge.faults(real, torch.Generator().manual_seed(0))
    rows = {"real": scorer.row(floor)} | {
        name: scorer.row(scorer.measure(x, told, truth=real)) for name, x in faults.items()
    }
    return request.param, rows, sensitivity(rows, "real"), real, faults


SEES = {
    "audio": [
        ("kind right", "labels shuffled"), ("FD-own", "white noise"), ("KD-own", "white noise"),
        ("silence", "hole, a quarter"), ("clipping", "clipped, 5 times"), ("spectrum, dB", "lowpass, a quarter"),
        ("W1 pitch, semitones", "an octave up"), ("log-spectral distance, dB", "noise, 20 dB below"),
        ("diversity", "one sound for all"), ("recall", "one sound for all"), ("voiced", "white noise"),
        ("level, dB", "white noise"),
    ],
    "video": [
        ("kind right", "labels shuffled"), ("speed, sides a frame", "frozen first frame"),
        ("acceleration", "shuffled frames"), ("sharpness", "blurred 3 x 3"), ("drift", "fading to grey"),
        ("PSNR, dB", "noise, std 0.2"), ("SSIM", "noise, std 0.2"), ("diversity", "one clip for all"),
    ],
    "points": [
        ("kind right", "labels shuffled"), ("MMD-CD", "Gaussian blobs"), ("variation", "noise of 0.05"),
        ("spacing", "a quarter of the points, repeated"), ("COV-SWD", "one cloud for all"),
        ("FD-own", "one cloud for all"), ("diversity", "one cloud for all"),
    ],
    "molecules": [
        ("kind right", "labels shuffled"), ("atoms stable", "noise of 0.1 Angstrom"), ("atoms stable", "an atom lost"),
        ("molecules stable", "stretched by a tenth"), ("molecules stable", "an atom lost"),
        ("valid", "elements shuffled"), ("valid, unique", "one molecule for all"),
        ("valid, unique, new", "one molecule for all"),
        ("JSD valences", "an atom lost"), ("JSD distances", "stretched by a tenth"), ("fragments", "scattered atoms"),
        ("FD-own", "elements shuffled"), ("diversity", "one molecule for all"),
    ],
}
BLIND = {
    "audio": [
        ("FD-own", "labels shuffled"), ("clipping", "hole, a quarter"), ("spectrum, dB", "backwards"),
        ("level, dB", "backwards"),
    ],
    "video": [
        ("sharpness", "shuffled frames"), ("FD-own", "labels shuffled"), ("speed, sides a frame", "labels shuffled"),
    ],
    "points": [("FD-own", "labels shuffled"), ("variation", "labels shuffled"), ("MMD-CD", "labels shuffled")],
    "molecules": [("atoms stable", "one molecule for all"), ("FD-own", "labels shuffled")],
}


def test_metrics_see_the_faults_that_they_are_for_and_no_others(table):
    kind, _, seen, _, _ = table
    assert not [pair for pair in SEES[kind] if not seen[pair[0]][pair[1]]]
    assert not [pair for pair in BLIND[kind] if seen[pair[0]][pair[1]]]


def test_every_fault_changes_samples_keeps_their_shape_and_is_seen_by_something(table):
    _, _, seen, real, faults = table
    for name, x in faults.items():
        assert x.shape == real.shape and x.isfinite().all() and not torch.equal(x, real)
        assert any(told.get(name) for told in seen.values()), f"nothing sees {name}"


def test_values_lie_in_their_intervals_and_the_floor_is_the_scale_of_nearest(table):
    _, rows, _, _, _ = table
    for row in rows.values():
        assert all(v.low <= v.value <= v.high for v in row.values() if isinstance(v, Interval))
    assert rows["real"]["nearest"].value == pytest.approx(1)
    assert rows["real"]["n"] == 40


def test_copies_of_the_training_set_are_found(benches):
    for kind, (scorer, _, told, _) in benches.items():
        row = scorer.row(scorer.measure(scorer.samples[:40], told))
        assert row["nearest"].value < 1e-3 and row["copies"].value == 1, kind
        if kind == "molecules":
            assert row["valid, unique"].value > 0.5 and row["valid, unique, new"].value == 0


def test_a_row_of_some_samples_is_the_row_of_those_alone(benches):
    scorer, real, told, floor = benches["points"]
    rows = torch.arange(0, 40, 2)
    some, alone = scorer.row(floor, rows), scorer.row(scorer.measure(real[rows], [told[i] for i in rows]))
    for metric in ("kind right", "FD-own", "KD-own", "nearest", "spacing", "kind score"):
        assert some[metric].value == pytest.approx(alone[metric].value, rel=1e-5, abs=1e-9), metric
    few = scorer.row(floor, rows[:5])
    assert few["n"] == 5 and "FD-own" not in few and "nearest" in few, "five samples make no distance of sets"


def test_an_embedder_without_classes_claims_none():
    scorer = Scorer(PointJudge(points=64), Embedder(PointJudge(), {}).eval(), None, solids(16, 0)[0], draws=4)
    row = scorer.row(scorer.measure(solids(16, 1)[0], [{}] * 16))
    assert "FD-own" in row and not any(name.endswith(("right", "score")) for name in row)


def test_an_embedder_of_other_classes_is_refused_by_name():
    x, _ = solids(16, 0)
    scorer = Scorer(PointJudge(points=64), Embedder(PointJudge(), {"kind": ["a", "b"]}).eval(), None, x, draws=4)
    with pytest.raises(ValueError, match="learned no kind 'low'"):
        scorer.measure(x, [{"kind": "low"}] * 16)


@pytest.mark.parametrize(("sizes", "text"), [
    ((9, 9), "16 at least, and these have 9:"), ((20, 24, 90), "have 20 to 64"),
])
def test_clouds_of_few_points_or_of_their_own_sizes_are_refused_before_anything_is_learned(sizes, text):
    with pytest.raises(ValueError, match=text):
        PointJudge(points=64).stacked([torch.randn(3, n) for n in sizes], None, {})
    assert PointJudge(points=64).stacked([torch.randn(4, n) for n in (64, 90)], None, {}).shape == (2, 3, 64)


def test_classes_are_the_same_names_in_either_unicode_form():
    x, _ = solids(16, 0)
    scorer = Scorer(PointJudge(points=64), Embedder(PointJudge(), {"kind": ["Tr\u00e4ger"]}).eval(), None, x, draws=4)
    assert scorer.measure(x, [{"kind": "Tra\u0308ger"}] * 16).fractions["kind right"].all()
