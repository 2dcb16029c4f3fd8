"""A Slicer scene wherever the code runs: Slicer's own inside Slicer, the Slicer core from PyPI elsewhere.

Outside Slicer there is no application that makes a scene, colours, slice views and the logics that tie them
together. :func:`ensureScene` makes them once, after which ``slicer.mrmlScene`` and those functions of
``slicer.util`` that need no window work as they do in Slicer's Python console::

    from CAMOverlayLib.scene import core
    core.ensureScene()
    volume = core.loadVolume("brain.nii.gz")
    core.saveScene("brain.mrb")
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from ..contract.errors import CAMOverlayError, OutputError, VolumeError
from ..contract.packed import Packed
from ..contract.records import absolute
from ..contract.whole_files import hidden_folder
from .io import dicom, images_2d, nifti, packed_scene, sheared

SLICE_VIEWS = {"Red": ("R", "Axial"), "Yellow": ("Y", "Sagittal"), "Green": ("G", "Coronal")}
"""Slicer's three slice views: label and orientation of each."""


@dataclass
class _Core:
    """What Slicer's application object would hold: the logics die with the last reference to them."""

    scene: Any
    applicationLogic: Any
    logics: list[Any] = field(default_factory=list)


_core: _Core | None = None


def ensureScene() -> slicer.vtkMRMLScene:
    """The MRML scene. Outside Slicer the first call starts the Slicer core; inside Slicer there is nothing to do."""
    global _core
    if getattr(slicer, "mrmlScene", None) is None:
        atexit.register(_release)  # first: an interrupt may come at any moment from here on
        with vtkMessages():  # the colour logic complains that there is no Slicer home folder with further colour files
            _core = _startCore()
        slicer.mrmlScene = _core.scene
    return slicer.mrmlScene


def _release() -> None:
    """Let go of the scene before Python takes its modules apart in no order, which can end in a crash."""
    global _core
    if (last := getattr(sys, "last_traceback", None)) is not None:
        traceback.clear_frames(last)  # what ended the program still holds what it was working on
    if _core is not None:
        if getattr(slicer, "mrmlScene", None) is _core.scene:
            slicer.mrmlScene = None
        _core = None


def applicationLogic() -> Any:
    """The ``vtkMRMLApplicationLogic`` that knows the slice logics, or None where a host made the scene but none."""
    ensureScene()
    if getattr(slicer, "app", None) is not None:
        return slicer.app.applicationLogic()
    return _core.applicationLogic if _core else None


def _startCore() -> _Core:
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)  # selection and interaction nodes, slice orientation presets
    core = _Core(scene, application)

    def register(name: str, logic: Any) -> Any:
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        application.SetModuleLogic(name, logic)
        core.logics.append(logic)
        return logic

    colors = slicer.vtkSlicerColorLogic()
    application.SetColorLogic(colors)
    register("Colors", colors).AddDefaultColorNodes()
    register("Volumes", slicer.vtkSlicerVolumesLogic())
    register("Sequences", slicer.vtkSlicerSequencesLogic())  # shows the item of a sequence that is chosen
    register("Markups", slicer.vtkSlicerMarkupsLogic())  # without it no scene is saved with its points

    sliceLogics = vtk.vtkCollection()
    application.SetSliceLogics(sliceLogics)
    core.logics.append(sliceLogics)
    for name, (label, orientation) in SLICE_VIEWS.items():
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(scene)
        node = logic.AddSliceNode(name)
        node.SetLayoutLabel(label)
        node.SetOrientation(orientation)
        sliceLogics.AddItem(logic)
    return core


@contextlib.contextmanager
def vtkMessages() -> Iterator[Callable[[], str]]:
    """Keep what VTK, ITK and MRML would write to the standard error, and yield a function that returns it.

    A file of the wrong kind makes a dozen readers complain over hundreds of lines; a user wants the one that matters.
    Inside Slicer the error log is put back afterwards as it was.
    """
    window, before = vtk.vtkStringOutputWindow(), vtk.vtkOutputWindow.GetInstance()
    # VTK's logger writes beside the output window. Its own threshold cannot be read; the cutoff is the nearest to it.
    verbosity = vtk.vtkLogger.GetCurrentVerbosityCutoff()
    vtk.vtkOutputWindow.SetInstance(window)
    vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)
    try:
        yield window.GetOutput
    finally:
        vtk.vtkLogger.SetStderrVerbosity(verbosity)
        vtk.vtkOutputWindow.SetInstance(before)


def loadVolume(path: str | os.PathLike[str]) -> slicer.vtkMRMLScalarVolumeNode:
    """Load an image file of any kind that Slicer reads (NIfTI, NRRD, MetaImage, ...), a PNG, JPEG or BMP picture, or a
    DICOM series: a folder, ``FOLDER#3`` for one of several series of it, a ``DICOMDIR``, or a multi-frame file.

    Returns:
        a scalar volume node, or a vector volume node of three or four numbers per voxel, such as colours.

    Raises:
        VolumeError: no such file, not an image, cut short, 4-D, or a geometry that no volume can have. The scene is
            then as it was.
    """
    path = Path(os.path.expanduser(path))
    if dicom.isSeries(path):
        with vtkMessages():
            series = dicom.loadSeries(path, ensureScene())
        if series is not None:
            return series
    if not os.path.exists(path):
        raise VolumeError(f"{path} does not exist; pass the path of an image file such as brain.nii.gz.")
    if not os.access(path, os.R_OK):
        raise VolumeError(f"{path} cannot be opened for reading; check its permissions.")
    nifti.checkFile(path)

    scene = ensureScene()
    if images_2d.isPhoto(path):
        with vtkMessages():
            return images_2d.loadPhoto(path, scene, _nodeName(path))
    logic = _volumesLogic()
    with vtkMessages() as messages:
        # This file alone: left to itself, the reader stacks single-slice files of like names to one volume.
        options = logic.SingleFile | logic.AutoWindowLevel
        node = logic.AddArchetypeVolume(str(path.resolve()), _nodeName(path), options, None)
        output = messages()
    if node is None:
        raise VolumeError(f"{path} cannot be read as a volume: {_cause(path, output)}")
    try:
        checkVoxels(node, str(path))
    except VolumeError:
        _removeVolume(scene, node)
        raise
    drawable = drawableImage(node.GetImageData())
    if drawable is not node.GetImageData():
        node.SetAndObserveImageData(drawable)
    from ..file_grid import takeGeometry  # which needs this module

    takeGeometry(path, node)
    return node


def drawableImage(image: vtk.vtkImageData) -> vtk.vtkImageData:
    """The image in a voxel type that slices can be drawn of: 64-bit integers become 32-bit ones where all of them fit,
    and doubles elsewhere; any other image is returned as it is.

    Slicer reslices nothing of 64 bits that a double does not hold, and what it draws in its place is memory that
    belongs to something else.
    """
    kinds = (vtk.VTK_LONG, vtk.VTK_UNSIGNED_LONG, vtk.VTK_LONG_LONG, vtk.VTK_UNSIGNED_LONG_LONG, vtk.VTK_ID_TYPE)
    scalars = image.GetPointData().GetScalars()
    if scalars is None or scalars.GetDataType() not in kinds or scalars.GetDataTypeSize() < 8:
        return image
    voxels = numpy_support.vtk_to_numpy(scalars)
    fits = voxels.size > 0 and int(voxels.min()) >= -(1 << 31) and int(voxels.max()) < 1 << 31
    converted = numpy_support.numpy_to_vtk(voxels.astype(np.int32 if fits else np.float64), deep=True)
    converted.SetName(scalars.GetName() or "")
    drawable = vtk.vtkImageData()
    drawable.CopyStructure(image)
    drawable.GetPointData().SetScalars(converted)
    return drawable


def checkVoxels(node: slicer.vtkMRMLVolumeNode, what: str, components: tuple[int, ...] = (1, 3, 4)) -> None:
    """Raise VolumeError unless the node holds a three-dimensional image of so many numbers per voxel."""
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None:
        raise VolumeError(f"{what} has no voxels; load or create its image data first.")
    size = image.GetDimensions()
    if min(size) < 1:
        raise VolumeError(f"{what} has zero size ({' × '.join(map(str, size))} voxels); load it again from its file.")
    found = image.GetNumberOfScalarComponents()
    if found not in components:
        needed = "one is needed" if components == (1,) else "one is needed, or three or four as in a colour image"
        raise VolumeError(
            f"{what} has {found} numbers per voxel (vector, complex or 4-D input) where {needed}; "
            "extract the component or time point to explain, for example with the module Vector to Scalar Volume."
        )


def _volumesLogic() -> Any:
    if hasattr(slicer, "modules") and hasattr(slicer.modules, "volumes"):
        return slicer.modules.volumes.logic()
    application = applicationLogic()
    logic = application.GetModuleLogic("Volumes") if application else None
    if logic is None:
        logic = slicer.vtkSlicerVolumesLogic()
        logic.SetMRMLApplicationLogic(application)
        logic.SetMRMLScene(slicer.mrmlScene)
    return logic


def _nodeName(path: Path) -> str:
    name = path.name
    for ending in (".nii.gz", ".seg.nrrd", path.suffix):
        if ending and name.lower().endswith(ending.lower()):
            return name[: -len(ending)]
    return name


def _cause(path: Path, messages: str) -> str:
    """The sentence that says why, out of everything that the readers wrote, and what to do about it."""
    if "4D image" in messages or "5D image" in messages:
        return "it is a 4-D input (several frames or channels); extract one 3-D volume and pass that."
    if "orthonormal" in messages or nifti.isSheared(path):
        return (
            "its axes are sheared, which Slicer cannot read from an image file; "
            "resample it to a grid with perpendicular axes."
        )
    if "Could not create IO object" in messages or "FileFormatError" in messages:
        return "no reader knows this format, or the file is damaged; convert it to NIfTI-1 (.nii.gz) or NRRD (.nrrd)."
    return "the file is damaged or of an unknown format; convert it to NIfTI-1 (.nii.gz) or NRRD (.nrrd)."


def _removeVolume(scene: slicer.vtkMRMLScene, node: slicer.vtkMRMLVolumeNode) -> None:
    for companion in (node.GetDisplayNode(), node.GetStorageNode(), node):
        if companion is not None:
            scene.RemoveNode(companion)


def saveScene(path: str | os.PathLike[str], before: Sequence[Packed] = ()) -> Path:
    """Save the whole scene with its data as one ``.mrb`` file that Slicer opens.

    The file appears complete or not at all; an existing one is replaced. Where volumes were loaded from is kept.

    Args:
        before: voxels that were packed before, perhaps some of the scene's.

    Raises:
        OutputError: wrong ending, no such folder, not writable, disk full.
    """
    path = Path(absolute(path))  # the scene saves its volumes from another working directory
    if path.suffix != ".mrb":
        raise OutputError(f"The scene cannot be saved as {path.name}; choose a name that ends in .mrb.")
    scene = ensureScene()
    with temporaryFolder(path.parent) as folder:
        raw = folder / "scene"
        raw.mkdir()
        with vtkMessages() as messages, sheared.straightened(scene), packed_scene.savedRaw(scene) as saving:
            written = scene.SaveSceneToSlicerDataBundleDirectory(str(raw))
            output = messages()
        if not written or not any(raw.glob("*.mrml")):
            reason = next((line for line in reversed(output.splitlines()) if line.strip()), "no reason was given")
            raise OutputError(f"The scene cannot be saved as {path}: {reason}. Check the free space of the disk.")
        try:
            packed_scene.packInto(folder / "packed", raw, saving, before)
        except OSError as error:
            raise OutputError(
                f"The scene cannot be saved as {path}: {error.strerror}. Free some disk space."
            ) from error
        os.replace(folder / "packed", path)
    return path


def loadScene(path: str | os.PathLike[str]) -> slicer.vtkMRMLScene:
    """Replace the scene's content by that of an ``.mrb`` file.

    Raises:
        CAMOverlayError: no such file, or not a scene. In these cases the scene is as it was.
    """
    path = Path(os.path.expanduser(path))
    if not path.is_file():
        raise CAMOverlayError(f"{path} does not exist; pass the path of a scene saved as .mrb.")
    if not zipfile.is_zipfile(path):
        raise CAMOverlayError(f"{path} is not a scene, or cut short; pass a scene that was saved as .mrb.")
    scene = ensureScene()
    with contextlib.ExitStack() as stack:
        stack.enter_context(vtkMessages())
        if scene.GetDataIOManager() is None:
            stack.enter_context(_cacheFolder(scene))
        scene.Clear(0)
        read = scene.ReadFromMRB(str(path))
    if not read:
        raise CAMOverlayError(f"{path} cannot be read as a scene; save it again from Slicer.")
    return scene


@contextlib.contextmanager
def _cacheFolder(scene: slicer.vtkMRMLScene) -> Iterator[None]:
    """Give a scene outside Slicer the cache folder in which it unpacks. It must go before the folder does: a cache
    manager makes its folder again when it is destroyed."""
    with tempfile.TemporaryDirectory(prefix="cam-overlay-") as folder:
        files = slicer.vtkDataIOManager()
        files.SetCacheManager(slicer.vtkCacheManager())
        files.GetCacheManager().SetRemoteCacheDirectory(folder)
        scene.SetDataIOManager(files)
        try:
            yield
        finally:
            scene.SetDataIOManager(None)
            del files


@contextlib.contextmanager
def temporaryFolder(parent: Path) -> Iterator[Path]:
    """A folder beside the file to write, so that a finished file moves into place in one step; gone afterwards."""
    if not parent.is_dir():
        raise OutputError(f"The folder {parent} does not exist; create it or choose another one.")
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(hidden_folder(parent))
        except OSError as error:
            raise OutputError(f"Nothing can be written to {parent}: {error.strerror}; choose another folder.") from None
        yield folder
