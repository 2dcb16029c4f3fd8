"""DICOM series made on the spot: any geometry, with a patient whose name must turn up nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

PATIENT = {
    "PatientName": "Zwölfer^Ottokar",
    "PatientID": "PID-QX4711Z-0815",
    "PatientBirthDate": "19330217",
    "AccessionNumber": "ACC90210",
    "StudyID": "STUDY77",
    "InstitutionName": "Spital Hinterwald",
    "ReferringPhysicianName": "Quacksalber^Emil",
    "SeriesDescription": "Thorax Zwoelfer",
    "StudyDescription": "Wg. Frau Zwoelfer",
}
"""What tells who it is."""

IDENTIFYING = ("Zw", "Ottokar", "QX4711Z", "19330217", "ACC90210", "STUDY77", "Hinterwald", "Quacksalber", "Thorax")
"""Parts of it that nothing but the DICOM objects may hold, in any spelling."""

SHAPE = (18, 14, 6)
"""Columns, rows, slices."""


def turned(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array({"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}[axis])


OBLIQUE = turned("x", 17) @ turned("z", -23)

GEOMETRIES = {  # cosines of columns and rows, spacing of rows and columns, step from slice to slice; LPS mm
    "axial": ([1, 0, 0], [0, 1, 0], (0.8, 1.1), [0, 0, 2.5]),
    "sagittal": ([0, 1, 0], [0, 0, -1], (0.9, 0.7), [-3, 0, 0]),
    "oblique": (OBLIQUE[:, 0], OBLIQUE[:, 1], (0.8, 1.1), 2.5 * OBLIQUE[:, 2]),
    "tilted": ([1, 0, 0], turned("x", 18) @ [0, 1, 0], (0.8, 1.1), [0, 0, 2.5]),
    "reversed": ([1, 0, 0], [0, 1, 0], (0.8, 1.1), [0, 0, -2.5]),
    "negated": ([-1, 0, 0], [0, -1, 0], (0.8, 1.1), [0, 0, 2.5]),
    "negated rows": ([1, 0, 0], [0, -1, 0], (0.8, 1.1), [0, 0, 2.5]),
}
ORIGIN = np.array([-31.4, 12.25, 101.5])


def affine_of(name: str) -> np.ndarray:
    """From (column, row, slice as numbered) to RAS mm, computed from what the series is made of and nothing else."""
    columns, rows, (between_rows, between_columns), step = GEOMETRIES[name]
    lps = np.eye(4)
    lps[:3] = np.column_stack([np.array(columns) * between_columns, np.array(rows) * between_rows, step, ORIGIN])
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps


def voxels(shape=SHAPE, seed=5) -> np.ndarray:
    """I×J×K stored values, different everywhere, of 16 bits with a sign."""
    stored = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape) - 400
    i, j, k = np.indices(shape)
    stored += (2000 * np.exp(-((i - 12) ** 2 + (j - 4) ** 2 + 4 * (k - 2) ** 2) / 8)).astype(int)
    return stored.astype(np.int16)


def write_series(
    folder: Path,
    name: str = "axial",
    stored: np.ndarray | None = None,
    slope=1,
    intercept=-1024,
    edit=None,
    number=3,
    syntax=None,
    **attributes,
) -> list[Path]:
    """Write a CT series; ``edit(header, k)`` changes a slice before it is written, and leaves it out by False."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = voxels() if stored is None else stored
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    files = []
    for k in range(stored.shape[2]):
        header = slice_header(name, stored, k, (study, series, frame), number)
        header.RescaleSlope, header.RescaleIntercept = slope, intercept
        for key, value in attributes.items():
            setattr(header, key, value)
        if edit is not None and edit(header, k) is False:
            continue
        if syntax is not None:
            header.compress(syntax)
        files.append(folder / f"IM{(7 * k) % 1009:04d}")  # the names do not tell the order
        header.save_as(files[-1], enforce_file_format=True)
    return files


def slice_header(name: str, stored: np.ndarray, k: int, uids: tuple[str, str, str], number: int) -> Dataset:
    columns, rows, spacing, step = GEOMETRIES[name]
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SpecificCharacterSet = "ISO_IR 100"
    header.SOPClassUID, header.SOPInstanceUID = pydicom.uid.CTImageStorage, generate_uid()
    header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = uids
    for key, value in PATIENT.items():
        setattr(header, key, value)
    header.PatientSex, header.StudyDate, header.StudyTime = "O", "20260102", "101112"
    header.Modality, header.Manufacturer, header.SeriesNumber, header.InstanceNumber = "CT", "Acme", number, k + 1
    header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    header.PositionReferenceIndicator, header.SliceThickness = "", 2.5
    header.ImagePositionPatient = [float(f"{x:.6f}") for x in ORIGIN + k * np.array(step, dtype=float)]
    header.ImageOrientationPatient = [float(f"{x:.10f}") for x in (*columns, *rows)]
    header.PixelSpacing = list(spacing)
    header.Columns, header.Rows = stored.shape[:2]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
    header.PixelRepresentation = int(stored.dtype.kind == "i")
    header.PixelData = np.ascontiguousarray(stored[:, :, k].T).tobytes()
    return header
