"""Shapes made by code that several tests of files and readers share."""

import numpy as np
import trimesh

CUBE = trimesh.creation.box((2.0, 2.0, 2.0))


def cloud(n=500, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 3))


def ball(n):
    x = cloud(n)
    return x / np.linalg.norm(x, axis=1, keepdims=True)
