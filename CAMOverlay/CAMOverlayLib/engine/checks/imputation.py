"""What fills a hole: the linear imputation of ROAD (Rong et al. 2022, https://arxiv.org/abs/2202.00449), in one, two
and three dimensions.

Every removed place is the weighted mean of all its neighbours, which makes one sparse system of equations. ROAD has it
in two dimensions, where a neighbour across a side weighs 1/6 and one across a corner 1/12: weights that fall with the
square of the distance, as they do here in any number of dimensions. The system is symmetric and positive definite, so
SciPy's conjugate gradients solve it; SuperLU needs a second where most of 16 × 16 × 16 places are removed, they
a tenth of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import scipy  # its parts load when they are used
from numpy.typing import NDArray

from .similarity import Array

EXACT = 1e-9
"""Of the solution, relative to the right-hand side."""

Mask = NDArray[np.bool_]


def impute(values: Array, hole: Mask) -> Array:
    """An array (C×spatial) whose hole (spatial) is filled from around; the rest stays as it is.

    Returns:
        a copy; the mean of everything where nothing is left.
    """
    filled = values.copy()
    if hole.all():
        filled[:] = values.mean(tuple(range(1, values.ndim)), keepdims=True)
    elif hole.any():
        matrix, right = _equations(values, hole)
        start = values[:, ~hole].mean(1)
        for channel, (one, first) in enumerate(zip(right.T, start)):
            filled[channel, hole] = scipy.sparse.linalg.cg(matrix, one, np.full(len(one), first), rtol=EXACT)[0]
    return filled


def _equations(values: Array, hole: Mask) -> tuple[scipy.sparse.csr_matrix, Array]:
    """Left-hand side (N×N) and right-hand side (N×C) of N removed places, in the order of their flat indices."""
    count = int(hole.sum())
    number = np.zeros(hole.shape, int)
    number[hole] = np.arange(count)
    places = np.argwhere(hole)
    own, right = np.zeros(count), np.zeros((count, len(values)))
    rows, columns, weights = [], [], []
    for offset, weight in _neighbours(hole.ndim):
        beside = places + offset
        there = np.flatnonzero(((beside >= 0) & (beside < hole.shape)).all(1))
        at = tuple(beside[there].T)
        own[there] += weight
        removed = hole[at]
        right[there[~removed]] += weight * values[(slice(None), *at)].T[~removed]
        rows.append(there[removed])
        columns.append(number[at][removed])
        weights.append(np.full(int(removed.sum()), -weight))
    diagonal = np.arange(count)
    entries = np.concatenate([*weights, own])
    where = (np.concatenate([*rows, diagonal]), np.concatenate([*columns, diagonal]))
    return scipy.sparse.coo_matrix((entries, where), (count, count)).tocsr(), right


def _neighbours(dimensions: int) -> Iterator[tuple[tuple[int, ...], float]]:
    """Offsets, and weights that add up to 1 and fall with the square of the distance."""
    offsets = [one for one in product((-1, 0, 1), repeat=dimensions) if any(one)]
    inverse = [1 / sum(step * step for step in one) for one in offsets]
    return ((one, weight / sum(inverse)) for one, weight in zip(offsets, inverse))
