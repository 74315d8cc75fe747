"""Molecules: whether they hold together, are alike, are new, and have the bonds that real ones have.

    atoms stable           share of a molecule's atoms that have as many bonds as their element can have   (``bonds``)
    molecules stable       all atoms are stable
    valid                  no atom has more bonds than its element can have, and all hang together
    valid, unique          ... and no earlier molecule of the set has the same graph
    valid, unique, new     ... and no training molecule has, of all there are
    JSD valences           elements with their numbers of bonds, of one set against those of the other, in bits
    JSD distances          pairs of elements with their distances up to 4.2 Angstrom

Two molecules are the same where ``Graphs.keys`` are equal.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ...data.batch import pad
from ...metrics.sets import jensen_shannon
from ..judge import Between, Body, Judge
from .bonds import Bonds
from .graphs import Graphs
from .molecule_body import MoleculeBody, environments, pair_distances

BLOCK = 256
"""Training molecules that are looked at together."""


class MoleculeJudge(Judge):
    """Molecules ``(N, 3 + K, P)`` of up to P atoms; the one-hot channels are all 0 at padding."""

    name, suffix, native_sizes = "molecules", ".xyz", True
    better: Mapping[str, int] = {
        "atoms stable": 1, "molecules stable": 1, "valid": 1, "valid, unique": 1, "valid, unique, new": 1,
        "JSD valences": -1, "JSD distances": -1,
    }

    def body(self, **settings: int) -> Body:
        return MoleculeBody(**settings)

    def settings(self, codec: Any) -> dict[str, int]:
        return {"elements": len(codec.elements)}

    def stacked(self, samples: Sequence[Tensor], codec: Any, size: Mapping[str, float]) -> Tensor:
        """Padded with zeros to the most atoms that one has. Raises ``ValueError`` for elements of unknown bonds."""
        Bonds(codec.elements)
        return pad(list(samples)).x

    def parted(self, x: Tensor) -> list[Tensor]:
        return [molecule[:, molecule[3:].any(0)] for molecule in x]

    def known(self, training: Iterable[Tensor], codec: Any) -> set[int]:
        """The keys of all training molecules."""
        bonds, rest, found = Bonds(codec.elements), iter(training), set()
        while part := list(islice(rest, BLOCK)):
            found.update(bonds.graphs(pad(part).x).keys().tolist())
        return found

    def latents(self, x: Tensor, codec: Any) -> Tensor:
        """Histograms of distances between elements: blind to place, turning and the order of atoms."""
        return torch.cat([pair_distances(part) for part in x.split(BLOCK)])

    def fractions(self, x: Tensor, codec: Any, known: set[int] | None) -> dict[str, Tensor]:
        bonds = Bonds(codec.elements)
        graphs = bonds.graphs(x)
        valid = ~bonds.over(graphs).any(1) & (graphs.fragments() == 1)
        keys = graphs.keys().tolist()
        unique = valid & torch.tensor(_firsts(keys, valid.tolist()))
        found = {
            "molecules stable": (bonds.stable(graphs) | ~graphs.real).all(1), "valid": valid, "valid, unique": unique,
        }
        if known is not None:
            found["valid, unique, new"] = unique & torch.tensor([key not in known for key in keys])
        return found

    def values(self, x: Tensor, codec: Any) -> dict[str, Tensor]:
        bonds = Bonds(codec.elements)
        graphs = bonds.graphs(x)
        real, positions = graphs.real, x[:, :3]
        atoms = real.sum(1)
        center = (positions * real[:, None]).sum(2, keepdim=True) / atoms[:, None, None]
        away = ((positions - center).square().sum(1) * real).sum(1) / atoms
        return {
            "atoms stable": bonds.stable(graphs).sum(1) / atoms, "radius, Angstrom": away.sqrt(),
            "rings": graphs.rings(), "fragments": graphs.fragments(),
        }

    def between(self, x: Tensor, codec: Any) -> dict[str, tuple[Tensor, Between]]:
        graphs = Bonds(codec.elements).graphs(x)
        distances = torch.einsum("bikr,bil->blkr", environments(x), x[:, 3:].mT).flatten(1)
        return {"JSD valences": (_valences(graphs, x), _divergence), "JSD distances": (distances, _divergence)}

    def faults(self, x: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        n, _, atoms = x.shape
        positions, kinds = x[:, :3], x[:, 3:]
        real = kinds.any(1, keepdim=True)
        noise = torch.randn(positions.shape, generator=generator) * real
        order = torch.where(real[:, 0], torch.rand(n, atoms, generator=generator), 2 + torch.arange(atoms)).argsort(1)
        lost = torch.where(real[:, 0], torch.rand(n, atoms, generator=generator), 2).argmin(1)
        kept = real & (torch.arange(atoms) != lost[:, None])[:, None]
        wrong = {
            "noise of 0.1 Angstrom": (positions + 0.1 * noise, kinds),
            "stretched by a tenth": (1.1 * positions, kinds),
            "elements shuffled": (positions, kinds.gather(2, order[:, None].expand_as(kinds))),
            "an atom lost": (positions * kept, kinds * kept),
            "scattered atoms": (positions[real.expand_as(positions)].std() * noise, kinds),
        }
        return {name: torch.cat(parts, 1) for name, parts in wrong.items()} | {
            "one molecule for all": x[:1].expand_as(x).clone(), "labels shuffled": x.roll(max(1, n // 3), 0),
        }


def _firsts(keys: Sequence[int], counts: Sequence[bool]) -> list[bool]:
    """Which keys occur for the first time, of those that count."""
    seen: set[int] = set()
    firsts = []
    for key, counted in zip(keys, counts, strict=True):
        firsts.append(counted and key not in seen)
        if counted:
            seen.add(key)
    return firsts


def _valences(graphs: Graphs, x: Tensor, most: int = 8) -> Tensor:
    """``(N, K x most)``: how many atoms of each element have 0, 1, ... bonds."""
    bonds = torch.nn.functional.one_hot(graphs.bonds.clamp(max=most - 1), most).to(x)         # (N, P, most)
    return torch.einsum("bip,bki->bkp", bonds, x[:, 3:]).flatten(1)


def _divergence(a: Tensor, b: Tensor) -> float:
    return jensen_shannon(a.sum(0).numpy(), b.sum(0).numpy())
