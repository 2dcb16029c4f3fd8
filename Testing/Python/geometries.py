"""Geometries to place volumes in, and blobs whose place in the patient is known exactly."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

FLIPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # LPS order of voxels, as most scanners store them


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """3×3 rotation by angles in degrees about the three axes."""
    cx, cy, cz = np.cos(np.radians([x, y, z]))
    sx, sy, sz = np.sin(np.radians([x, y, z]))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def geometry(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), angles=(0, 0, 0), flips=(1, 1, 1), order=(0, 1, 2)):
    """4×4 affine: voxel axes permuted by ``order``, mirrored, rotated, scaled to mm."""
    affine = np.eye(4)
    directions = rotation(*angles) @ np.diag(flips)
    affine[:3, :3] = directions[:, list(order)] * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


GEOMETRIES = {
    "axis-aligned": geometry((1.5, 1.5, 2.0), (-40, -50, -30)),
    "LPS": geometry((1.5, 1.5, 2.0), (40, 50, -30), flips=(-1, -1, 1)),
    "permuted": geometry((2.0, 1.0, 1.5), (10, 20, -70), order=(2, 0, 1)),
    "permuted and left-handed": geometry((2.0, 1.0, 1.5), (10, 20, 70), flips=(1, 1, -1), order=(1, 2, 0)),
    "anisotropic": geometry((0.7, 0.7, 5.0), (-20, -20, -60)),
    "oblique": geometry((1.2, 1.4, 2.0), (-30, 12, 45), angles=(12, -8, 25)),
    "oblique LPS": geometry((1.2, 1.4, 2.0), (30, 42, -45), angles=(-17, 9, 5), flips=(-1, -1, 1)),
}

angles = st.tuples(*[st.floats(-30, 30)] * 3)
affines = st.builds(
    geometry,
    spacing=st.tuples(*[st.floats(0.5, 3.0)] * 3),
    origin=st.tuples(*[st.floats(-150, 150)] * 3),
    angles=angles,
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    order=st.permutations([0, 1, 2]),
)


def world_grid(shape, affine) -> np.ndarray:
    """RAS mm of every voxel: I×J×K×3."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def blob(shape, affine, centre, sigma) -> np.ndarray:
    """Gaussian of 1 at ``centre`` (RAS mm) with ``sigma`` in mm, sampled on a grid; float32."""
    distance2 = ((world_grid(shape, affine) - np.asarray(centre)) ** 2).sum(-1)
    return np.exp(-distance2 / (2 * sigma**2)).astype(np.float32)
