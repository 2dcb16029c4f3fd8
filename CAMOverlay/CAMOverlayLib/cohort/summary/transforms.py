"""A user's affine registration of a volume to the template, as 4×4 from the volume's RAS mm to the template's.

Three forms are read, each with the direction that those who write it mean:

- *a plain text file* of four rows of four numbers: volume RAS mm to template RAS mm, as it stands;
- *an ITK transform file* (``.tfm``, ``.txt``: "#Insight Transform File"), and ANTs' ``0GenericAffine.mat``: in LPS,
  from the fixed image to the moving one. The template was fixed and the volume moving, as for resampling the volume;
  Slicer writes the transform that brings a volume to the template so, too.

``identity`` in place of a path says that the volume lies in the template's space already.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...contract.errors import VolumeError
from ..cases import IDENTITY

LINEAR = ("AffineTransform_double_3_3", "AffineTransform_float_3_3", "MatrixOffsetTransformBase_double_3_3",
          "MatrixOffsetTransformBase_float_3_3")  # fmt: skip
"""ITK's transforms whose parameters are a matrix and a translation."""

MOST = 1 << 20
"""Bytes; an affine has a few hundred."""

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_transform(path: str | Path) -> np.ndarray:
    """4×4 from the volume's RAS mm to the template's.

    Raises:
        VolumeError: there is no such file, it is of no form above, or its matrix cannot be turned round.
    """
    if str(path).strip().casefold() == IDENTITY:
        return np.eye(4)
    file = Path(path)
    try:
        if file.stat().st_size > MOST:
            raise VolumeError(f"The transform '{file}' is of {file.stat().st_size >> 20} MB, and an affine is short.")
        raw = file.read_bytes()
    except OSError as error:
        raise VolumeError(f"The transform '{file}' cannot be read: {error.strerror or error}.") from None
    text = raw.decode("utf-8", "replace")
    if text.lstrip().startswith("#Insight Transform File"):
        return _usable(_from_itk(*_itk_text(text, file), file), file)
    if file.suffix.casefold() == ".mat":
        return _usable(_from_itk(*_ants(file, b"\0" not in raw), file), file)
    return _usable(_plain(text, file), file)


def _plain(text: str, file: Path) -> np.ndarray:
    rows = [line.replace(",", " ").split() for line in text.splitlines() if line.strip() and line.strip()[0] != "#"]
    try:
        matrix = np.array([[float(word) for word in row] for row in rows])
    except ValueError:
        matrix = np.zeros(0)
    if matrix.shape != (4, 4) or not np.allclose(matrix[3], [0, 0, 0, 1]):
        raise VolumeError(
            f"'{file}' is no affine. Give four rows of four numbers, the last 0 0 0 1, or an affine of ITK (.tfm)."
        )
    return matrix


def _itk_text(text: str, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Parameters and centre."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, colon, rest = line.partition(":")
        if colon and not line.startswith("#"):
            said.setdefault(name.strip(), []).append(rest.strip())
    kinds = [kind.partition(" ")[0] for kind in said.get("Transform", [])]
    if len(kinds) != 1 or kinds[0] not in LINEAR:
        raise VolumeError(
            f"'{file}' holds {', '.join(kinds)[:120] or 'no transform'}, and one affine is needed: {LINEAR[0]}. Harden "
            "or compose what you have to one affine."
        )
    try:
        numbers = [np.array(said[name][0].split(), float) for name in ("Parameters", "FixedParameters")]
    except (KeyError, ValueError):
        numbers = [np.zeros(0)] * 2
    return numbers[0], numbers[1]


def _ants(file: Path, is_text: bool) -> tuple[np.ndarray, np.ndarray]:
    """Of the binary file that ANTs writes."""
    if is_text:
        raise VolumeError(
            f"'{file}' looks like a matrix of FSL, which counts in its own coordinates of both images. Convert it "
            "(c3d_affine_tool -ref TEMPLATE -src VOLUME MATRIX -fsl2ras -oitk OUT.tfm)."
        )
    from scipy.io import loadmat

    try:
        found = loadmat(file)
    except Exception as error:  # of many kinds, as damaged files are  # noqa: BLE001
        raise VolumeError(f"'{file}' is no affine of ANTs: {error}.") from None
    parameters = next((found[name] for name in LINEAR if name in found), np.zeros(0))
    return np.ravel(parameters), np.ravel(found.get("fixed", np.zeros(0)))


def _from_itk(parameters: np.ndarray, centre: np.ndarray, file: Path) -> np.ndarray:
    """Y = A (x − c) + t + c, in LPS, from the template to the volume; turned round, in RAS."""
    if parameters.size != 12 or centre.size != 3:
        raise VolumeError(f"'{file}' has {parameters.size} parameters and {centre.size} of a centre, not 12 and 3.")
    matrix = np.eye(4)
    matrix[:3, :3] = parameters[:9].reshape(3, 3)
    matrix[:3, 3] = parameters[9:] + centre - matrix[:3, :3] @ centre
    to_volume = _LPS @ _usable(matrix, file) @ _LPS
    return np.linalg.inv(to_volume)


def _usable(matrix: np.ndarray, file: Path) -> np.ndarray:
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise VolumeError(f"The affine in '{file}' maps to no volume: it cannot be turned round.")
    return matrix
