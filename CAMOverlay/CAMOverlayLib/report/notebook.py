"""An explanation in a notebook: a picture always, and niivue's widget where ipyniivue is installed."""

from __future__ import annotations

import base64
import gzip
from typing import Any

from ..contract.errors import CAMOverlayError
from ..contract.request import Result
from .files import montage_of
from .markup import Markup, el, listed
from .shown import Shown
from .viewer import PACKAGE, share_of, small

SIDE = 300
"""Longer side of a slice in a notebook, in pixels."""

MOST = 2
"""Hot spots; the page has more."""

INSTALL = f"The viewer needs the package {PACKAGE}: pip install {PACKAGE}"


def html_of(result: Result, shown: Shown) -> Markup:
    """The slices where the heat is, and the sentences that they are read with."""
    said = result.prediction
    answer = said.name
    if said.activation != "none" and not said.voxels:
        answer += f" ({said.probabilities[said.index]:.1%})"
    words = [
        ("Prediction", answer),
        ("Explained", f"{result.target.name}, {result.method} at {result.layer}"),
        ("Alignment", result.placement.words),
        *(("Warning", one) for one in result.warnings),
    ]
    picture = base64.b64encode(montage_of(result, shown, SIDE, MOST)).decode()
    alt = f"Slices through the hot spots of the evidence for {result.target.name}, heat over the image."
    image = el("img", src=f"data:image/png;base64,{picture}", alt=alt)
    return el("div", image, listed(words), el("p", "obj.view() scrolls through it, obj.report(file) writes the page."))


def widget_of(result: Result, shown: Shown) -> Any:
    """A widget (niivue's) with image and heat, at the hottest voxel; made smaller where they are large.

    Raises:
        CAMOverlayError: ipyniivue is not installed.
    """
    try:
        from ipyniivue import ColormapType, NiiVue, SliceType
    except ImportError as error:
        raise CAMOverlayError(f"{INSTALL}.") from error
    made = small(shown, 8_000_000)  # no mail has to take it
    low, high = shown.shown
    view = NiiVue(is_radiological_convention=True, back_color=(0, 0, 0, 1))
    heat = {
        "name": "heat.nii",
        "data": gzip.decompress(made.heat),
        "colormap": "inferno",
        "opacity": shown.opacity,
        "cal_min": low,
        "cal_max": high,
        "colormap_type": ColormapType.ZERO_TO_MAX_TRANSPARENT_BELOW_MIN,
    }
    grey = dict(zip(("cal_min", "cal_max"), shown.grey_range))
    view.load_volumes([{"name": "image.nii", "data": gzip.decompress(made.image), "colormap": "gray", **grey}, heat])
    view.set_slice_type(SliceType.MULTIPLANAR)
    if result.peak is not None:
        view.scene.crosshair_pos = share_of(shown, made, result.peak)
    return view
