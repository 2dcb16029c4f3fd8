"""The map at random: what share of the heat a structure would hold if the map lay somewhere else in the body."""

from __future__ import annotations

import numpy as np
import scipy  # its parts load when they are used

from ..contract.geometry import Grid
from .structures import Structure

TIMES = 200
POINTS = 1000
"""Voxels that stand for the map, drawn in proportion to their heat."""


class RandomPlacements:
    """A map turned about the centre of its heat by random rotations, each with that centre at a random voxel of the
    body. The same for every structure.

    Args:
        heat: I×J×K, not 0 everywhere.
        seen: bool I×J×K; heat that a placement moves out of it is left out, as the network could give none there.
        body: bool I×J×K; None is what was seen.
        seed: of the random numbers; the same seed is the same placements.

    Attributes:
        voxels: the map's own points, POINTS×3 (I, J, K).
        moved: the same in every placement, TIMES×POINTS×3.
        kept: bool, TIMES×POINTS: which of these lie in what was seen.
    """

    def __init__(
        self, heat: np.ndarray, grid: Grid, seen: np.ndarray | None, body: np.ndarray | None, seed: int
    ) -> None:
        random = np.random.default_rng(seed)
        self.voxels = _drawn(heat, seen, (np.arange(POINTS) + random.random()) / POINTS)
        points = self.voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        within = next((one for one in (body, seen) if one is not None and one.any()), np.broadcast_to(True, grid.shape))
        places = _drawn(within, None, np.sort(random.random(TIMES)))
        centres = places @ grid.affine[:3, :3].T + grid.affine[:3, 3]
        turned = np.einsum("tab,nb->tna", _turns(grid, random), points - points.mean(0)) + centres[:, None]
        to_voxel = np.linalg.inv(grid.affine)
        self.moved = np.rint(turned @ to_voxel[:3, :3].T + to_voxel[:3, 3]).astype(np.int64)
        self.kept = ((self.moved >= 0) & (self.moved < grid.shape)).all(-1)
        if seen is not None:
            self.kept[self.kept] = seen[tuple(self.moved[self.kept].T)]

    def p_value(self, structure: Structure) -> float:
        """(1 + placements that put at least as large a share of the heat into the structure) ÷ (1 + placements)."""
        share = float(structure.at(self.voxels).mean())
        inside = (structure.at(self.moved) & self.kept).sum(1) / np.maximum(self.kept.sum(1), 1)
        return (1 + int(np.count_nonzero(inside >= share))) / (1 + TIMES)


def _turns(grid: Grid, random: np.random.Generator) -> np.ndarray:
    """TIMES×3×3 rotations, all equally likely; of a single slice only those within its plane."""
    flat = [axis for axis in range(3) if grid.shape[axis] == 1]
    if not flat:
        return scipy.spatial.transform.Rotation.from_quat(random.normal(size=(TIMES, 4))).as_matrix()
    one, other = (grid.directions[:, axis] for axis in range(3) if axis != flat[0])
    normal = np.cross(one, other)
    angles = random.uniform(0, 2 * np.pi, TIMES)
    return scipy.spatial.transform.Rotation.from_rotvec(angles[:, None] * normal / np.linalg.norm(normal)).as_matrix()


def _drawn(weights: np.ndarray, mask: np.ndarray | None, at: np.ndarray) -> np.ndarray:
    """Voxels (N×3, I, J, K) in proportion to their weight: those that hold the given shares of the running sum.

    Args:
        weights: I×J×K, ≥ 0.
        mask: bool; outside of it a weight does not count.
        at: N shares, ascending, 0 ≤ share < 1.
    """
    planes = weights.T
    masked = (lambda k: planes[k]) if mask is None else lambda k: planes[k] * mask.T[k]
    held = np.cumsum([masked(k).sum(dtype=np.float64) for k in range(len(planes))])
    wanted = at * held[-1]
    in_plane = np.minimum(np.searchsorted(held, wanted, side="right"), np.flatnonzero(np.diff(held, prepend=0))[-1])
    found = np.empty((len(at), 3), np.int64)
    for k in np.unique(in_plane):
        chosen = in_plane == k
        running = np.cumsum(masked(k), dtype=np.float64)
        rest = np.clip(wanted[chosen] - (held[k - 1] if k else 0), 0, np.nextafter(running[-1], 0))
        j, i = np.unravel_index(np.searchsorted(running, rest, side="right"), planes.shape[1:])
        found[chosen] = np.stack([i, j, np.full_like(i, k)], -1)
    return found
