"""Where things are, and configurations that several test files build on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
RESOURCES = REPOSITORY / "CAMOverlay" / "Resources"

# The usual chain, as an inference.json would have it.
USUAL_CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd", "keys": "image"},
    {"_target_": "Resized", "keys": "image", "spatial_size": [48, 48, 48]},
    {"_target_": "EnsureTyped", "keys": "image"},
]

SMALL_NETWORK = {
    "_target_": "DenseNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [2, 2],
}

# A small network that segments.
UNET = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 0,
}


def SLOW(value: Any) -> Any:
    """A case that ``make test`` leaves to ``make test-bundles``, since others of its kind are in it."""
    return pytest.param(value, marks=pytest.mark.slow)


def FEW(values: Iterable[Any], *kept: Any) -> list[Any]:
    """All of them, of which ``make test`` runs those that are ``kept`` and ``make test-bundles`` the others."""
    return [value if value in kept else SLOW(value) for value in values]


def real_volumes() -> list[Path]:
    return sorted((SHARED / "data").glob("*.nii.gz"))


ONE_REAL_VOLUME = pytest.mark.parametrize(
    "real_volume",
    FEW(real_volumes(), *real_volumes()[:1]) or [None],
    indirect=True,
    ids=lambda path: path.name.split(".")[0] if path else "none",
)
"""Each of the real volumes, of which ``make test`` takes one."""


def read_bundle(folder: str | Path, **trust: Any) -> Any:
    """A bundle that was read: ``trust=True``, ``trusted_hash=``, ``configs=`` as of ``ModelSource``."""
    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.engine.bundle.bundle import Bundle

    return Bundle(ModelSource(str(folder), **trust))


def request(volumes: Any, folder: str | Path, output: str | Path, trust: bool = True, **options: Any) -> Any:
    """A request with its model's folder, trust and configurations among the options.

    Whether the map can be believed is asked by the tests that are about that: elsewhere it would cost as much again.
    """
    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.contract.request import Request

    source = {name: options.pop(name) for name in ("trusted_hash", "configs") if name in options}
    return Request(
        tuple(volumes), ModelSource(str(folder), trust, **source), str(output), **({"checks": "none"} | options)
    )


def examples(count: int) -> int:
    """How many random cases a property is tried on: half of so many in `make test`, which is to take minutes, CAMPAIGN
    times as many in `make campaign`."""
    campaign = os.environ.get("CAMPAIGN")
    return count * int(campaign) if campaign else (count + 1) // 2


def snapshot(network):
    """Everything of a network that an explanation might disturb: weights, flags and gradients, modes and hooks."""
    return (
        {k: v.clone() for k, v in network.state_dict().items()},
        [(n, p.requires_grad, p.grad) for n, p in network.named_parameters()],
        [
            (
                n,
                m.training,
                len(m._forward_hooks),
                len(m._forward_pre_hooks),
                len(m._backward_hooks),
                getattr(m, "inplace", None),
            )
            for n, m in network.named_modules()
        ],
    )


_hosted: list[str] = []


@contextlib.contextmanager
def hosted(name: str) -> Iterator[Any]:
    """SlicerHost for the tests of this name. There is one Slicer in a process: they are skipped where others had it."""
    if _hosted and _hosted[0] != name:
        pytest.skip(f"SlicerHost has run for {_hosted[0]} in this process; `make test` gives each a process of its own")
    _hosted.append(name)
    from SlicerHost import start, system_libraries

    if not system_libraries.ensure():
        pytest.fail("Qt's system libraries are missing; see the line above.")
    host = start()
    yield host
    host.stop()
