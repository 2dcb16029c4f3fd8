"""What a configuration may hold that needs no trust: MONAI's own networks, transforms and inferers, with plain values.

MONAI builds whatever a configuration names, and some of its own classes import, call, open, write or download what
their arguments name (``LoadImage(reader="os.system")``). So nothing is looked for that could be harmful; instead every
class and every argument that was read and found harmless is listed here, and all else needs trust: other classes,
other arguments, other kinds of values, expressions, files of code, compiled networks. Nothing is imported to tell.
"""

from __future__ import annotations

import re
from typing import Any

NETWORKS = frozenset(
    [
        "AHNet",
        "AttentionUnet",
        "AutoEncoder",
        "AutoencoderKL",
        "BasicUNet",
        "BasicUNetPlusPlus",
        "BasicUnet",
        "BasicUnetPlusPlus",
        "Classifier",
        "Critic",
        "DAF3D",
        "DenseNet",
        "DenseNet121",
        "DenseNet169",
        "DenseNet201",
        "DenseNet264",
        "Densenet121",
        "Densenet169",
        "Densenet201",
        "Densenet264",
        "DiffusionModelUNet",
        "Discriminator",
        "DynUNet",
        "DynUnet",
        "EfficientNet",
        "EfficientNetBN",
        "EfficientNetBNFeatures",
        "FlexUNet",
        "FlexibleUNet",
        "FullyConnectedNet",
        "Generator",
        "HighResNet",
        "HoVerNet",
        "HoverNet",
        "MaskedAutoEncoderViT",
        "MedNeXt",
        "MedNext",
        "Quicknat",
        "Regressor",
        "ResNet",
        "ResNetFeatures",
        "SENet",
        "SENet154",
        "SEResNeXt101",
        "SEResNeXt50",
        "SEResNet101",
        "SEResNet152",
        "SEResNet50",
        "SegResNet",
        "SegResNetDS",
        "SegResNetDS2",
        "SegResNetVAE",
        "SwinUNETR",
        "UNETR",
        "UNet",
        "Unet",
        "VNet",
        "VarAutoEncoder",
        "VarFullyConnectedNet",
        "ViT",
        "ViTAutoEnc",
    ]
)
"""Of ``monai.networks.nets``."""

DOWNLOADERS = ("EfficientNetBN", "EfficientNetBNFeatures", "ResNetFeatures")
"""Networks that fetch weights unless they are told ``pretrained: false``."""

LAYERS = frozenset(
    [
        "AdaptiveAvgPool1d",
        "AdaptiveAvgPool2d",
        "AdaptiveAvgPool3d",
        "AdaptiveMaxPool1d",
        "AdaptiveMaxPool2d",
        "AdaptiveMaxPool3d",
        "AvgPool1d",
        "AvgPool2d",
        "AvgPool3d",
        "BatchNorm1d",
        "BatchNorm2d",
        "BatchNorm3d",
        "Conv1d",
        "Conv2d",
        "Conv3d",
        "ConvTranspose1d",
        "ConvTranspose2d",
        "ConvTranspose3d",
        "Dropout",
        "Dropout2d",
        "Dropout3d",
        "ELU",
        "Flatten",
        "GELU",
        "GroupNorm",
        "Hardswish",
        "Identity",
        "InstanceNorm1d",
        "InstanceNorm2d",
        "InstanceNorm3d",
        "LayerNorm",
        "LeakyReLU",
        "Linear",
        "LogSoftmax",
        "MaxPool1d",
        "MaxPool2d",
        "MaxPool3d",
        "Mish",
        "PReLU",
        "ReLU",
        "ReLU6",
        "SELU",
        "SiLU",
        "Sigmoid",
        "Softmax",
        "Softplus",
        "Tanh",
        "Unflatten",
        "Upsample",
    ]
)
"""Of ``torch.nn``."""

_NETWORK_ARGUMENTS = frozenset(
    [
        "act",
        "act_name",
        "activation",
        "adapt_standard_resnet",
        "add_cross_attention",
        "adn_ordering",
        "adv_prop",
        "align_corners",
        "attention_levels",
        "attn_drop_rate",
        "backbone",
        "bias",
        "bias_downsample",
        "block",
        "block_config",
        "block_inplanes",
        "blocks_args_str",
        "blocks_down",
        "blocks_up",
        "bn_size",
        "bottleneck_expansion_ratio",
        "channels",
        "class_head",
        "classification",
        "conv1_t_size",
        "conv1_t_stride",
        "conv_block",
        "cross_attention_dim",
        "deconv_chns",
        "deep_supervision",
        "deep_supr_num",
        "decoder_bias",
        "decoder_channels",
        "decoder_expansion_ratio",
        "depth",
        "depth_coefficient",
        "depth_divisor",
        "depths",
        "dilation",
        "dim_head",
        "dropout",
        "dropout_cattn",
        "dropout_dim",
        "dropout_path_rate",
        "dropout_prob",
        "dropout_prob_down",
        "dropout_prob_up",
        "dropout_rate",
        "drop_connect_rate",
        "drop_rate",
        "dsdepth",
        "encoder_expansion_ratio",
        "encode_channels",
        "decode_channels",
        "feature_size",
        "features",
        "feed_forward",
        "filters",
        "freeze_encoder",
        "global_resp_norm",
        "growth_rate",
        "groups",
        "half_res",
        "hidden_channels",
        "hidden_size",
        "image_size",
        "img_size",
        "in_channels",
        "in_shape",
        "include_fc",
        "init_features",
        "init_filters",
        "inplanes",
        "input_3x3",
        "input_image_size",
        "inter_channels",
        "inter_dilations",
        "interp_mode",
        "is_pad",
        "kernel_size",
        "kernels",
        "last_act",
        "last_conv_kernel_size",
        "latent_channels",
        "latent_shape",
        "latent_size",
        "layer_params",
        "layers",
        "masking_ratio",
        "mlp_dim",
        "mlp_ratio",
        "mode",
        "model_name",
        "n_input_channels",
        "no_max_pool",
        "norm",
        "norm_eps",
        "norm_name",
        "norm_num_groups",
        "norm_type",
        "normalize",
        "np_out_channels",
        "num_attention_heads",
        "num_blocks",
        "num_channels",
        "num_classes",
        "num_filters",
        "num_groups",
        "num_head_channels",
        "num_heads",
        "num_inter_units",
        "num_layers",
        "num_res_blocks",
        "num_res_units",
        "num_stages",
        "out_act",
        "out_activation",
        "out_channels",
        "out_classes",
        "out_shape",
        "output_act",
        "patch_norm",
        "patch_size",
        "pool",
        "pooling",
        "pos_embed_type",
        "post_activation",
        "pre_conv",
        "pretrained",
        "progress",
        "proj_type",
        "psp_block_num",
        "qkv_bias",
        "reduction",
        "res_block",
        "resblock_updown",
        "resolution",
        "se_block",
        "shortcut_type",
        "spatial_dims",
        "stem_kernel_size",
        "stem_stride",
        "stride",
        "strides",
        "stride_conv",
        "stride_pool",
        "strides_first",
        "trans_bias",
        "trans_blocks",
        "transformer_num_layers",
        "up_kernel_size",
        "upsample",
        "upsample_kernel_size",
        "upsample_mode",
        "upcast_attention",
        "use_checkpoint",
        "use_checkpointing",
        "use_conv_final",
        "use_flash_attention",
        "use_residual_connection",
        "use_v2",
        "vae_default_std",
        "vae_estimate_std",
        "vae_nz",
        "widen_factor",
        "width_coefficient",
        "window_size",
        "with_conditioning",
        "with_decoder_nonlocal_attn",
        "with_encoder_nonlocal_attn",
    ]
)
_LAYER_ARGUMENTS = frozenset(
    [
        "affine",
        "align_corners",
        "alpha",
        "approximate",
        "beta",
        "bias",
        "ceil_mode",
        "count_include_pad",
        "dilation",
        "dim",
        "divisor_override",
        "elementwise_affine",
        "end_dim",
        "eps",
        "groups",
        "in_channels",
        "in_features",
        "init",
        "inplace",
        "kernel_size",
        "lambd",
        "mode",
        "momentum",
        "negative_slope",
        "normalized_shape",
        "num_channels",
        "num_features",
        "num_groups",
        "num_parameters",
        "out_channels",
        "out_features",
        "output_padding",
        "output_size",
        "p",
        "padding",
        "padding_mode",
        "scale_factor",
        "size",
        "start_dim",
        "stride",
        "threshold",
        "track_running_stats",
        "unflattened_size",
    ]
)

_ARRAY_TRANSFORMS = frozenset(
    [
        "Activations",
        "AdjustContrast",
        "Affine",
        "AsChannelLast",
        "AsDiscrete",
        "BorderPad",
        "CastToType",
        "CenterScaleCrop",
        "CenterSpatialCrop",
        "ClipIntensityPercentiles",
        "ConvertToMultiChannelBasedOnBratsClasses",
        "CropForeground",
        "DistanceTransformEDT",
        "DivisiblePad",
        "EnsureChannelFirst",
        "EnsureType",
        "FillHoles",
        "Flip",
        "ForegroundMask",
        "GaussianSharpen",
        "GaussianSmooth",
        "GibbsNoise",
        "HistogramNormalize",
        "Identity",
        "KeepLargestConnectedComponent",
        "LabelFilter",
        "LabelToContour",
        "MaskIntensity",
        "MedianSmooth",
        "NormalizeIntensity",
        "Orientation",
        "RemoveSmallObjects",
        "RepeatChannel",
        "Resize",
        "ResizeWithPadOrCrop",
        "Rotate",
        "Rotate90",
        "ScaleIntensity",
        "ScaleIntensityRange",
        "ScaleIntensityRangePercentiles",
        "ShiftIntensity",
        "SobelGradients",
        "Spacing",
        "SpatialCrop",
        "SpatialPad",
        "SpatialResample",
        "SqueezeDim",
        "StdShiftIntensity",
        "ThresholdIntensity",
        "ToDevice",
        "ToTensor",
        "Transpose",
        "Zoom",
    ]
)
_DICTIONARY_TRANSFORMS = frozenset(
    ["ApplyPendingd", "ConcatItemsd", "CopyItemsd", "DeleteItemsd", "FromMetaTensord", "SelectItemsd", "ToMetaTensord"]
)
_SPELLINGS = ("d", "D", "Dict")
TRANSFORMS = frozenset(
    [
        *_ARRAY_TRANSFORMS,
        *(name + end for name in _ARRAY_TRANSFORMS for end in _SPELLINGS),
        *(name[:-1] + end for name in _DICTIONARY_TRANSFORMS for end in _SPELLINGS),
        "ScaleIntensityFixedMean",
    ]
)
"""Of ``monai.transforms``: those that neither read, write, import nor call what an argument names."""

LOADERS = frozenset(["LoadImage", *("LoadImage" + end for end in _SPELLINGS)])
READERS = frozenset(
    name
    for reader in ("ITKReader", "NibabelReader", "NumpyReader", "PILReader", "PydicomReader", "NrrdReader")
    for name in (reader, reader.lower())
)
"""What ``reader`` of a loader may be; any other name it would import and call."""

_TRANSFORM_ARGUMENTS = frozenset(
    [
        "a_max",
        "a_min",
        "align_corners",
        "allow_missing_keys",
        "allow_smaller",
        "alpha",
        "anti_aliasing",
        "anti_aliasing_sigma",
        "applied_labels",
        "approx",
        "argmax",
        "axcodes",
        "b_max",
        "b_min",
        "channel_dim",
        "channel_indices",
        "channel_wise",
        "channelwise",
        "clip",
        "connectivity",
        "const_values",
        "constant_values",
        "data_type",
        "device",
        "diagonal",
        "diag",
        "dim",
        "divisor",
        "dtype",
        "factor",
        "fixed_mean",
        "gamma",
        "hist_mask",
        "indices",
        "independent",
        "invert_image",
        "invert",
        "is_onehot",
        "k",
        "k_divisible",
        "keep_size",
        "keys",
        "kernel_size",
        "labels",
        "lazy",
        "lower",
        "margin",
        "max_pixdim",
        "maxv",
        "meta_key_postfix",
        "meta_keys",
        "method",
        "min_pixdim",
        "min_size",
        "minv",
        "mode",
        "mask",
        "mask_data",
        "name",
        "names",
        "nonzero",
        "num_bins",
        "num_components",
        "offset",
        "order",
        "otsu",
        "padding_mode",
        "percentiles",
        "pixdim",
        "preserve_range",
        "radius",
        "recompute_affine",
        "relative",
        "repeats",
        "return_coords",
        "retain_stats",
        "roi_center",
        "roi_end",
        "roi_scale",
        "roi_size",
        "roi_slices",
        "roi_start",
        "rotate_params",
        "rounding",
        "scale",
        "scale_extent",
        "scale_params",
        "shear_params",
        "sigma",
        "sigma1",
        "sigma2",
        "sigmoid",
        "sharpness_limits",
        "simple_keys",
        "size_mode",
        "softmax",
        "source_key",
        "spatial_axes",
        "spatial_axis",
        "spatial_border",
        "spatial_size",
        "strict_check",
        "subtrahend",
        "start_coord_key",
        "end_coord_key",
        "threshold",
        "times",
        "to_onehot",
        "track_meta",
        "translate_params",
        "upper",
        "value",
        "values",
        "wrap_sequence",
        "angle",
        "zoom",
        "above",
        "max",
        "min",
    ]
)
_LOADER_ARGUMENTS = frozenset(
    [
        "allow_missing_keys",
        "dtype",
        "ensure_channel_first",
        "image_only",
        "keys",
        "meta_key_postfix",
        "meta_keys",
        "overwriting",
        "prune_meta_sep",
        "reader",
        "simple_keys",
    ]
)
INFERERS = frozenset(["SimpleInferer", "SlidingWindowInferer", "SlidingWindowInfererAdapt", "SliceInferer"])
_INFERER_ARGUMENTS = frozenset(
    [
        "buffer_dim",
        "buffer_steps",
        "cache_roi_weight_map",
        "cpu_thresh",
        "cval",
        "device",
        "mode",
        "overlap",
        "padding_mode",
        "roi_size",
        "sigma_scale",
        "spatial_dim",
        "sw_batch_size",
        "sw_device",
        "with_coord",
    ]
)

_COMPOSE_ARGUMENTS = frozenset(["transforms", "map_items", "unpack_items", "lazy"])

ROOMS = (
    ("monai.networks.nets.", NETWORKS, _NETWORK_ARGUMENTS),
    ("torch.nn.", LAYERS, _LAYER_ARGUMENTS),
    ("monai.transforms.", TRANSFORMS, _TRANSFORM_ARGUMENTS),
    ("monai.transforms.", LOADERS, _LOADER_ARGUMENTS),
    ("monai.transforms.", frozenset(["Compose"]), _COMPOSE_ARGUMENTS),
    ("monai.inferers.", INFERERS, _INFERER_ARGUMENTS),
)
"""Where a class is, the classes, and their arguments."""

_WORD = re.compile(r"[\w +\-]{0,100}")  # no dot, slash or sign that MONAI reads: a word, never the name of a thing
_DTYPE = re.compile(r"((torch|np|numpy)\.)?(bool|u?int(8|16|32|64)|b?float(16|32|64)|half|float|double|int|long|short)")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?|mps")
_POSITIONS = re.compile(r"[\w:.+\-]{0,100}")
MOST = 20_000
"""Values that are looked at, references followed included."""


def needs_trust(config: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everything in a configuration that is not one of MONAI's own parts with plain values.

    Args:
        config: the whole configuration, as a mapping, with what it takes from other files in it.

    Returns:
        components (``LoadImaged(reader=os.system)``) and expressions, in words; both empty where no trust is needed.
    """
    judge = _Judge(config)
    judge.value(config, (), "")
    return tuple(dict.fromkeys(judge.components)), tuple(dict.fromkeys(judge.expressions))


class _Judge:
    def __init__(self, config: Any) -> None:
        self.config = config
        self.components: list[str] = []
        self.expressions: list[str] = []
        self._left = MOST

    def value(self, value: Any, following: tuple[str, ...], where: str) -> None:
        """Look at a value; ``following`` are the references on the way to it, ``where`` names the argument."""
        self._left -= 1
        if self._left < 0 or len(following) > 20:
            if self._left == -1 or len(following) > 20:
                self.components.append(f"{where or 'the configuration'}: too much to look through")
            return
        if isinstance(value, dict):
            self._mapping(value, following, where)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.value(item, following, where)
        elif isinstance(value, str):
            self._text(value, following, where)
        elif not (value is None or isinstance(value, (bool, int, float))):
            self.components.append(f"{where or 'the configuration'}: a {type(value).__name__}")

    def _mapping(self, node: dict, following: tuple[str, ...], where: str) -> None:
        for key in node:
            if not isinstance(key, (str, int)) or (isinstance(key, str) and not _plain_key(key)):
                self.components.append(f"{where or 'the configuration'}: the key {str(key)[:80]!r}")
        if "_target_" in node:
            self._component(node, following)
            return
        for key, value in node.items():
            self.value(value, following, _inside(where, key))

    def _component(self, node: dict, following: tuple[str, ...]) -> None:
        target = node["_target_"]
        arguments = _arguments_of(target)
        if arguments is None:
            self.components.append(str(target)[:200])
            arguments = frozenset()
            allowed = False
        else:
            allowed = True
        name = str(target).rpartition(".")[2]
        if name in DOWNLOADERS and "pretrained" not in node:
            self.components.append(f"{name}(pretrained=True, which is its default)")
        for key, value in node.items():
            if key == "_target_" or (key == "_disabled_" and isinstance(value, bool)):
                continue
            if key == "_desc_":  # words, but MONAI evaluates them like any other
                self.value(value, following, "")
                continue
            if allowed and key == "pretrained" and value is not False:  # a download
                self.components.append(f"{name}(pretrained={str(value)[:200]})")
            if allowed and key not in arguments:
                self.components.append(f"{name}({str(key)[:80]}={str(value)[:200]})")
            if allowed and key == "reader" and not self._is_reader(value, following):
                self.components.append(f"{name}(reader={str(value)[:200]})")
            self.value(value, following, f"{name}({key})")

    def _is_reader(self, value: Any, following: tuple[str, ...]) -> bool:
        if isinstance(value, str) and value[:1] in ("@", "%"):
            found, there = self._resolved(value)
            return found and value not in following and self._is_reader(there, (*following, value))
        if isinstance(value, (list, tuple)):
            return all(self._is_reader(one, following) for one in value)
        return value is None or (isinstance(value, str) and value in READERS)

    def _text(self, text: str, following: tuple[str, ...], where: str) -> None:
        if text.startswith("$"):
            self.expressions.append(text[1:])
        elif text[:1] in ("@", "%"):
            found, there = self._resolved(text)
            if text in following or not found:
                self.components.append(f"{where or 'the configuration'}: {text[:200]!r}")
            else:
                self.value(there, (*following, text), where)
        elif not where.endswith(")") or _is_plain(text, where):
            return  # beside the components a text is only a text
        else:
            self.components.append(f"{where[:-1]}={text[:200]})")

    def _resolved(self, reference: str) -> tuple[bool, Any]:
        """What ``@a::b#0`` or ``%a`` refers to within the configuration."""
        if not re.fullmatch(r"[@%]\w+((::|#)\w+)*", reference):
            return False, None
        node = self.config
        for part in re.split("::|#", reference[1:]):
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return False, None
        return True, node


def _plain_key(key: str) -> bool:
    """Whether a key is only a name: others MONAI takes as a place in the configuration, or as an order."""
    if key in ("_target_", "_desc_", "_disabled_"):
        return True
    return re.fullmatch(r"(?!_)[\w \-]{1,100}(?<!_)", key) is not None


def _arguments_of(target: Any) -> frozenset[str] | None:
    """The arguments that a harmless class may have; None where the class is not one of them."""
    if not isinstance(target, str):
        return None
    for package, names, arguments in ROOMS:
        bare = target.removeprefix(package)
        if bare in names and (target != bare or package != "torch.nn."):  # a bare name is one of MONAI's
            return arguments
    return None


def _is_plain(text: str, where: str) -> bool:
    argument = where.rpartition("(")[2][:-1].partition(":")[0]
    if argument == "dtype" or argument == "data_type":
        return _DTYPE.fullmatch(text) is not None or text in ("tensor", "numpy")
    if argument in ("device", "sw_device"):
        return _DEVICE.fullmatch(text) is not None
    if argument == "blocks_args_str":  # of EfficientNet: r1_k3_s11_e1_i32_o16_se0.25
        return _POSITIONS.fullmatch(text) is not None
    return _WORD.fullmatch(text) is not None


def _inside(where: str, key: Any) -> str:
    return where if where.endswith(")") else str(key)[:80]
