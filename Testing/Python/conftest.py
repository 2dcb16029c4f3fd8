"""What several test files share: real volumes where they are, and bundles made on the spot."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from support import SMALL_NETWORK, USUAL_CHAIN, real_volumes
from worker.zygote import Zygote

# `make test` draws the same cases every time, so a red test is red for everyone; `make campaign` draws others.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("campaign", deadline=None, database=None, print_blob=True)
settings.load_profile("campaign" if "CAMPAIGN" in os.environ else "repeatable")

HOSTED = {"slicerhost", "panel", "test_qt.py"}


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what is slow
def pytest_collection_modifyitems(items):
    """In a campaign only what draws random cases. What runs under SlicerHost comes last: from its start on the
    process is Slicer's, with another sys.executable. Of the cases of a test that is marked ``some(n)`` n are quick,
    evenly spread over all of them, and the others slow."""
    cases = {}
    for item in items:
        if item.get_closest_marker("some") and not item.get_closest_marker("slow"):
            cases.setdefault((item.path, item.originalname), []).append(item)
    for all_of_them in cases.values():
        (count,) = all_of_them[0].get_closest_marker("some").args
        kept = set(np.linspace(0, len(all_of_them) - 1, min(count, len(all_of_them))).round().astype(int))
        for number, item in enumerate(all_of_them):
            if number not in kept:
                item.add_marker(pytest.mark.slow)
    if "CAMPAIGN" in os.environ:
        items[:] = [item for item in items if getattr(item.obj, "is_hypothesis_test", False)]
    items.sort(key=lambda item: bool(HOSTED & set(item.path.parts)))  # stable: the order is otherwise kept


@pytest.fixture(params=real_volumes() or [None], ids=lambda p: p.name.split(".")[0] if p else "none")
def real_volume(request) -> Path:
    if request.param is None:
        pytest.skip("no ../shared/data here")
    return request.param


@pytest.fixture(scope="session")
def zygote(tmp_path_factory):
    zygote = Zygote(tmp_path_factory.mktemp("zygote"))
    yield zygote
    zygote.stop()


@pytest.fixture
def make_bundle(tmp_path):
    """A function that writes a bundle folder with random weights and returns its path."""

    def make(
        name="bundle",
        network=None,
        chain=None,
        classes=("healthy", "lesion", "artefact"),
        channels=1,
        weights="random",
        metadata=None,
        config=None,
    ) -> Path:
        import torch
        from monai.bundle import ConfigParser

        folder = tmp_path / name
        (folder / "configs").mkdir(parents=True)
        (folder / "models").mkdir()
        inference = {
            "imports": ["$import torch"],
            "bundle_root": ".",
            "network_def": network or SMALL_NETWORK,
            "preprocessing": {"_target_": "Compose", "transforms": chain or USUAL_CHAIN},
            **(config or {}),
        }
        (folder / "configs" / "inference.json").write_text(json.dumps(inference, indent=2))
        (folder / "configs" / "metadata.json").write_text(
            json.dumps(
                metadata
                or {
                    "name": name,
                    "version": "0.1.0",
                    "task": "test",
                    "network_data_format": {
                        "inputs": {"image": {"num_channels": channels, "channel_def": {"0": "image"}}},
                        "outputs": {"pred": {"channel_def": {str(i): c for i, c in enumerate(classes)}}},
                    },
                }
            )
        )
        if weights is not None:
            torch.manual_seed(0)
            parser = ConfigParser({"network_def": network or SMALL_NETWORK})
            sys.path.insert(0, str(folder))
            try:
                net = parser.get_parsed_content("network_def")
            finally:
                sys.path.remove(str(folder))
            state = net.state_dict()
            torch.save(state if weights == "random" else weights(state), folder / "models" / "model.pt")
        return folder

    return make


@pytest.fixture
def export(tmp_path):
    """A function that exports an array and an affine as Slicer's side of the border would."""
    from CAMOverlayLib.contract.target import VolumeFile

    def save(array: np.ndarray, affine, name: str = "volume") -> VolumeFile:
        path = tmp_path / f"{name}.npy"
        np.save(path, np.asfortranarray(array))
        return VolumeFile(str(path), tuple(tuple(float(x) for x in row) for row in affine), name)

    return save


@pytest.fixture
def export_nifti(export):
    def load(path: Path):
        import nibabel

        image = nibabel.load(path)
        return export(np.asarray(image.dataobj), image.affine, path.name.split(".")[0])

    return load
