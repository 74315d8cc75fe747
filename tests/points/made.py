"""Shapes made by code that several tests of files and readers share."""

import numpy as np
import trimesh

CUBE = trimesh.creation.box((2.0, 2.0, 2.0))


def cloud(n=500, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3))


def ball(n):
    x = cloud(n)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def chain(symbols: str, rng: np.random.Generator | None = None) -> tuple[list[str], np.ndarray]:
    """A molecule whose heavy atoms, C, N and O, are a zigzag of single bonds of 1.45 Angstrom, with its hydrogens.

    ``rng`` turns it, and moves every atom by 0.01 Angstrom.
    """
    elements, places = list(symbols), [(1.18 * i, 0.42 * (-1) ** i, 0.0) for i in range(len(symbols))]
    for i, (symbol, place) in enumerate(zip(symbols, list(places), strict=True)):
        side = (-1) ** i
        free = [(0, 0.56 * side, 0.79), (0, 0.56 * side, -0.79)]
        free = [(-0.9, -0.35 * side, 0)] * (i == 0) + [(0.9, -0.35 * side, 0)] * (i == len(symbols) - 1) + free
        bonds = (i > 0) + (i < len(symbols) - 1)
        for step in free[: {"C": 4, "N": 3, "O": 2}[symbol] - bonds]:
            elements.append("H")
            places.append(tuple(np.add(place, step)))
    x = np.array(places, float)
    if rng is not None:
        x = (x - x.mean(0)) @ np.linalg.qr(rng.standard_normal((3, 3)))[0] + 0.01 * rng.standard_normal(x.shape)
    return elements, x
