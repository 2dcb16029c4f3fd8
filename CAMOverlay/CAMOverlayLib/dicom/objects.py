"""What was found, as DICOM objects: a Parametric Map, Segmentations, a Secondary Capture.

Each is made by highdicom from the series' own slices, so that patient, study and frame of reference are theirs, every
frame lies where its slice lies (a tilted gantry included) and says which slice that is. Nothing is resampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..contract.errors import OutputError
from .account import SOFTWARE, Account, plain
from .library import highdicom, pydicom, quietly, understood
from .series import Series

NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "FrameOfReferenceUID")
"""Attributes of the slices without which nothing can refer to them."""

MAY_BE_EMPTY = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
)
"""Attributes that a derived object must have, and may have empty."""

UTF_8 = "ISO_IR 192"
"""A class may be called by any name; the patient's is written anew in the same letters."""


def require_referable(series: Series) -> None:
    """Raise OutputError where highdicom is missing, or the slices cannot be referred to."""
    highdicom()
    with understood(OutputError, f"The DICOM series {series.name}"):
        for header in series.headers:
            missing = [name for name in NEEDED if not str(header.get(name) or "").strip()]
            if missing:
                raise OutputError(
                    f"The DICOM series {series.name} has no {', '.join(missing)}, so nothing can refer to it; export "
                    "it again from its source, or leave out the output as DICOM."
                )
        if len({plane.uid for plane in series.planes}) < len(series.headers):
            raise OutputError(
                f"Slices of the DICOM series {series.name} share a SOP Instance UID, so nothing can refer to one of "
                "them; export it again from its source."
            )


def write_parametric_map(series: Series, heat: np.ndarray, account: Account, file: Path) -> Path:
    """Write heat as a Parametric Map of 32-bit floats, a frame for every slice.

    Args:
        heat: I×J×K, on the series' grid; 0 to 1.

    Raises:
        OutputError: highdicom is missing, or the series lacks what is needed.
    """
    library, codes = highdicom(), pydicom().sr.codedict.codes
    concept = getattr(codes.DCM, account.quantity)
    with quietly():
        mapping = library.pm.RealWorldValueMapping(
            lut_label="HEAT",
            lut_explanation=plain(f"{account.method}: heat of {account.target}"),
            unit=codes.UCUM.NoUnits,
            value_range=(0.0, 1.0),
            slope=1.0,
            intercept=0.0,
            quantity_definition=concept,
        )
        mapping.QuantityDefinitionSequence.extend(_algorithm_items(account))

        def make(**common: Any) -> Any:
            made = library.pm.ParametricMap(
                pixel_array=_frames(series, heat, np.float32),
                real_world_value_mappings=[mapping],
                voi_lut_transformations=[library.VOILUTTransformation(window_center=0.5, window_width=1.0)],
                contains_recognizable_visual_features=False,
                content_label="HEATMAP",
                **common,
            )
            made.ImageComments = account.sentence("Heatmap")
            made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(series.headers[0])]
            _sort_along_normal(made, series)
            return made

        return _save(series, account, make, file, 1, f"Heatmap of {account.target}")


def write_segmentation(
    series: Series,
    labels: np.ndarray,
    names: dict[int, str],
    account: Account,
    file: Path,
    *,
    what: str = "Hot spots",
    colors: dict[int, tuple[float, float, float]] | None = None,
    number: int = 2,
) -> Path:
    """Write a label map as a Segmentation, a binary segment for every name; empty frames are left out.

    Args:
        labels: I×J×K, whole numbers on the series' grid; what has no name is no part of any segment.
        names: of the values of ``labels`` that become segments, whether or not any voxel has them.
        what: what the segments are, in a word for the object's description.
        colors: red, green, blue in [0, 1] by value.
        number: of the object among those of a run, from 1.

    Raises:
        OutputError: highdicom is missing, the series lacks what is needed, or there is no name.
    """
    if not names:
        raise OutputError(f"There are no regions to write as {what.lower()}; lower the threshold.")
    library = highdicom()
    values = sorted(names)
    numbered = np.zeros(max(int(labels.max(initial=0)), max(values)) + 1, np.uint16 if len(values) > 255 else np.uint8)
    numbered[values] = np.arange(1, len(values) + 1)
    with quietly():
        segments = [
            _segment(n, names[value], (colors or {}).get(value), account, hot=what == "Hot spots")
            for n, value in enumerate(values, 1)
        ]

        def make(**common: Any) -> Any:
            return library.seg.Segmentation(
                pixel_array=numbered[_frames(series, labels, labels.dtype)],
                segmentation_type=library.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=segments,
                content_label="SEGMENTATION",
                **common,
            )

        return _save(series, account, make, file, number, what)


def write_picture(series: Series, pixels: np.ndarray, account: Account, file: Path) -> Path:
    """Write a picture as a Secondary Capture that refers to every slice.

    Args:
        pixels: rows × columns × 3, red, green and blue in bytes.

    Raises:
        OutputError: highdicom is missing, or the series lacks what is needed.
    """
    library = highdicom()
    with quietly():

        def make(source_images: Any, content_description: str, contributing_equipment: Any, **common: Any) -> Any:
            common.pop("device_serial_number")
            name, versions = common.pop("manufacturer_model_name"), common.pop("software_versions")
            made = library.sc.SCImage.from_ref_dataset(
                source_images[0],
                pixel_array=np.ascontiguousarray(pixels[..., :3]),
                photometric_interpretation="RGB",
                bits_allocated=8,
                coordinate_system="PATIENT",
                patient_orientation=("L", "P"),
                contributing_equipment=contributing_equipment,
                **common,
            )
            made.ManufacturerModelName, made.SoftwareVersions = name, list(versions)
            made.SecondaryCaptureDeviceManufacturer = SOFTWARE
            made.SecondaryCaptureDeviceSoftwareVersions = [__version__]
            del made.PatientOrientation  # several slices in one picture have none in common
            made.PatientOrientation = None
            made.BurnedInAnnotation, made.ConversionType = "NO", "WSD"
            made.ImageType = ["DERIVED", "SECONDARY"]
            made.DerivationDescription = account.sentence("Picture of a heatmap")
            made.SourceImageSequence = _references(source_images)
            return made

        return _save(series, account, make, file, 3, "Picture of the heatmap")


# What they have in common --------------------------------------------------------------------------------------------


def _save(series: Series, account: Account, make: Any, file: Path, number: int, what: str) -> Path:
    """Make an object and write it.

    Raises:
        OutputError: it cannot be made of this series. What highdicom says is not repeated: it may quote the series.
    """
    library = highdicom()
    require_referable(series)
    try:
        made = make(
            source_images=_sources(series),
            series_instance_uid=library.UID(),
            series_number=_series_number(series, number),
            sop_instance_uid=library.UID(),
            instance_number=1,
            manufacturer=SOFTWARE,
            manufacturer_model_name=SOFTWARE,
            software_versions=account.software(),
            device_serial_number="0",
            content_description=plain(what),
            contributing_equipment=_equipment(account),
            specific_character_set=UTF_8,
        )
        _take_over_body_part(made, series.headers[0])
        if "ContentLabel" in made and "ContentCreatorName" not in made:
            made.ContentCreatorName = None
        made.SeriesDescription = plain(f"{SOFTWARE} {what[0].lower()}{what[1:]}")
        made.save_as(file, enforce_file_format=True)
    except (OutputError, OSError, MemoryError):
        raise
    except Exception as error:  # of many kinds  # noqa: BLE001
        raise OutputError(
            f"'{file.name}' cannot be made of the DICOM series {series.name} ({type(error).__name__}): one of its "
            "attributes is not as the standard has it. Export it again from its source, or leave out the output as "
            "DICOM."
        ) from None
    return file


def _take_over_body_part(made: Any, header: Any) -> None:
    """Which part of the body it is, and which side: of the whole, where its frames say no side of their own."""
    if "BodyPartExamined" in header:
        made.BodyPartExamined = header.BodyPartExamined
    if "SharedFunctionalGroupsSequence" in made:
        return
    if "Laterality" in header or "BodyPartExamined" not in header:
        made.Laterality = header.get("Laterality", "")


def _sort_along_normal(made: Any, series: Series) -> None:
    """Put a map's frames in the order of the slices, from low to high along their normal.

    highdicom writes them from high to low. dcmqi, with which Slicer loads such maps, takes the n-th frame for the n-th
    slice from below, whatever the frame's own position says, and would show the map upside down.
    """
    normal = np.cross(series.planes[0].columns, series.planes[0].rows)
    groups = list(made.PerFrameFunctionalGroupsSequence)
    positions = [np.array(group.PlanePositionSequence[0].ImagePositionPatient, float) for group in groups]
    order = np.argsort([position @ normal for position in positions])
    made.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    for number, group in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        group.FrameContentSequence[0].DimensionIndexValues = number
    frames = np.frombuffer(made.FloatPixelData, np.float32).reshape(len(groups), -1)
    made.FloatPixelData = frames[order].tobytes()


def _anatomy(header: Any) -> Any:
    """Body part and side of a map's frames. dcmqi, and Slicer with it, ends at a map without them."""
    anatomy = pydicom().Dataset()
    anatomy.FrameLaterality = side if (side := header.get("Laterality")) in ("R", "L", "B") else "U"
    unknown = highdicom().sr.CodedConcept("123037004", "SCT", "Anatomical Structure")
    anatomy.AnatomicRegionSequence = list(header.get("AnatomicRegionSequence") or [unknown])[:1]
    return anatomy


def _sources(series: Series) -> list[Any]:
    """The files' attributes, with empty ones where some that may be empty are missing."""
    sources = []
    for header in series.headers:
        if any(name not in header for name in MAY_BE_EMPTY):
            header = header.copy()
            for name in MAY_BE_EMPTY:
                if name not in header:
                    setattr(header, name, "")
        sources.append(header)
    return sources


def _frames(series: Series, array: np.ndarray, kind: Any) -> np.ndarray:
    """An array I×J×K as frames × rows × columns in the order of the source images."""
    if tuple(array.shape) != tuple(series.grid.shape):
        raise OutputError(
            f"What is to be written has {' × '.join(map(str, array.shape))} voxels and the DICOM series "
            f"{' × '.join(map(str, series.grid.shape))}; explain the series itself, not a resampled or cropped volume."
        )
    frames = np.asarray(array).T
    if series.is_multiframe:  # in the order of the file, which need not be that of the places
        frames = frames[np.argsort([plane.frame or 0 for plane in series.planes])]
    return np.ascontiguousarray(frames, dtype=kind)


def _series_number(series: Series, number: int) -> int:
    """Beside the series': 3 gives 301, 302, …"""
    given = int(series.headers[0].get("SeriesNumber") or 0)
    return 100 * given + number if 0 < given < 10**7 else 9000 + number


def _equipment(account: Account) -> list[Any]:
    """The network, beside what acquired the images."""
    library, codes = highdicom(), pydicom().sr.codedict.codes
    words = "; ".join(f"{name} {value}" for name, value in account.model_words().items())
    return [
        library.ContributingEquipment(
            manufacturer=plain(account.model) or "unknown",
            manufacturer_model_name=plain(account.model),
            software_versions=plain(account.model_version or "unknown"),
            purpose_of_reference=codes.DCM.ProcessingEquipment,
            contribution_description=plain(words, 1024),
        )
    ]


def _algorithm_items(account: Account) -> list[Any]:
    """Name, version and parameters of the algorithm as content items (PS3.16 TID 4019)."""
    sr, codes = highdicom().sr, pydicom().sr.codedict.codes
    said = [
        (codes.DCM.AlgorithmName, f"{SOFTWARE} {account.method}"),
        (codes.DCM.AlgorithmVersion, __version__),
        *((codes.DCM.AlgorithmParameters, f"{name}={value}") for name, value in account.parameters().items()),
    ]
    return [sr.TextContentItem(name=name, value=value) for name, value in said]


def _segment(number: int, name: str, color: Any, account: Account, hot: bool) -> Any:
    library, codes = highdicom(), pydicom().sr.codedict.codes
    concept = library.sr.CodedConcept
    if hot:
        category = concept("309825002", "SCT", "Spatial and Relational Concept")
        kind = concept("111030", "DCM", "Image Region")
    else:  # of a class of a network only its name is known
        category = kind = concept.from_code(codes.SCT.Tissue)
    algorithm, version = (
        (f"{SOFTWARE} {account.method}", __version__) if hot else (account.model, account.model_version)
    )
    return library.seg.SegmentDescription(
        segment_number=number,
        segment_label=plain(name) or f"segment {number}",
        segmented_property_category=category,
        segmented_property_type=kind,
        algorithm_type=library.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=library.AlgorithmIdentificationSequence(
            name=plain(algorithm),
            family=codes.DCM.ArtificialIntelligence,
            version=plain(version or "unknown"),
            source=SOFTWARE,
            parameters=account.parameters(),
        ),
        tracking_uid=library.UID(),
        tracking_id=plain(name) or f"segment {number}",
        display_color=None if color is None else _cielab(color),
    )


def _cielab(color: Sequence[float]) -> Any:
    return highdicom().color.CIELabColor.from_rgb(*(round(255 * min(max(float(c), 0), 1)) for c in color))


def _references(images: Sequence[Any]) -> list[Any]:
    """The images that a picture shows, with the purpose that CID 7202 has for it."""
    library, codes = highdicom(), pydicom().sr.codedict.codes
    items = []
    for image in images:
        item = pydicom().Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
        purpose = library.sr.CodedConcept.from_code(codes.DCM.SourceImageForImageProcessingOperation)
        item.PurposeOfReferenceCodeSequence = [purpose]
        items.append(item)
    return items
