"""What methods there are: the catalogue that panel, command line and engine read, without torch.

A new method is an entry here, at the place where it is to be offered, and a file of its name in ``engine/methods``.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from .errors import MethodError


@dataclass(frozen=True)
class MethodInfo:
    """What a user is told of a method.

    Attributes:
        name: what a user types, and what the method's file is called.
        title: what a user reads.
        paper: authors, year, address.
        description: in one sentence what the map shows, for a tooltip.
        long: many passes through the network; reports its progress.
    """

    name: str
    title: str
    paper: str
    description: str
    long: bool = False


_ENTRIES = (
    MethodInfo(
        "gradcam",
        "Grad-CAM",
        "Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391",
        "Channels of the layer, each weighted by how much the target rises with it on average; as coarse as the layer.",
    ),
    MethodInfo(
        "refined",
        "Refined (all resolutions)",
        "after Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943, and Refine-CAM, "
        "https://arxiv.org/abs/2605.14641",
        "Product of the maps of all resolutions and of the input, from one pass: sharp, and dark where one "
        "finds nothing.",
    ),
    MethodInfo(
        "refinedsmooth",
        "Refined, input smoothed",
        "refined, with the input's gradient averaged as in Smilkov et al. 2017, https://arxiv.org/abs/1706.03825",
        "The refined map with the input's part averaged over six noisy copies of the image: steadier, and seven times "
        "as long.",
    ),
    MethodInfo(
        "hirescam",
        "HiResCAM",
        "Draelos and Carin 2020, https://arxiv.org/abs/2011.08891",
        "Activation times gradient at every place: what each place adds to the target; also sensible at early layers.",
    ),
    MethodInfo(
        "layercam",
        "LayerCAM",
        "Jiang et al. 2021, https://doi.org/10.1109/TIP.2021.3089943",
        "Activation times positive gradient at every place; fine detail at early layers, object parts at late ones.",
    ),
    MethodInfo(
        "gradcampp",
        "Grad-CAM++",
        "Chattopadhyay et al. 2018, https://arxiv.org/abs/1710.11063",
        "Grad-CAM with weights that let several or small objects of one class count alike.",
    ),
    MethodInfo(
        "xgradcam",
        "XGrad-CAM",
        "Fu et al. 2020, https://arxiv.org/abs/2008.02312",
        "Grad-CAM with each channel's gradient averaged where the channel is active.",
    ),
    MethodInfo(
        "finercam",
        "Finer-CAM",
        "Zhang et al. 2025, https://arxiv.org/abs/2501.11309",
        "Grad-CAM of the target minus 0.6 times the class most like it: what tells the two apart.",
    ),
    MethodInfo(
        "refinecam",
        "RefineCAM",
        "Domeniconi et al. 2026, https://arxiv.org/abs/2605.14641",
        "Product of the Grad-CAM++ maps of all resolutions, each scaled to [0, 1]; as published, without the input.",
    ),
    MethodInfo(
        "saliencytubes",
        "Saliency Tubes",
        "Stergiou et al. 2019, https://arxiv.org/abs/1902.01078",
        "Channels of the layer, each weighted by the last linear layer for the target; needs one, and no gradient.",
    ),
    MethodInfo(
        "eigencam",
        "Eigen-CAM",
        "Muhammad and Yeasin 2020, https://arxiv.org/abs/2008.00299",
        "What the layer's channels have in common; the same map for every class.",
    ),
    MethodInfo(
        "scorecam",
        "Score-CAM",
        "Wang et al. 2020, https://arxiv.org/abs/1910.01279",
        "Channels of the layer, each weighted by what the target becomes if only its places are shown; slow, "
        "no gradient.",
        long=True,
    ),
    MethodInfo(
        "saliency",
        "Saliency",
        "Simonyan et al. 2014, https://arxiv.org/abs/1312.6034",
        "How strongly the target reacts to each voxel of the input, up or down; sharp and noisy.",
    ),
    MethodInfo(
        "smoothgrad",
        "SmoothGrad",
        "Smilkov et al. 2017, https://arxiv.org/abs/1706.03825",
        "Saliency averaged over 25 noisy copies of the input: the same with less noise.",
        long=True,
    ),
    MethodInfo(
        "guidedbackprop",
        "Guided backpropagation",
        "Springenberg et al. 2015, https://arxiv.org/abs/1412.6806",
        "Saliency that only follows what excites; crisp edges, but hardly different from class to class.",
    ),
    MethodInfo(
        "integratedgradients",
        "Integrated gradients",
        "Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365",
        "What each voxel adds to the target on the way from an empty image to this one.",
        long=True,
    ),
    MethodInfo(
        "occlusion",
        "Occlusion sensitivity",
        "Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901",
        "How far the target falls when a box there is faded out; slow, and needs no gradient.",
        long=True,
    ),
)

CATALOGUE: dict[str, MethodInfo] = {entry.name: entry for entry in _ENTRIES}
"""Every method by name, in the order in which they are offered."""


def find_method_info(name: str) -> MethodInfo:
    """The method of this name or title, written any way (``gradcam``, ``Grad-CAM``, ``Grad-CAM++``).

    Raises:
        MethodError: no such method; the message lists those that exist.
    """
    plain = _plain(name)
    for entry in _ENTRIES:
        if plain in (entry.name, _plain(entry.title)):
            return entry
    near = difflib.get_close_matches(plain, CATALOGUE, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise MethodError(f"There is no method '{name}'; there are {', '.join(CATALOGUE)}.{hint}")


def _plain(name: str) -> str:
    return "".join(c for c in name.casefold().replace("++", "pp") if c.isalnum())
