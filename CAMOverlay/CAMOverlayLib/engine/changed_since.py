"""What bundles were written for, and this MONAI or this Python no longer has. The bundle's own files stay as they are.

Each case here gives the very same network or image as before; where it would not, the bundle needs the MONAI that it
was made with (in Slicer: *Advanced → Python*), and evaluating it says what is missing.
"""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

from monai.networks import nets

# Arguments of networks that MONAI removed (None) or renamed in 1.5, of which none changes the network.
ARGUMENTS: dict[str, dict[str, str | None]] = {
    "SwinUNETR": {"img_size": None},
    "UNETR": {"pos_embed": "proj_type"},
    "ViT": {"pos_embed": "proj_type"},
    "ViTAutoEnc": {"pos_embed": "proj_type"},
}


def bring_up_to_date(node: Any) -> None:
    """Change a configuration in place, everywhere in it."""
    if isinstance(node, list):
        for value in node:
            bring_up_to_date(value)
    if not isinstance(node, dict):
        return
    name = str(node.get("_target_", "")).rpartition(".")[2]
    if name in ARGUMENTS and str(node["_target_"]) in (name, f"monai.networks.nets.{name}"):
        known = inspect.signature(getattr(nets, name).__init__).parameters
        for old, new in ARGUMENTS[name].items():
            if old in node and old not in known:
                value = node.pop(old)
                if new is not None:
                    node.setdefault(new, value)
    # Volumes come as NIfTI here, which nibabel reads just as ITK does: the same voxels in the same order, RAS.
    if name in ("LoadImage", "LoadImaged") and str(node.get("reader", "")).casefold() == "itkreader":
        if importlib.util.find_spec("itk") is None:
            node["reader"] = "NibabelReader"
    for value in node.values():
        bring_up_to_date(value)
