"""The nnU-Net rows of the benchmark: a whole explanation against the prediction alone, at a usual 3-D full resolution.

The network has the size that nnU-Net plans for a patch of 64×128×128 (five stages, 32 to 320 features) and random
weights; four windows cover the volume. The prediction alone is what nnU-Net's predictor spends its time on: the same
windows, network and weights, without mirroring, on an image that was preprocessed before.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

PATCH = (64, 128, 128)
SHAPE = (192, 192, 64)
"""I×J×K; one window along K, two along J and I."""


def model_folder() -> Path:
    """Written once a benchmark."""
    folder = Path(os.environ["CAM_BENCH_FOLDER"]) / "Dataset001_Bench" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    if folder.is_dir():
        return folder
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from Oracles.nnunet import plans

    stages = 5
    layout = {"kernel_sizes": [[3, 3, 3]] * stages, "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1)}
    network = plans.architecture(layout)
    network["arch_kwargs"] |= {
        "n_stages": stages,
        "features_per_stage": [32, 64, 128, 256, 320],
        "n_conv_per_stage": [2] * stages,
        "n_conv_per_stage_decoder": [2] * (stages - 1),
    }
    plan, dataset = plans.model(
        "Dataset001_Bench",
        ["MR"],
        (1.0, 1.0, 1.0),
        PATCH,
        ["ZScoreNormalization"],
        {"architecture": network},
        {"organ": 1},
    )
    torch.manual_seed(0)
    arguments = dict(network["arch_kwargs"]) | {
        "conv_op": torch.nn.Conv3d,
        "norm_op": torch.nn.InstanceNorm3d,
        "nonlin": torch.nn.LeakyReLU,
    }
    made = PlainConvUNet(input_channels=1, num_classes=2, deep_supervision=False, **arguments)
    (folder / "fold_0").mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(plan))
    (folder / "dataset.json").write_text(json.dumps(dataset))
    checkpoint = {"network_weights": made.state_dict(), "init_args": {"configuration": "3d_fullres"}}
    torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
    return folder


def volume() -> tuple[Any, Any]:
    """A smooth random field that fills its box, I×J×K, 1 mm."""
    import numpy as np
    from scipy import ndimage

    rng = np.random.default_rng(0)
    coarse = rng.normal(size=[n // 8 for n in SHAPE])
    return (100 + 40 * ndimage.zoom(coarse, 8, order=1)).astype(np.float32), np.diag([1.0, 1.0, 1.0, 1.0])


def prediction(_: str) -> Callable[[], Any]:
    import torch

    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.engine.bundle.opened import open_model
    from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti

    model = open_model(ModelSource(str(model_folder()))).model(torch.device("cpu"))
    voxels, affine = volume()
    file = write_nifti(
        Volume(voxels, affine, "v"), Path(tempfile.mkdtemp(dir=os.environ["CAM_BENCH_FOLDER"])) / "v.nii"
    )
    image = model.chain([str(file)]).as_tensor()[None]

    def run():
        with torch.inference_mode():
            return model.inferer(image, model.network)

    return run


def explanation(_: str, checks: str = "none") -> Callable[[], Any]:
    """From the exported voxels to the written heatmap, in a process that has loaded its libraries."""
    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.contract.request import Request
    from CAMOverlayLib.engine.geometry.volume import save_array
    from CAMOverlayLib.engine.pipeline import explain

    folder = tempfile.mkdtemp(dir=os.environ["CAM_BENCH_FOLDER"])
    voxels, affine = volume()
    file, source = save_array(voxels, affine, "v", f"{folder}/v.npy"), ModelSource(str(model_folder()))
    request = Request((file,), source, folder, checks=checks)
    return lambda: explain(request)


def checked(_: str) -> Callable[[], Any]:
    """The same with the quick checks, which come with every map by default."""
    return explanation(_, "quick")
