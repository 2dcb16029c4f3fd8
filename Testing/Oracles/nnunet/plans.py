"""The plans.json and dataset.json of every case, with the keys and in the shape that nnU-Net's planners write.

Sources: the keys are those of nnunetv2 2.8.1's default and ResEnc planners; the old shape is the one that its
configuration manager still converts. Numbers are chosen small. Spacings and patch sizes are in network order.
"""

from __future__ import annotations

from typing import Any

RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
RESAMPLING_ONE = {**RESAMPLING, "order": 1}
FEATURES = [4, 8, 12]
ISOTROPIC = {"kernel_sizes": [[3, 3, 3]] * 3, "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]]}
ANISOTROPIC = {"kernel_sizes": [[1, 3, 3], [3, 3, 3], [3, 3, 3]], "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]]}
FLAT = {"kernel_sizes": [[3, 3]] * 3, "strides": [[1, 1], [2, 2], [2, 2]]}
# As a fingerprint over the training set would have it; only CT normalisation reads it.
INTENSITIES = {
    "max": 900.0,
    "mean": 95.3,
    "median": 80.0,
    "min": -400.0,
    "percentile_00_5": -60.5,
    "percentile_99_5": 310.25,
    "std": 71.9,
}


def architecture(layout: dict, residual: bool = False) -> dict:
    """New plans name the network's class and all its arguments."""
    dimensions = len(layout["strides"][0])
    name, blocks = ("ResidualEncoderUNet", "n_blocks_per_stage") if residual else ("PlainConvUNet", "n_conv_per_stage")
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": len(FEATURES),
            "features_per_stage": FEATURES,
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": layout["kernel_sizes"],
            "strides": layout["strides"],
            blocks: [1, 2, 2] if residual else [2, 2, 2],
            "n_conv_per_stage_decoder": [1, 1] if residual else [2, 2],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def old_architecture(layout: dict) -> dict:
    """Old plans hold the layout beside everything else; features double from the base up to a maximum."""
    return {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": FEATURES[0],
        "n_conv_per_stage_encoder": [2, 2, 2],
        "n_conv_per_stage_decoder": [2, 2],
        "num_pool_per_axis": [1, 2, 2],
        "pool_op_kernel_sizes": layout["strides"],
        "conv_kernel_sizes": layout["kernel_sizes"],
        "unet_max_num_features": FEATURES[-1],
    }


def configuration(spacing, patch, normalisations, network: dict, masked: bool = False) -> dict:
    return {
        "data_identifier": f"nnUNetPlans_{'2d' if len(patch) == 2 else '3d_fullres'}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(patch),
        "median_image_size_in_voxels": [48.0] * len(patch),
        "spacing": list(spacing),
        "normalization_schemes": list(normalisations),
        "use_mask_for_norm": [masked] * len(normalisations),
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": RESAMPLING,
        "resampling_fn_seg_kwargs": {**RESAMPLING_ONE, "is_seg": True},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": RESAMPLING_ONE,
        **network,
        "batch_dice": True,
    }


def model(
    name: str,
    channels,
    spacing,
    patch,
    normalisations,
    network: dict,
    labels: dict[str, Any],
    transpose=(0, 1, 2),
    reader: str = "SimpleITKIO",
    masked: bool = False,
    **dataset,
) -> tuple[dict, dict]:
    plans = {
        "dataset_name": name,
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [float(s) for s in ([1.0, *spacing] if len(spacing) == 2 else spacing)],
        "original_median_shape_after_transp": [48, 48, 48],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": [list(transpose).index(axis) for axis in range(3)],
        "configurations": {
            "2d" if len(patch) == 2 else "3d_fullres": configuration(spacing, patch, normalisations, network, masked)
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(c): INTENSITIES for c in range(len(channels))},
    }
    return plans, {
        "channel_names": {str(c): channel for c, channel in enumerate(channels)},
        "labels": {"background": 0, **labels},
        "numTraining": 5,
        "file_ending": ".nii.gz",
        **dataset,
    }


def plans_and_dataset(case_name: str) -> tuple[dict, dict]:
    """The contents of plans.json and dataset.json."""
    plain = {"architecture": architecture(ISOTROPIC)}
    organs = {"organ": 1, "lesion": 2}
    if case_name == "anisotropic_ct":
        network = {"architecture": architecture(ANISOTROPIC)}
        return model(
            "Dataset901_AnisotropicCT", ["CT"], (3.5, 1.0, 1.1), (8, 32, 32), ["CTNormalization"], network, organs,
            transpose=(1, 0, 2),
        )  # fmt: skip
    if case_name in ("isotropic_mr", "two_folds"):
        name = {"isotropic_mr": "Dataset902_IsotropicMR", "two_folds": "Dataset908_TwoFolds"}[case_name]
        return model(name, ["T1"], (1.25, 1.2, 1.2), (24, 32, 32), ["ZScoreNormalization"], plain, organs)
    if case_name == "slices_2d":
        network = {"architecture": architecture(FLAT)}
        return model(
            "Dataset903_Slices", ["T2"], (1.2, 1.3), (32, 32), ["ZScoreNormalization"], network, organs,
            transpose=(2, 0, 1),
        )  # fmt: skip
    if case_name == "two_channels":
        return model(
            "Dataset904_TwoChannels", ["rescale_to_0_1", "noNorm"], (1.0, 0.9, 0.9), (32, 24, 32),
            ["RescaleTo01Normalization", "NoNormalization"], plain, organs, reader="NibabelIOWithReorient",
        )  # fmt: skip
    if case_name == "regions":
        regions = {"whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
        return model(
            "Dataset905_Regions", ["FLAIR"], (1.0, 1.0, 1.0), (32, 32, 24), ["ZScoreNormalization"], plain, regions,
            regions_class_order=[1, 2, 3],
        )  # fmt: skip
    if case_name == "residual_encoder":
        plans, dataset = model(
            "Dataset906_ResidualEncoder", ["T1"], (1.1, 1.1, 1.3), (32, 32, 24), ["ZScoreNormalization"],
            {"architecture": architecture(ISOTROPIC, residual=True)}, organs,
        )  # fmt: skip
        plans |= {"plans_name": "nnUNetResEncUNetMPlans", "experiment_planner_used": "nnUNetPlannerResEncM"}
        return plans, dataset
    if case_name == "old_plans":
        return model(
            "Dataset907_OldPlans", ["CT"], (3.6, 1.0, 1.1), (8, 24, 24), ["CTNormalization"],
            old_architecture(ANISOTROPIC), organs,
        )  # fmt: skip
    if case_name == "masked_zscore":
        return model(
            "Dataset909_MaskedZScore", ["T1"], (1.2, 1.2, 1.2), (24, 24, 32), ["ZScoreNormalization"], plain, organs,
            masked=True,
        )  # fmt: skip
    if case_name == "smaller_than_patch":
        # Equal to the spacing of both inputs, the drawn one and the real one, as the files' float32 has it.
        spacing = [0.7374631] * 3
        plans, dataset = model(
            "Dataset910_SmallerThanPatch", ["T1"], spacing, (16, 16, 16), ["ZScoreNormalization"], plain, organs,
            reader="NibabelIO",
        )  # fmt: skip
        plans["configurations"]["3d_fullres_large_patch"] = {"inherits_from": "3d_fullres", "patch_size": [24, 32, 32]}
        return plans, dataset
    if case_name == "photograph":
        network = {"architecture": architecture(FLAT)}
        return model(
            "Dataset911_Photograph", ["rgb_to_0_1"] * 3, (1.0, 1.0), (32, 32), ["RGBTo01Normalization"] * 3, network,
            organs, reader="NaturalImage2DIO", file_ending=".png",
        )  # fmt: skip
    raise KeyError(case_name)
