"""Scores that are exactly normal for whatever was not looked for.

    z = <r, e> / |e|,        r ~ N(0, I) of a key,   e = evidence, made of the file alone
    u_k = the same over the k-th of K groups,    Q = sum_k u_k^2 ~ chi^2(K),     z = the normal quantile of Q

Of a seed or secret that a file was not made with, r is independent of e: z is N(0, 1) whatever the file is, made by a
model or not, and nothing needs to be calibrated. So e may be any function of the file, and its outliers are limited.
A message flips the signs of the groups; whoever does not know it takes Q and reads the bits from the signs of u_k.
Positions of the first axis may be missing or shifted: all places where one lies within the other are compared, and
the false-positive rate is multiplied by all comparisons that were made (Bonferroni).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from scipy.special import log_ndtr
from torch import Tensor

from .base import Candidate, Found

LIMIT = 2.0
"""Evidence beyond so many standard deviations is limited: what decoding did to a few places outweighs no others."""
CHUNK = 2**23
"""Numbers of references that are held at once."""


class Overlap(NamedTuple):
    """``length`` positions of the evidence from ``start`` on are compared with a reference from ``other`` on."""

    start: int
    other: int
    length: int


def overlaps(length: int, other: int, shifts: int) -> Iterator[Overlap]:
    """Every place of one length in the other, and ``shifts`` beyond both ends."""
    low, high = min(0, other - length) - shifts, max(0, other - length) + shifts
    for shift in range(low, high + 1):
        start, stop = max(0, -shift), min(length, other - shift)
        if stop > start:
            yield Overlap(start, start + shift, stop - start)


def groups(shape: Sequence[int], count: int) -> Tensor:
    """The number of the group of every place of ``(C, T, *rest)``, in turn along T, C, rest: the same for any T."""
    channels, length, *rest = shape
    index = torch.arange(channels * length * math.prod(rest)) % count
    return index.reshape(length, channels, *rest).movedim(0, 1)


def correlated(references: Tensor, evidence: Tensor, *, bits: int = 0, start: int = 0) -> Tensor:
    """``u`` ``(K, max(bits, 1))`` of references ``(K, C, T, *rest)`` and evidence ``(C, T, *rest)``, each N(0, 1);
    ``start`` is the position of the first within the whole that groups are counted in."""
    count = max(bits, 1)
    channels, length, *rest = evidence.shape
    group = groups((channels, start + length, *rest), count)[:, start:].reshape(-1)
    e = evidence.detach().cpu().double().reshape(-1)
    r = references.detach().cpu().double().reshape(len(references), -1)
    size = torch.zeros(count, dtype=e.dtype).index_add_(0, group, e.square()).sqrt()
    sums = torch.zeros(len(r), count, dtype=e.dtype).index_add_(1, group, r * e)
    return torch.where(size > 0, sums / size.clamp(min=1e-300), 0)


def log_tail(u: Tensor) -> Tensor:
    """The logarithm of the chance ``(K,)`` that ``u`` ``(K, 1)`` is as large, or ``(K, even)`` as far from 0."""
    if u.shape[1] == 1:
        return torch.from_numpy(log_ndtr(-u[:, 0].numpy()))
    half = u.square().sum(1, keepdim=True) / 2                        # chi^2 of an even number has a closed tail
    i = torch.arange(u.shape[1] // 2, dtype=u.dtype)
    return torch.logsumexp(torch.xlogy(i, half) - torch.lgamma(i + 1), 1) - half[:, 0]


def limited(evidence: Tensor) -> Tensor:
    """``(B, C, *S)`` with what lies beyond ``LIMIT`` standard deviations of each brought there."""
    bound = LIMIT * evidence.square().flatten(1).mean(1).sqrt().reshape(-1, *(1,) * (evidence.ndim - 1))
    return torch.minimum(torch.maximum(evidence, -bound), bound)


def likeliest(
    evidence: Tensor, candidates: Sequence[Candidate], reference: Callable[[Sequence[Candidate]], Tensor], *,
    bits: int = 0, shifts: int = 0,
) -> tuple[Found, Candidate]:
    """The best of all candidates at all places; ``reference`` gives those of one shape, ``(K, C, *S)``."""
    tests, best = 0, (math.inf, candidates[0], Overlap(0, 0, 0), torch.zeros(1))
    for shape in dict.fromkeys(candidate.shape for candidate in candidates):
        if shape[1:] != evidence.shape[2:]:
            raise ValueError(f"a latent of {tuple(evidence.shape[1:])} cannot be compared with one of {shape}")
        same_shape = [candidate for candidate in candidates if candidate.shape == shape]
        all_overlaps = list(overlaps(evidence.shape[1], shape[0], shifts))
        tests += len(same_shape) * len(all_overlaps)
        count = max(1, CHUNK // (len(evidence) * math.prod(shape)))
        for first in range(0, len(same_shape), count):
            part = same_shape[first : first + count]
            r = reference(part)
            for overlap in all_overlaps:
                piece = evidence[:, overlap.start : overlap.start + overlap.length]
                u = correlated(r[:, :, overlap.other : overlap.other + overlap.length], piece, bits=bits,
                               start=overlap.other)
                tail = log_tail(u)
                k = int(tail.argmin())
                if float(tail[k]) < best[0]:
                    best = float(tail[k]), part[k], overlap, u[k]
    tail_of, candidate, overlap, u = best
    facts: dict[str, object] = {"shift": overlap.other - overlap.start}
    if bits:
        facts["message"] = written(u < 0)
    return Found(tail_of + math.log(tests), tests, facts), candidate


def written(bits: Tensor) -> str:
    """Truth values ``(4 n,)`` as n hexadecimal digits."""
    return f"{int(''.join(str(int(bit)) for bit in bits.tolist()), 2):0{len(bits) // 4}x}"


def signs(message: str, shape: Sequence[int]) -> Tensor:
    """``(C, *S)``: -1 in the groups whose bit of ``message``, hexadecimal digits, is 1, +1 elsewhere; all +1 without.
    """
    bits = torch.tensor([float(b) for b in f"{int(message, 16):0{4 * len(message)}b}"]) if message else torch.zeros(1)
    return 1 - 2 * bits[groups(shape, len(bits))]
