"""What each method shows and where it was published, as tooltips; a test compares them with the engine's own."""

METHOD_TIPS = {
    "gradcam": (
        "Channels of the layer, each weighted by how much the target rises with it on average; as coarse as the layer.",
        "Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391",
    ),
    "refined": (
        "Product of the maps of all resolutions and of the input, from one pass: sharp, and dark where "
        "one finds nothing.",
        "after Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943, and Refine-CAM, "
        "https://arxiv.org/abs/2605.14641",
    ),
    "hirescam": (
        "Activation times gradient at every place: what each place adds to the target; also sensible at early layers.",
        "Draelos and Carin 2020, https://arxiv.org/abs/2011.08891",
    ),
    "layercam": (
        "Activation times positive gradient at every place; fine detail at early layers, object parts at late ones.",
        "Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943",
    ),
    "gradcampp": (
        "Grad-CAM with weights that let several or small objects of one class count alike.",
        "Chattopadhyay et al. 2018, https://arxiv.org/abs/1710.11063",
    ),
    "xgradcam": (
        "Grad-CAM with each channel's gradient averaged where the channel is active.",
        "Fu et al. 2020, https://arxiv.org/abs/2008.02312",
    ),
    "finercam": (
        "Grad-CAM of the target minus 0.6 times the class most like it: what tells the two apart.",
        "Zhang et al. 2025, https://arxiv.org/abs/2501.11309",
    ),
    "eigencam": (
        "What the layer's channels have in common; the same map for every class.",
        "Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299",
    ),
    "scorecam": (
        "Channels of the layer, each weighted by what the target becomes if only its places are shown; "
        "slow, no gradient.",
        "Wang et al. 2020, https://arxiv.org/abs/1910.01279",
    ),
    "saliency": (
        "How strongly the target reacts to each voxel of the input, up or down; sharp and noisy.",
        "Simonyan et al. 2014, https://arxiv.org/abs/1312.6034",
    ),
    "smoothgrad": (
        "Saliency averaged over 25 noisy copies of the input: the same with less noise.",
        "Smilkov et al. 2017, https://arxiv.org/abs/1706.03825",
    ),
    "guidedbackprop": (
        "Saliency that only follows what excites; crisp edges, but hardly different from class to class.",
        "Springenberg et al. 2015, https://arxiv.org/abs/1412.6806",
    ),
    "integratedgradients": (
        "What each voxel adds to the target on the way from an empty image to this one.",
        "Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365",
    ),
    "occlusion": (
        "How far the target falls when a box there is faded out; slow, and needs no gradient.",
        "Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901",
    ),
}
"""Description and paper of every method by name; the engine's own cannot be imported where there is no torch."""
