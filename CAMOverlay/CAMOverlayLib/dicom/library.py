"""pydicom and highdicom, which only DICOM needs: imported when asked for, and kept from saying what they read."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..contract.errors import CAMOverlayError, OutputError, VolumeError


def pydicom() -> Any:
    """Raises VolumeError where it is not installed."""
    return _package("pydicom", "To read a DICOM series", VolumeError)


def highdicom() -> Any:
    """Raises OutputError where it is not installed."""
    package = _package("highdicom", "To write DICOM", OutputError)
    for part in ("pm", "seg", "sc"):
        importlib.import_module(f"highdicom.{part}")
    return package


def is_installed() -> bool:
    """Whether DICOM can be read."""
    return importlib.util.find_spec("pydicom") is not None


def _package(name: str, purpose: str, kind: type[CAMOverlayError]) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        missing = (error.name or name).split(".")[0]
        wanted = "highdicom" if missing in ("pydicom", "highdicom") else f"highdicom {missing}"
        raise kind(
            f"{purpose} the package {missing} is needed, which is not installed for {sys.executable}. Install it there "
            f"(pip install {wanted}; in Slicer pip_install), or convert the series to NIfTI or NRRD."
        ) from error


@contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' warnings, which quote the values that they find odd: a patient's name, a date of birth."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [(logger.disabled, logger) for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.disabled = True
        try:
            yield
        finally:
            for disabled, logger in before:
                logger.disabled = disabled


@contextmanager
def understood(kind: type[CAMOverlayError], what: str) -> Iterator[None]:
    """As :func:`quietly`, where attributes are looked at: pydicom understands each one when it is asked for, and a
    damaged one makes it raise errors of any kind, whose words quote it.

    Raises:
        CAMOverlayError: of this kind; ``what`` is the subject of its sentence.
    """
    with quietly():
        try:
            yield
        except (CAMOverlayError, OSError, MemoryError):
            raise
        except (ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError) as error:
            raise kind(
                f"{what} has attributes that cannot be understood ({type(error).__name__}); it is damaged, or not as "
                "the standard has it. Copy or export it again."
            ) from None
