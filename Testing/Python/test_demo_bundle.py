"""The demo bundle as it is shipped: it loads as any bundle does, says what is true, and looks where the lesion is."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch.nn import functional

RESOURCES = Path(__file__).parents[2] / "CAMOverlay" / "Resources"
BUNDLE = RESOURCES / "DemoBundle"
VOLUME = RESOURCES / "DemoVolume" / "brain_with_lesion.nii.gz"
TRUTH = json.loads(VOLUME.with_name("brain_with_lesion.json").read_text())

TWO_MEGABYTES = 2_000_000
FRESH_SEEDS = range(500_000, 500_004)
"""Seeds that neither training nor the figures in ``metadata.json`` have used."""


class LoadedBundle:
    """The bundle, read by nothing but MONAI."""

    def __init__(self, folder: Path) -> None:
        config = ConfigParser()
        config.read_config(folder / "configs" / "inference.json")
        config.read_meta(folder / "configs" / "metadata.json")
        config["bundle_root"] = str(folder)
        outputs = config["_meta_#network_data_format#outputs#pred#channel_def"]
        self.classes = [outputs[key] for key in sorted(outputs, key=int)]
        self.chain = config.get_parsed_content("preprocessing")
        self.network = config.get_parsed_content("network_def")
        self.network.load_state_dict(torch.load(folder / "models" / "model.pt", weights_only=True))
        self.network.eval()

    def classify(self, path: Path) -> str:
        with torch.no_grad():
            outputs = self.network(self.chain({"image": str(path)})["image"].as_tensor()[None])
        return self.classes[int(outputs.argmax())]


@pytest.fixture(scope="module")
def bundle() -> LoadedBundle:
    return LoadedBundle(BUNDLE)


def test_what_is_shipped_is_small():
    assert (BUNDLE / "models" / "model.pt").stat().st_size <= TWO_MEGABYTES
    assert VOLUME.stat().st_size <= TWO_MEGABYTES


def test_the_templates_notice_travels_with_what_was_made_from_it():
    for folder in (BUNDLE, VOLUME.parent):
        assert "Louis Collins, McConnell Brain Imaging Centre" in (folder / "LICENSE").read_text()


def test_metadata_describes_the_network(bundle):
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    formats = metadata["network_data_format"]
    image = formats["inputs"]["image"]
    outputs = bundle.network(torch.zeros(1, image["num_channels"], *image["spatial_shape"]))
    assert outputs.shape == (1, formats["outputs"]["pred"]["num_channels"])
    assert bundle.classes == ["no lesion", "bright lesion", "dark lesion"]
    assert {"name", "version", "task", "description"} <= metadata.keys()
    assert min(metadata["eval_metrics"]["accuracy"].values()) >= 0.95
    assert metadata["eval_metrics"]["fresh_volumes"] >= 200


def test_the_chain_ends_on_the_grid_that_the_metadata_promises(bundle):
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text())
    image = bundle.chain({"image": str(VOLUME)})["image"]
    assert list(image.shape[1:]) == metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]


def test_demo_volume_has_a_geometry_worth_showing():
    image = nibabel.load(VOLUME)
    assert image.header["sform_code"] > 0 and image.header["qform_code"] > 0
    np.testing.assert_allclose(image.get_sform(), image.get_qform(), atol=1e-3)
    assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
    spacing = nibabel.affines.voxel_sizes(image.affine)
    assert len(set(spacing.round(2))) == 3
    assert np.rad2deg(nibabel.affines.obliquity(image.affine)).max() > 5


def test_demo_volumes_lesion_is_where_the_truth_says():
    """Bright inside the lesion's radius, tissue in the shell around it."""
    image = nibabel.load(VOLUME)
    array = np.asarray(image.dataobj)
    index = np.stack(np.indices(array.shape), axis=-1)
    places = nibabel.affines.apply_affine(image.affine, index)
    distance = np.linalg.norm(places - TRUTH["centre_ras_mm"], axis=-1)
    inside = array[distance < TRUTH["radius_mm"] - 2]
    around = array[(distance > TRUTH["radius_mm"] + 2) & (distance < TRUTH["radius_mm"] + 6) & (array > 0)]
    assert np.percentile(inside, 5) > np.percentile(around, 95)


def test_demo_volume_is_classified_and_explained_right(bundle):
    assert bundle.classify(VOLUME) == TRUTH["class"]
    peak, _ = gradcam_peak(bundle, VOLUME)
    assert np.linalg.norm(peak - TRUTH["centre_ras_mm"]) < 12


def test_fresh_volumes_are_classified_right_through_the_full_chain(bundle, tmp_path):
    pytest.importorskip("nilearn", reason="phantoms are made from the brain template in nilearn (make .venv/.train)")
    from Benchmarks.lesions import make_phantom

    wrong = []
    for seed in FRESH_SEEDS:
        for kind in (None, "bright", "dark"):
            path = tmp_path / "phantom.nii"
            phantom = make_phantom(seed, kind)
            phantom.save(path)
            expected = f"{kind or 'no'} lesion"
            if bundle.classify(path) != expected:
                wrong.append((seed, expected))
            elif kind:
                peak, cell_mm = gradcam_peak(bundle, path)
                assert np.linalg.norm(peak - phantom.centre_ras) < 1.5 * cell_mm, (seed, expected)
    assert not wrong


def gradcam_peak(bundle: LoadedBundle, path: Path) -> tuple[np.ndarray, float]:
    """Peak of plain Grad-CAM at the last spatial layer in RAS mm, and the largest side of an activation cell in mm."""
    image = bundle.chain({"image": str(path)})["image"]
    split = [name for name, _ in bundle.network.named_children()].index("pool")
    activations = bundle.network[:split](image.as_tensor()[None])
    (gradients,) = torch.autograd.grad(bundle.network[split:](activations).max(), activations)
    heatmap = torch.relu((gradients.mean((2, 3, 4), keepdim=True) * activations).sum(1, keepdim=True))
    heatmap = functional.interpolate(heatmap, image.shape[1:], mode="trilinear")[0, 0]
    peak = np.unravel_index(int(heatmap.argmax()), heatmap.shape)
    affine = image.affine.numpy()
    cell = nibabel.affines.voxel_sizes(affine) * image.shape[1:] / activations.shape[2:]
    return nibabel.affines.apply_affine(affine, peak), float(cell.max())
