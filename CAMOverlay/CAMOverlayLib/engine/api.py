"""What is in memory, explained: any network with any MONAI chain, on a file or an image that was loaded.

from CAMOverlayLib import explain

found = explain(model=network, preprocessing=chain, volume="brain.nii.gz", target=1)
found.heatmap.to_filename("heatmap.nii.gz")     # a nibabel image on the volume's own grid
print(found.result.prediction, found.result.placement.words)
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose, LoadImage, LoadImaged, MapTransform
from torch import nn

from ..contract.errors import PreprocessingError, VolumeError, reason
from ..contract.model import ModelInfo, ModelSource
from ..contract.options import current_names
from ..contract.records import absolute
from ..contract.request import Progress, Request, Result
from ..contract.target import TargetSpec, VolumeFile
from ..contract.whole_files import save_text
from ..report.further_maps import FurtherMap
from ..report.notebook import html_of, widget_of
from ..report.page import write_page
from ..report.shown import Shown
from .bundle.model import Model, is_regression
from .cache import Cache
from .geometry.channels import on_one_grid
from .geometry.volume import Volume, check_volume, forms_note, header_problem, matrix, native
from .network.device import choose_device, device_of
from .pipeline import explain_model
from .progress import Clock


@dataclass(frozen=True, kw_only=True)
class NetworkFacts:
    """What a network in memory does not say of itself, and a bundle's files would.

    Attributes:
        inferer: how the network is applied, such as MONAI's ``SlidingWindowInferer``; None is the whole at once.
        classes: names of the outputs.
        multilabel: every output is a yes or no of its own.
        regression: the outputs are numbers; MONAI's ``Regressor`` is known to be one.
    """

    inferer: Inferer | None = None
    classes: Sequence[str] = ()
    multilabel: bool = False
    regression: bool = False


@dataclass(frozen=True)
class Explanation:
    """A heatmap in memory, and everything that led to it.

    Attributes:
        heatmap: float32 in [0, 1] on the volume's own grid, with its affine.
        result: prediction, target, placement and the rest; its ``heatmap`` names no file.
        volume: what was explained, of several channels the first; the pictures are drawn of it.
        further: what else was asked of every voxel (``also``), by name; label maps hold whole numbers.

    In a notebook it shows itself. Elsewhere::

        found.report("report.html")
        found.view()                # niivue's widget, where ipyniivue is installed
    """

    heatmap: nibabel.Nifti1Image
    result: Result
    volume: Volume
    further: dict[str, nibabel.Nifti1Image] = field(default_factory=dict)

    @property
    def shown(self) -> Shown:
        """Volume and heatmap as the pictures take them."""
        heat, affine = np.asarray(self.heatmap.dataobj), np.asarray(self.volume.affine, dtype=float)
        found = []
        for said in self.result.further:
            values = np.asarray(self.further[said.name].dataobj)
            found.append((FurtherMap.of_labels if said.classes else FurtherMap.on_scale)(said, values))
        return Shown(self.volume.name, self.volume.array, heat, affine, further=tuple(found))

    def _repr_html_(self) -> str:
        return str(html_of(self.result, self.shown))

    def view(self) -> Any:
        """A widget that scrolls through image and heat. Raises CAMOverlayError where ipyniivue is not installed."""
        return widget_of(self.result, self.shown)

    def report(self, path: str | Path, viewer: bool = True) -> Path:
        """Write ``report.html``, complete or not at all; with the viewer where ipyniivue is installed.

        Raises:
            OutputError: it cannot be written.
        """
        return save_text(Path(absolute(path)), write_page(self.result, self.shown, viewer))


def explain(
    model: nn.Module,
    preprocessing: Compose | Callable[[Any], Any] | Sequence[Callable[[Any], Any]],
    volume: Any,
    *,
    target: int | str | TargetSpec | None = None,
    device: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    **settings: Any,
) -> Explanation:
    """Explain what a network makes of a volume.

    Args:
        model: any module from 1×C×spatial to 1×K or 1×K×spatial. It is left as it is: mode, gradients, device.
        preprocessing: a MONAI chain, of arrays or dictionaries. One that does not load files itself gets a loader.
        volume: the path of an image file, a nibabel image, or a pair of array (I×J×K) and affine (4×4, RAS mm); a list
            of these is one a channel.
        target: class by index or name, ``"a-b"``, ``"a@voxel=I,J,K"``, or a ``TargetSpec``; None is the predicted one.
        device: where to run; None is where the network is. On another one a copy of it runs.
        report: called with progress; raising from it ends the run.
        settings: what the network does not say of itself (:class:`NetworkFacts`: ``inferer``, ``classes``,
            ``multilabel``, ``regression``), and how to explain it
            (:class:`CAMOverlayLib.contract.options.Options`: ``layer``, ``method``, ``slices`` …).

    Raises:
        CAMOverlayError: one of its kinds.
    """
    several = volume if isinstance(volume, list) else [volume]
    with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as folder:
        volumes = [read_source(one, number) for number, one in enumerate(several)]
        result = explain_in(
            folder, model, preprocessing, volumes, target=target, device=device, report=report, **settings
        )
        further = {one.name: _image(one.file) for one in result.further}
        files = tuple(absolute(one) if isinstance(one, (str, Path)) else "" for one in several)
        asked = replace(result.provenance, door="python", volumes=files)
        return Explanation(_image(result.heatmap), replace(result, provenance=asked), volumes[0], further)


def _image(file: VolumeFile) -> nibabel.Nifti1Image:
    """An array file in memory: the file may go."""
    array = np.load(file.path)
    return nibabel.Nifti1Image(array, np.array(file.affine), dtype=array.dtype)


def explain_in(
    folder: str,
    model: nn.Module,
    preprocessing: Any,
    volumes: Sequence[Volume],
    *,
    device: str | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    **settings: Any,
) -> Result:
    """The same for volumes that were read, with the heatmap as an array file in a folder.

    Args:
        folder: existing; the caller owns it.
        settings: the target, and those of :func:`explain`.

    Raises:
        CAMOverlayError: one of its kinds.
    """
    facts = NetworkFacts(**{one.name: settings.pop(one.name) for one in fields(NetworkFacts) if one.name in settings})
    network, where = _on_device(model, device)
    described = Model(
        identity=id(model),
        device=str(where),
        folder="",
        info=ModelInfo(type(model).__name__, "", "", None, (), (), tuple(map(str, facts.classes))),
        network=network,
        chain=_with_loader(preprocessing),
        inferer=None if type(facts.inferer) is SimpleInferer else facts.inferer,
        multilabel=facts.multilabel,
        regression=facts.regression or is_regression(model, {}),
    )
    request = Request((), ModelSource(""), folder, device=str(where), **current_names(settings)).absolute()
    clock = Clock(report, request.long_check)
    with clock.stage("volume"):
        on_grid, notes = on_one_grid(volumes)
        notes = (*(note for volume in volumes for note in volume.notes), *notes)
    return explain_model(described, on_grid, request, clock, Cache(), notes)


def _on_device(model: nn.Module, device: str | None) -> tuple[nn.Module, torch.device]:
    here = device_of(model)
    wanted = here if device is None else choose_device(device)
    same = wanted.type == here.type and wanted.index in (None, here.index)
    return (model, here) if same else (copy.deepcopy(model).to(wanted), wanted)


def _with_loader(preprocessing: Any) -> Compose:
    """The chain with a loader in front where it has none.

    Raises:
        PreprocessingError: nothing that could be a chain.
    """
    if isinstance(preprocessing, Compose):
        chain = preprocessing
    else:
        several = preprocessing if isinstance(preprocessing, (list, tuple)) else [preprocessing]
        if not all(callable(one) for one in several):
            raise PreprocessingError(
                f"The preprocessing is a {type(preprocessing).__name__}, not a chain. Give a Compose of MONAI "
                "transforms."
            )
        chain = Compose()
        chain.transforms = tuple(several)
    transforms = list(_leaves(chain.transforms))
    if any(isinstance(t, (LoadImage, LoadImaged)) for t in transforms):
        return chain
    first = next((t for t in transforms if isinstance(t, MapTransform)), None)
    loader = LoadImage(image_only=True) if first is None else LoadImaged(first.keys, image_only=True)
    whole = copy.copy(chain)
    whole.transforms = (loader, *chain.transforms)
    return whole


def _leaves(transforms: Sequence[Any]) -> Iterator[Any]:
    """The transforms, inner chains taken apart. (``Compose`` and its ``flatten`` would seed random ones anew.)"""
    for transform in transforms:
        if isinstance(transform, Compose):
            yield from _leaves(transform.transforms)
        else:
            yield transform


def read_source(source: Any, number: int) -> Volume:
    """A volume from whatever holds one, checked.

    Raises:
        VolumeError: it cannot be read, or is no volume.
    """
    name = f"volume {number + 1}"
    if isinstance(source, (str, Path)):
        try:
            path = Path(source).expanduser()
            source, name = nibabel.load(path), path.name.split(".")[0]
            damage = header_problem(source, path, f"'{path}'")
        except Exception as error:  # nibabel raises many kinds
            raise VolumeError(
                f"'{source}' cannot be read ({reason(error)}). Give an image file, such as .nii.gz."
            ) from error
        if damage:
            raise VolumeError(damage)
    if hasattr(source, "dataobj"):
        try:
            array, affine, notes = np.asarray(source.dataobj), source.affine, forms_note(source, name)
        except Exception as error:  # the voxels are read only now
            raise VolumeError(f"The voxels of '{name}' cannot be read ({reason(error)}). Export it again.") from error
        if array.ndim == 4 and array.shape[3] > 1:
            raise VolumeError(
                f"'{name}' is a series of {array.shape[3]} volumes ({array.shape}); extract one 3-D volume (a time "
                "point "
                "or a channel) and pass that."
            )
        array = array[..., 0, :] if array.ndim == 5 and array.shape[3] == 1 else array  # colour, as NIfTI has it
        array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
    elif isinstance(source, tuple) and len(source) == 2:
        array, affine, notes = np.asarray(source[0]), source[1], ()
    else:
        raise VolumeError(
            f"A {type(source).__name__} is not a volume. Give a path, a nibabel image, or a pair of array and affine."
        )
    volume = Volume(native(array), matrix(affine, name), name, notes)
    check_volume(volume)
    return volume
