"""How to explain: one record that every door fills and the engine reads.

The command line makes its options from the fields here, the Python console and notebooks pass them by name, the panel
fills those that it has rows for. A new option is a field here and the place that reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from typing import Any

from .errors import MethodError
from .findings import Threshold
from .records import JsonRecord, made_plain
from .target import StructureFile

INTERPOLATIONS = ("linear", "nearest")
CHECKS = ("none", "quick", "full")
ALSO = ("prediction", "probability", "entropy", "disagreement")


def _option(default: Any, help: str, *, flag: str = "", choices: tuple[str, ...] = (), metavar: str = "") -> Any:
    """A field with what the command line says of it.

    Args:
        flag: its name there, where that is not the field's.
    """
    return field(default=default, metadata={"help": help, "flag": flag, "choices": choices, "metavar": metavar})


@dataclass(frozen=True, kw_only=True)
class Options(JsonRecord):
    """Everything that can be chosen about an explanation but what is explained.

    Attributes:
        layer: name of the layer as in ``named_modules()``, or None for the automatic choice.
        method: registered name of the method.
        device: ``auto``, ``cpu`` or ``cuda``.
        slices: of a 2-D network, the orientation in which the volume is cut into pictures: ``axial``, ``coronal`` or
            ``sagittal``; None takes a volume of one slice as it is, and cuts any other axially.
        inverse: ``auto`` (one resampling where the voxels bear it out, else the saved operations), ``affine`` or
            ``operations`` to force one.
        verify: compute both inverses and report how far apart they are.
        interpolation: ``linear`` between activations, or ``nearest``: one block per activation.
        amp: run the network in automatic mixed precision, where the device is faster so.
        findings_threshold: from where on heat is a hot spot, as :meth:`Threshold.of` reads it.
        structures: masks and label maps of whose structures the heat is asked; also paths, as :meth:`StructureFile.of`
            reads them.
        occlude_structures: take every structure out of the image, its voxels replaced by their surroundings, and say by
            how much the answer falls: one more forward pass for each.
        channel_shares: of a network with several input channels, compute what share of the evidence each has: one more
            forward and backward pass.
        checks: whether the map can be believed: ``none`` asks nothing, ``quick`` two things at most half as dear as
            the map, ``full`` all four, which also leaves the map of the deviation.
        also: what else of :data:`ALSO` is wanted of every voxel, from the same run; names, or several in one text with
            commas between them. Of a name with a question mark behind it nothing is said where this network cannot give
            it.
        intermediates_folder: existing folder for every step's intermediate volume, forward and backward, or None.
    """

    layer: str | None = _option(None, "layer to explain at (default: chosen; see inspect)", metavar="NAME")
    method: str = _option("gradcam", "method (default: %(default)s; see inspect)", metavar="NAME")
    device: str = _option("auto", "where the network runs (default: %(default)s)", metavar="auto|cpu|cuda")
    slices: str | None = _option(
        None,
        "2-D network: how the volume is cut into pictures (default: axial; a single slice as it is)",
        choices=("axial", "coronal", "sagittal"),
    )
    inverse: str = _option(
        "auto",
        "way back: one resampling, or the saved operations replayed (default: the first where the voxels allow)",
        choices=("auto", "affine", "operations"),
    )
    verify: bool = _option(False, "go back both ways and report how far apart they are")
    interpolation: str = _option(
        "linear",
        "between activations; nearest shows one block per activation (default: %(default)s)",
        choices=INTERPOLATIONS,
    )
    amp: bool = _option(False, "automatic mixed precision: faster on a GPU, a little less exact")
    findings_threshold: str = _option(
        "0.5",
        "what is a hot spot: heat from 0 to 1, a percentile (95%%), or the hottest that hold a share of all heat "
        "(share=0.5) (default: %(default)s)",
        flag="threshold",
        metavar="T",
    )
    structures: tuple[StructureFile | str, ...] = _option(
        (),
        "mask or label map to compare the heat with, on any grid; several times for several; names of its values, "
        "ascending, may stand before it: liver,spleen=FILE",
        metavar="FILE",
    )
    occlude_structures: bool = _option(
        False, "take each structure out of the image and say by how much the answer falls; a forward pass each"
    )
    channel_shares: bool = _option(False, "say what share of the evidence each input channel has; another pass")
    checks: str = _option(
        "quick",
        "can the map be believed: two quick checks beside it, or all four (default: %(default)s)",
        choices=CHECKS,
    )
    also: tuple[str, ...] = _option(
        (),
        "what else to write of every voxel, as NAME.nii.gz: " + ", ".join(ALSO) + "; with commas for several",
        metavar="NAMES",
    )
    intermediates_folder: str | None = _option(
        None,
        "write every step's volume, forward and backward, into this folder",
        flag="save-intermediates",
        metavar="DIR",
    )

    def __post_init__(self) -> None:
        """Raises TargetError where a structure is no file."""
        given = self.structures
        several = given if isinstance(given, (list, tuple)) else () if given is None else (given,)
        object.__setattr__(self, "structures", tuple(map(StructureFile.of, several)))
        object.__setattr__(self, "findings_threshold", str(self.findings_threshold))
        object.__setattr__(self, "also", _names(self.also))
        made_plain(self)

    @property
    def threshold(self) -> Threshold:
        """Raises MethodError where that is none."""
        return Threshold.of(self.findings_threshold)

    @property
    def long_check(self) -> bool:
        """Whether far more is asked of the map than making it takes."""
        return self.checks == "full" or self.occlude_structures

    @property
    def wanted(self) -> tuple[str, ...]:
        """What else is wanted, in the order of :data:`ALSO`, with question marks where they were given. Raises
        MethodError where one is unknown."""
        also = self.also if isinstance(self.also, tuple) else (self.also,)
        if unknown := [name for name in also if str(name).removesuffix("?") not in ALSO]:
            raise MethodError(
                f"There is no '{str(unknown[0])[:60]}' to compute beside the heatmap; choose from {', '.join(ALSO)}.",
                setting="also",
            )
        return tuple(name if name in also else f"{name}?" for name in ALSO if name in also or f"{name}?" in also)

    @property
    def nearest(self) -> bool:
        """Raises MethodError where there is no such interpolation."""
        if self.interpolation not in INTERPOLATIONS:
            raise MethodError(f"There is no interpolation '{self.interpolation}'; choose linear or nearest.")
        return self.interpolation == "nearest"

    @classmethod
    def _migrated(cls, values: dict[str, Any]) -> dict[str, Any]:
        return current_names(values)


def _names(given: Any) -> Any:
    """Names one by one, of a text or several that may hold commas; anything else is left for the record to refuse."""
    several = (given,) if isinstance(given, str) else () if given is None else given
    if not isinstance(several, (list, tuple)) or not all(isinstance(one, str) for one in several):
        return several
    return tuple(dict.fromkeys(name.strip() for one in several for name in one.split(",") if name.strip()))


FORMER_NAMES = {"mixed": "amp", "trail_folder": "intermediates_folder", "trailFolder": "intermediates_folder"}
"""What options were called once. These names keep working in Python and in saved requests, and their flags on the
command line (``cli/options.py``). ``blocks=True`` was ``interpolation="nearest"``."""

SLICER_NAMES = {
    "intermediatesFolder": "intermediates_folder",
    "findingsThreshold": "findings_threshold",
    "occludeStructures": "occlude_structures",
    "channelShares": "channel_shares",
}
"""The options whose names Slicer would write otherwise."""


def current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by their names of today, whatever they are called in ``values``.

    >>> current_names({"mixed": True, "blocks": True, "layer": "encoder"})
    {'interpolation': 'nearest', 'amp': True, 'layer': 'encoder'}
    """
    now = FORMER_NAMES | SLICER_NAMES
    named = {now.get(name, name): value for name, value in values.items() if name != "blocks"}
    return {"interpolation": "nearest" if values["blocks"] else "linear"} | named if "blocks" in values else named


def option_fields() -> tuple[Field[Any], ...]:
    """Those that the command line makes its options from."""
    return tuple(one for one in fields(Options) if "help" in one.metadata)
