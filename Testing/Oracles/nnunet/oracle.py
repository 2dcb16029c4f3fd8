"""nnunetv2 asked for its answers: random weights that say something, checkpoints, and every stage of a prediction.

Runs only in the environment that README.md describes. Nothing of nnunetv2 is changed, but for the one function that
says so.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import tempfile
import types
from importlib.metadata import version
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import torch
from cases import STEP, Case
from nnunetv2.inference import predict_from_raw_data
from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from PIL import Image

PACKAGES = (
    "nnunetv2", "torch", "dynamic_network_architectures", "acvl_utils", "batchgenerators", "numpy", "scipy",
    "scikit-image", "SimpleITK", "nibabel",
)  # fmt: skip
# A label that hangs on less than this difference of logits need not be met by another implementation.
UNSURE = 0.02


def versions() -> dict[str, str]:
    return {package: version(package) for package in PACKAGES}


def _predictor(mirroring: bool) -> nnUNetPredictor:
    return nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=mirroring,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )


def _preprocessed(predictor: nnUNetPredictor, files: list[str]) -> tuple[torch.Tensor, dict]:
    """C×A×B×C in network order, and what nnU-Net remembers for the way back."""
    configuration = predictor.configuration_manager
    data, _, properties = configuration.preprocessor_class(verbose=False).run_case(
        files, None, predictor.plans_manager, configuration, predictor.dataset_json
    )
    return torch.from_numpy(np.ascontiguousarray(data)), properties


# --- Models


def write_checkpoints(case: Case, plans: dict, dataset: dict) -> None:
    """fold_K/checkpoint_final.pth for every fold, with random weights whose labels all occur on the case's input."""
    # The conversion of old plans takes keys out of what it is given; the files keep them.
    manager = PlansManager(copy.deepcopy(plans))
    configuration = manager.get_configuration(case.configuration)
    labels = manager.get_label_manager(dataset)
    for fold, path in zip(case.folds, case.checkpoints, strict=True):
        torch.manual_seed(1000 * int(case.dataset[7:10]) + fold)
        network = nnUNetTrainer.build_network_architecture(
            manager, configuration, len(dataset["channel_names"]), labels.num_segmentation_heads, True
        )
        _roughen(network)
        network.decoder.deep_supervision = False
        predictor = _predictor(mirroring=False)
        predictor.manual_initialization(
            network, manager, configuration, [network.state_dict()], dataset, case.trainer, None
        )
        data, _ = _preprocessed(predictor, [str(f) for f in case.input_files])
        _balance(network, predictor, data, labels.has_regions)
        path.parent.mkdir(parents=True, exist_ok=True)
        names = old_numpy_names if case.name == "old_plans" else pickle
        torch.save(_checkpoint(case, network, fold, plans, dataset), path, pickle_module=names)


class _OldNumPyNames(pickle._Pickler):
    """Writes NumPy's scalars under the module name of NumPy 1, as most nnU-Net checkpoints in the world have them."""

    def save_global(self, obj, name=None):
        if obj is np.float64(0).__reduce__()[0]:
            self.write(pickle.GLOBAL + b"numpy.core.multiarray\nscalar\n")
            self.memoize(obj)
        else:
            super().save_global(obj, name)


old_numpy_names = types.ModuleType("old_numpy_names")
old_numpy_names.Pickler = _OldNumPyNames


def _roughen(network: torch.nn.Module) -> None:
    """Trained networks have norms that are not 1 and 0, and biases; what forgets to load them must not agree."""
    with torch.no_grad():
        for module in network.modules():
            if getattr(module, "bias", None) is not None:
                module.bias.normal_(0, 0.2)
            if "InstanceNorm" in type(module).__name__:
                module.weight.uniform_(0.6, 1.4)


def _balance(network: torch.nn.Module, predictor: nnUNetPredictor, data: torch.Tensor, regions: bool) -> None:
    """Scales the last layer so that its logits vary by about 2, and shifts them so that every label takes its part.

    The logits are a linear function of that layer, and windows are averaged with weights that sum to 1: what a change
    of scale and bias does is known without another prediction.
    """
    logits = predictor.predict_logits_from_preprocessed_data(data).float().flatten(1)
    last = network.decoder.seg_layers[-1]
    mean, scale = logits.mean(dim=1), 2 / logits.std(dim=1)
    logits = (logits - mean[:, None]) * scale[:, None]
    heads = len(logits)
    shift = torch.zeros(heads)
    if regions:
        # Each region lies above its own quantile: about 60 %, 40 % and 25 % of the voxels.
        shift = torch.tensor([-torch.quantile(row[::7], 1 - part) for row, part in zip(logits, (0.6, 0.4, 0.25))])
    else:
        for _ in range(200):
            share = torch.bincount((logits + shift[:, None]).argmax(0), minlength=heads) / logits.shape[1]
            shift -= 0.5 * (share - 1 / heads)
    # In terms of the layer: (w·x + b − mean) · scale + shift, where w·x + b were the logits before.
    with torch.no_grad():
        last.weight *= scale.view(-1, *[1] * (last.weight.ndim - 1))
        last.bias.copy_((last.bias - mean) * scale + shift)


def _checkpoint(case: Case, network: torch.nn.Module, fold: int, plans: dict, dataset: dict) -> dict:
    """What nnU-Net's trainer saves after its last epoch, NumPy scalars and all; only momentum is left out."""
    optimiser = torch.optim.SGD(network.parameters(), 1e-2, weight_decay=3e-5, momentum=0.99, nesterov=True)
    dice = [np.float64(0.61), np.float64(0.57)]
    return {
        "network_weights": network.state_dict(),
        "optimizer_state": optimiser.state_dict(),
        "grad_scaler_state": {
            "scale": 65536.0,
            "growth_factor": 2.0,
            "backoff_factor": 0.5,
            "growth_interval": 2000,
            "_growth_tracker": 7,
        },
        "logging": {
            "mean_fg_dice": [np.float64(np.mean(dice))],
            "ema_fg_dice": [np.float64(np.mean(dice))],
            "dice_per_class_or_region": [dice],
            "train_losses": [np.float32(-0.41)],
            "val_losses": [np.float32(-0.39)],
            "lrs": [0.01],
            "epoch_start_timestamps": [1700000000.0],
            "epoch_end_timestamps": [1700000060.5],
        },
        "_best_ema": np.float64(np.mean(dice)),
        "current_epoch": 1,
        "init_args": {
            "plans": plans,
            "configuration": case.configuration,
            "fold": fold,
            "dataset_json": dataset,
            # Trainers before 2.6 had this argument as well.
            **({"unpack_dataset": True} if case.name == "old_plans" else {}),
            "device": torch.device("cuda"),
        },
        "trainer_name": case.trainer,
        "inference_allowed_mirroring_axes": (0, 1) if case.configuration == "2d" else (0, 1, 2),
    }  # fmt: skip


# --- Answers


@contextlib.contextmanager
def float32_sums():
    """The one change to nnunetv2: its sliding window sums in float32, with the same weights, rounded to half precision.

    As shipped the sums are half precision too. That alone moves logits by about 0.01, and by up to 0.5 towards the
    image's corners, where the weights are so small that half precision has no digits left: enough to hide mistakes.
    """
    shipped = predict_from_raw_data.compute_gaussian

    def gaussian(*args, **kwargs):
        return shipped(*args, **kwargs).float()

    with (
        mock.patch.object(predict_from_raw_data, "compute_gaussian", gaussian),
        mock.patch.object(torch, "half", torch.float32),
    ):
        yield


def ask(case: Case, files: list[Path], with_voxels: bool) -> dict[str, np.ndarray]:
    """Every stage of nnunetv2's prediction for these files, as cases.Answer reads it.

    `with_voxels`: the preprocessed voxels are sampled too; not for real data, which stay where they are.
    """
    predictor = _predictor(case.mirroring)
    predictor.initialize_from_trained_model_folder(str(case.model), case.folds)
    data, properties = _preprocessed(predictor, [str(f) for f in files])
    logits = predictor.predict_logits_from_preprocessed_data(data)
    with float32_sums():
        logits_float32 = predictor.predict_logits_from_preprocessed_data(data)
    assert logits.dtype == torch.float16
    assert logits_float32.dtype == torch.float32
    labels, close = _labels_and_close(predictor, logits, properties, files[0].name)
    labels_float32, close_float32 = _labels_and_close(predictor, logits_float32, properties, files[0].name)
    unsure = close | close_float32 | (labels != labels_float32)
    sample = (slice(None), *[slice(None, None, STEP)] * 3)
    channels = data.flatten(1).double()
    statistics = [channels.mean(1), channels.std(1, correction=0), channels.amin(1), channels.amax(1)]
    return {
        "labels": labels,
        "unsure": np.packbits(unsure),
        "spacing": np.asarray(properties["spacing"], dtype=np.float64),
        "bbox": np.asarray(properties["bbox_used_for_cropping"], dtype=np.int32),
        "shape_before_cropping": np.asarray(properties["shape_before_cropping"], dtype=np.int32),
        "shape_after_cropping": np.asarray(properties["shape_after_cropping_and_before_resampling"], dtype=np.int32),
        "preprocessed_shape": np.asarray(data.shape, dtype=np.int32),
        "preprocessed_statistics": torch.stack(statistics, dim=1).numpy(),
        **({"preprocessed": data[sample].numpy()} if with_voxels else {}),
        "logits_shape": np.asarray(logits.shape, dtype=np.int32),
        "logits": logits[sample].float().numpy(),
        "logits_float32": logits_float32[sample].numpy(),
    }


def _labels_and_close(predictor: nnUNetPredictor, logits: torch.Tensor, properties: dict, name: str):
    """In file order: the label map, and where a label hangs on less than UNSURE."""
    regions = predictor.label_manager.has_regions

    def narrow(resampled):
        """Stands for the last step of the export: not the label, but whether it hangs on little."""
        resampled = torch.as_tensor(resampled).float()
        if regions:
            return (resampled.abs().amin(0) < UNSURE).to(torch.uint8)
        best = resampled.topk(2, dim=0).values
        return (best[0] - best[1] < UNSURE).to(torch.uint8)

    labels = _written(predictor, logits, properties, name)
    with mock.patch.object(predictor.label_manager, "convert_logits_to_segmentation", narrow):
        return labels, _written(predictor, logits, properties, name).astype(bool)


def _written(predictor: nnUNetPredictor, logits: torch.Tensor, properties: dict, name: str) -> np.ndarray:
    """What nnU-Net exports, in file order: written by its own writer, and read back."""
    labels = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, predictor.plans_manager, predictor.configuration_manager, predictor.label_manager, properties
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        predictor.plans_manager.image_reader_writer_class().write_seg(labels, str(path), properties)
        if path.suffix == ".png":
            return np.asarray(Image.open(path)).astype(np.uint8)
        return np.asarray(nibabel.load(path).dataobj).astype(np.uint8)
