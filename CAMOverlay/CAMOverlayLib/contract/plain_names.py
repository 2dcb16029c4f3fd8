"""The names of what was read in MONAI's source and found harmless: its classes, and their arguments.

A class or an argument that is not here needs trust (``plain_parts``), so a name is added only after its source was
read: whether it imports, calls, opens, writes or downloads what an argument names.
"""

from __future__ import annotations


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


NETWORKS = _names(
    """
    AHNet AttentionUnet AutoEncoder AutoencoderKL BasicUNet BasicUNetPlusPlus BasicUnet BasicUnetPlusPlus Classifier
    Critic DAF3D DenseNet DenseNet121 DenseNet169 DenseNet201 DenseNet264 Densenet121 Densenet169 Densenet201
    Densenet264 DiffusionModelUNet Discriminator DynUNet DynUnet EfficientNet EfficientNetBN EfficientNetBNFeatures
    FlexUNet FlexibleUNet FullyConnectedNet Generator HighResNet HoVerNet HoverNet MaskedAutoEncoderViT MedNeXt
    MedNext Quicknat Regressor ResNet ResNetFeatures SENet SENet154 SEResNeXt101 SEResNeXt50 SEResNet101 SEResNet152
    SEResNet50 SegResNet SegResNetDS SegResNetDS2 SegResNetVAE SwinUNETR UNETR UNet Unet VNet VarAutoEncoder
    VarFullyConnectedNet ViT ViTAutoEnc
    """
)
"""Of ``monai.networks.nets``."""

DOWNLOADERS = ("EfficientNetBN", "EfficientNetBNFeatures", "ResNetFeatures")
"""Networks that fetch weights unless they are told ``pretrained: false``."""

LAYERS = _names(
    """
    AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d
    AvgPool1d AvgPool2d AvgPool3d BatchNorm1d BatchNorm2d BatchNorm3d Conv1d Conv2d Conv3d ConvTranspose1d
    ConvTranspose2d ConvTranspose3d Dropout Dropout2d Dropout3d ELU Flatten GELU GroupNorm Hardswish Identity
    InstanceNorm1d InstanceNorm2d InstanceNorm3d LayerNorm LeakyReLU Linear LogSoftmax MaxPool1d MaxPool2d MaxPool3d
    Mish PReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softplus Tanh Unflatten Upsample
    """
)
"""Of ``torch.nn``."""

_NETWORK_ARGUMENTS = _names(
    """
    act act_name activation adapt_standard_resnet add_cross_attention adn_ordering adv_prop align_corners
    attention_levels attn_drop_rate backbone bias bias_downsample block block_config block_inplanes blocks_args_str
    blocks_down blocks_up bn_size bottleneck_expansion_ratio channels class_head classification conv1_t_size
    conv1_t_stride conv_block cross_attention_dim deconv_chns deep_supervision deep_supr_num decoder_bias
    decoder_channels decoder_expansion_ratio depth depth_coefficient depth_divisor depths dilation dim_head dropout
    dropout_cattn dropout_dim dropout_path_rate dropout_prob dropout_prob_down dropout_prob_up dropout_rate
    drop_connect_rate drop_rate dsdepth encoder_expansion_ratio encode_channels decode_channels feature_size
    features feed_forward filters freeze_encoder global_resp_norm growth_rate groups half_res hidden_channels
    hidden_size image_size img_size in_channels in_shape include_fc init_features init_filters inplanes input_3x3
    input_image_size inter_channels inter_dilations interp_mode is_pad kernel_size kernels last_act
    last_conv_kernel_size latent_channels latent_shape latent_size layer_params layers masking_ratio mlp_dim
    mlp_ratio mode model_name n_input_channels no_max_pool norm norm_eps norm_name norm_num_groups norm_type
    normalize np_out_channels num_attention_heads num_blocks num_channels num_classes num_filters num_groups
    num_head_channels num_heads num_inter_units num_layers num_res_blocks num_res_units num_stages out_act
    out_activation out_channels out_classes out_shape output_act patch_norm patch_size pool pooling pos_embed_type
    post_activation pre_conv pretrained progress proj_type psp_block_num qkv_bias reduction res_block
    resblock_updown resolution se_block shortcut_type spatial_dims stem_kernel_size stem_stride stride strides
    stride_conv stride_pool strides_first trans_bias trans_blocks transformer_num_layers up_kernel_size upsample
    upsample_kernel_size upsample_mode upcast_attention use_checkpoint use_checkpointing use_conv_final
    use_flash_attention use_residual_connection use_v2 vae_default_std vae_estimate_std vae_nz widen_factor
    width_coefficient window_size with_conditioning with_decoder_nonlocal_attn with_encoder_nonlocal_attn
    """
)
_LAYER_ARGUMENTS = _names(
    """
    affine align_corners alpha approximate beta bias ceil_mode count_include_pad dilation dim divisor_override
    elementwise_affine end_dim eps groups in_channels in_features init inplace kernel_size lambd mode momentum
    negative_slope normalized_shape num_channels num_features num_groups num_parameters out_channels out_features
    output_padding output_size p padding padding_mode scale_factor size start_dim stride threshold
    track_running_stats unflattened_size
    """
)

_ARRAY_TRANSFORMS = _names(
    """
    Activations AdjustContrast Affine AsChannelLast AsDiscrete BorderPad CastToType CenterScaleCrop
    CenterSpatialCrop ClipIntensityPercentiles ConvertToMultiChannelBasedOnBratsClasses CropForeground
    DistanceTransformEDT DivisiblePad EnsureChannelFirst EnsureType FillHoles Flip ForegroundMask GaussianSharpen
    GaussianSmooth GibbsNoise HistogramNormalize Identity KeepLargestConnectedComponent LabelFilter LabelToContour
    MaskIntensity MedianSmooth NormalizeIntensity Orientation RemoveSmallObjects RepeatChannel Resize
    ResizeWithPadOrCrop Rotate Rotate90 ScaleIntensity ScaleIntensityRange ScaleIntensityRangePercentiles
    ShiftIntensity SobelGradients Spacing SpatialCrop SpatialPad SpatialResample SqueezeDim StdShiftIntensity
    ThresholdIntensity ToDevice ToTensor Transpose Zoom
    """
)
_DICTIONARY_TRANSFORMS = _names(
    """
    ApplyPendingd ConcatItemsd CopyItemsd DeleteItemsd FromMetaTensord SelectItemsd ToMetaTensord
    """
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

_TRANSFORM_ARGUMENTS = _names(
    """
    a_max a_min align_corners allow_missing_keys allow_smaller alpha anti_aliasing anti_aliasing_sigma
    applied_labels approx argmax axcodes b_max b_min channel_dim channel_indices channel_wise channelwise clip
    connectivity const_values constant_values data_type device diagonal diag dim divisor dtype factor fixed_mean
    gamma hist_mask indices independent invert_image invert is_onehot k k_divisible keep_size keys kernel_size
    labels lazy lower margin max_pixdim maxv meta_key_postfix meta_keys method min_pixdim min_size minv mode mask
    mask_data name names nonzero num_bins num_components offset order otsu padding_mode percentiles pixdim
    preserve_range radius recompute_affine relative repeats return_coords retain_stats roi_center roi_end roi_scale
    roi_size roi_slices roi_start rotate_params rounding scale scale_extent scale_params shear_params sigma sigma1
    sigma2 sigmoid sharpness_limits simple_keys size_mode softmax source_key spatial_axes spatial_axis
    spatial_border spatial_size strict_check subtrahend start_coord_key end_coord_key threshold times to_onehot
    track_meta translate_params upper value values wrap_sequence angle zoom above max min
    """
)
_LOADER_ARGUMENTS = _names(
    """
    allow_missing_keys dtype ensure_channel_first image_only keys meta_key_postfix meta_keys overwriting
    prune_meta_sep reader simple_keys
    """
)
INFERERS = _names(
    """
    SimpleInferer SlidingWindowInferer SlidingWindowInfererAdapt SliceInferer
    """
)
_INFERER_ARGUMENTS = _names(
    """
    buffer_dim buffer_steps cache_roi_weight_map cpu_thresh cval device mode overlap padding_mode roi_size
    sigma_scale spatial_dim sw_batch_size sw_device with_coord
    """
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
