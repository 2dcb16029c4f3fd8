"""What lies where it should is computed once for the same voxels: many tests explain the same volume, and ask about
something else."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest


def fingerprint(claim, *options) -> bytes:
    digest = hashlib.blake2b(repr(options).encode())
    for tensor in (claim.image, claim.origin):
        digest.update(repr((tensor.dtype, tuple(tensor.shape))).encode())
        digest.update(np.ascontiguousarray(tensor.cpu().numpy()))
    for array in (claim.tracked, claim.spacing):
        digest.update(np.ascontiguousarray(array, float))
    return digest.digest()


@pytest.fixture(autouse=True, scope="session")
def examined_once():
    """The alignment of an image depends on nothing but its claim, and its outcome cannot be changed."""
    from CAMOverlayLib.engine.alignment import channels, examination, monitor

    known = {}

    def examine(claim, points, named=False):
        key = fingerprint(claim, points, named)
        if key not in known:
            known[key] = examination.examine(claim, points, named)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channels, "examine", examine)
        patch.setattr(monitor, "examine", examine)
        yield


@pytest.fixture
def sliding_bundle(make_bundle):
    """A network applied to windows of 16 voxels, four of them at once."""
    network = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8, 8],
        "strides": [2, 2],
        "norm": "batch",
    }
    chain = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
    ]
    inferer = {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "sw_batch_size": 4, "overlap": 0.25}
    return make_bundle(network=network, chain=chain, classes=("background", "a", "b"), config={"inferer": inferer})
