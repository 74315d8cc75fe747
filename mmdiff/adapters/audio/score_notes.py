"""What generated notes are worth, as their truth is known: were the right instrument and the right pitch played?

    python -m mmdiff.adapters.audio.score_notes SAMPLES [--out report.json]

    pitch        1200 log2(heard / asked) cents; the median and the share within 50 (half a semitone)
    instrument   by Gaussians with one covariance:  argmax_c  m_c^T S^-1 x - m_c^T S^-1 m_c / 2        (Fisher 1936)

x is the envelope (level in 20 parts of the note) and the colour (level in 24 bands against their mean), in dB. The
Gaussians are fitted in a second to notes made by code, of another seed than those of training; further ones, which
took no part in the fit, make the row that generated notes are compared with.
"""

import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...metrics.bootstrap import bootstrap, median
from ...metrics.classify import proportion
from ...metrics.folder import generated, measure
from ...metrics.rows import Row
from .decode import decode
from .io import AudioReader
from .measure import cents, clipped, pitch
from .notes import Notes, frequency

PARTS, BANDS = 20, 24
RANGE = 60.0
"""dB below the loudest part or band at which sound counts as silence."""
FITTED, HELD_OUT = range(300), range(300, 330)
SEED = 1


class Note(NamedTuple):
    """A mono sample ``(1, L)`` with what was asked for; ``pitch`` is a MIDI number."""

    sample: Tensor
    instrument: str
    pitch: float


def timbre(sample: Tensor, sample_rate: int) -> Tensor:
    """Envelope and colour ``(PARTS + BANDS,)`` of a note ``(1, L)``, in units of 10 dB, of any level."""
    x = sample[0].double()
    energy = torch.stack([part.square().mean() for part in x.tensor_split(PARTS)])
    power = torch.fft.rfft(x).abs().square()
    edges = torch.logspace(2, torch.log10(torch.tensor(sample_rate / 2)).item(), BANDS + 1)    # from 100 Hz
    bins = (edges * len(x) / sample_rate).long().clamp(max=len(power))
    colour = torch.stack([power[a : max(a + 1, b)].sum() for a, b in pairwise(bins.tolist())])
    level = [v.clamp(min=1e-20).log10() for v in (energy, colour)]
    level = [(v - v.max()).clamp(min=-RANGE / 10) for v in level]
    return torch.cat([level[0], level[1] - level[1].mean()])


class InstrumentClassifier:
    """Linear discriminant analysis of ``timbre``; ``ridge`` is added to the covariance, whose unit is (10 dB)^2."""

    def __init__(self, notes: Sequence[Note], sample_rate: int, *, ridge: float = 0.1):
        self.sample_rate, self.classes = sample_rate, sorted({note.instrument for note in notes})
        x = torch.stack([timbre(note.sample, sample_rate) for note in notes])
        true = torch.tensor([self.classes.index(note.instrument) for note in notes])
        means = torch.stack([x[true == c].mean(0) for c in range(len(self.classes))])
        within = (x - means[true]).T @ (x - means[true]) / len(x) + ridge * torch.eye(x.shape[1], dtype=x.dtype)
        self.weight = torch.linalg.solve(within, means.T)             # (PARTS + BANDS, classes)
        self.bias = -0.5 * (means.T * self.weight).sum(0)

    def __call__(self, samples: Sequence[Tensor]) -> list[str]:
        """The instrument heard in each sample ``(1, L)``."""
        x = torch.stack([timbre(sample, self.sample_rate) for sample in samples])
        return [self.classes[i] for i in (x @ self.weight + self.bias).argmax(1).tolist()]


class Heard(NamedTuple):
    """What was heard in ``(N,)`` notes, against what was asked for."""

    right: Tensor
    """Whether the instrument is the right one."""
    error: Tensor
    """Distance in pitch, in cents; NaN where none is heard."""
    clipped: Tensor
    """Share of samples at full scale."""

    def of(self, rows: Tensor) -> "Heard":
        """Of those notes alone."""
        return Heard(*(getattr(self, name)[rows] for name in self._fields))


def listen(notes: Sequence[Note], classifier: InstrumentClassifier) -> Heard:
    """Measure each note."""
    instruments = classifier([note.sample for note in notes])
    right = [a == note.instrument for a, note in zip(instruments, notes, strict=True)]
    error = [abs(cents(pitch(note.sample, classifier.sample_rate), frequency(note.pitch))) for note in notes]
    return Heard(torch.tensor(right), torch.tensor(error), torch.tensor([clipped(note.sample) for note in notes]))


def summary(heard: Heard) -> Row:
    """One row of the report."""
    pitched = heard.error[heard.error.isfinite()]
    return {
        "n": len(heard.right),
        "instrument": proportion(heard.right),
        "median cents": bootstrap(pitched, median) if len(pitched) > 1 else "none",
        "within 50 cents": proportion(heard.error < 50),
        "no pitch": len(heard.error) - len(pitched),
        "clipped": heard.clipped.mean().item(),
    }


def synthesised(indices: Sequence[int], *, sample_rate: int, seconds: float) -> list[Note]:
    """Notes made by code, of which the truth is known."""
    data = Notes(AudioReader(sample_rate, seconds=seconds), n=max(indices) + 1, seed=SEED)
    return [_note(*data.read(i)) for i in indices]


def from_folder(folder: Path) -> tuple[list[Note], int]:
    """Generated notes and their sample rate in Hz; ``ValueError`` where rates differ."""
    files = generated(folder, suffix=".wav", fields=("instrument", "pitch"))
    clips = [decode(file.path) for file in files]
    if len(rates := {clip.sample_rate for clip in clips}) > 1:
        raise ValueError(f"{folder} holds files of {sorted(rates)} Hz: score those of one model at a time")
    notes = [_note(torch.from_numpy(c.samples), file.labels) for c, file in zip(clips, files, strict=True)]
    return notes, clips[0].sample_rate


def _note(sample: Tensor, labels: dict) -> Note:
    return Note(sample, str(labels["instrument"]), float(labels["pitch"]))


def report(folder: Path) -> dict[str, Row]:
    """Rows by name: notes made by code, the generated ones, and the generated ones of each instrument."""
    notes, rate = from_folder(folder)
    seconds = max(note.sample.shape[-1] for note in notes) / rate
    classifier = InstrumentClassifier(synthesised(FITTED, sample_rate=rate, seconds=seconds), rate)
    rows = {"real": summary(listen(synthesised(HELD_OUT, sample_rate=rate, seconds=seconds), classifier))}
    heard = listen(notes, classifier)
    rows["generated"] = summary(heard)
    for instrument in sorted({note.instrument for note in notes}):
        members = torch.tensor([note.instrument == instrument for note in notes])
        rows[f"generated, {instrument}"] = summary(heard.of(members))
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: print the table of a folder of generated notes."""
    return measure(report, arguments, name="audio.score_notes", about=__doc__, files="WAV")


if __name__ == "__main__":
    sys.exit(main())
