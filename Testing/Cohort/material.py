"""Small volumes with a mask each, a small bundle, and lists of them: what the tests, the faults and the benchmark of
cohorts share."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
    {"_target_": "NormalizeIntensityd", "keys": "image"},
    {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32, 32]},
    {"_target_": "EnsureTyped", "keys": "image"},
]

NETWORK = {
    "_target_": "DenseNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "init_features": 8,
    "growth_rate": 4,
    "block_config": [2, 2],
}

CLASSES = ("healthy", "lesion", "artefact")


def write_bundle(folder: Path, seed: int = 0, network: dict | None = None, chain: list | None = None) -> Path:
    """A bundle with random weights."""
    import torch
    from monai.bundle import ConfigParser

    network = network or NETWORK
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    inference = {"network_def": network, "preprocessing": {"_target_": "Compose", "transforms": chain or CHAIN}}
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    formats = {
        "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"channel_def": {str(n): name for n, name in enumerate(CLASSES)}}},
    }
    metadata = {"name": "small", "version": "0.1.0", "task": "test", "network_data_format": formats}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.manual_seed(seed)
    net = ConfigParser({"net": network}).get_parsed_content("net")
    torch.save(net.state_dict(), folder / "models" / "model.pt")
    return folder


def write_volumes(folder: Path, count: int, shape: Sequence[int] = (32, 36, 30)) -> list[Path]:
    """Volumes of noise with a bright ball at a place of its own; ``mask-N.nii.gz`` in ``masks`` is the ball."""
    (folder / "masks").mkdir(parents=True)
    affine = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -40], [0, 0, 2, -20], [0, 0, 0, 1]])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    paths = []
    for number in range(count):
        draw = np.random.default_rng(number)
        centre = draw.uniform(0.3, 0.7, 3) * shape
        ball = ((grid - centre) ** 2).sum(-1) < 25
        voxels = (draw.normal(100, 20, shape) + 200 * ball).astype(np.int16)
        paths.append(folder / f"volume-{number:03d}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(voxels, affine), paths[-1])
        nibabel.save(nibabel.Nifti1Image(ball.astype(np.uint8), affine), folder / "masks" / f"mask-{number:03d}.nii.gz")
    return paths


def write_list(path: Path, volumes: Sequence[Path]) -> Path:
    """A CSV file with mask, label and one column that is carried along."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["volume", "mask", "label", "site"])
        for number, volume in enumerate(volumes):
            mask = volume.parent / "masks" / volume.name.replace("volume", "mask")
            writer.writerow([volume, mask, CLASSES[number % 2], f"site {number % 3}"])
    return path
