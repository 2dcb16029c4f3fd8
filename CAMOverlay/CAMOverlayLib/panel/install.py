"""What the computation needs in Slicer's Python, and getting it there by Slicer's own means.

Nothing is imported to find out what is missing, nothing happens before the user was told what will be installed and
how large it is, and nothing that Slicer brings itself is ever replaced.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

import slicer
import slicer.util
from slicer.i18n import tr as _

from ..errors import WorkerError
from ..worker.interpreter import find_python, own_python

REQUIREMENTS = Path(__file__).resolve().parents[2] / "Resources" / "requirements.txt"

MEGABYTES = {"torch": 900, "monai": 20, "nibabel": 15, "pyyaml": 5, "einops": 1}
"""About how much space each takes with what it brings along; torch with CUDA, as Linux gets it, far more."""

MEGABYTES_WITH_CUDA = 5000

SLICERS_OWN = ("numpy", "scipy", "SimpleITK", "itk", "vtk", "requests", "packaging", "pip", "setuptools")
"""Packages that other parts of Slicer rely on: they stay as they are, or away if Slicer has them in another form."""


def requirements() -> list[str]:
    """The one list of what the computation needs, as requirement texts."""
    lines = (line.partition("#")[0].strip() for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def nameOf(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]


def missing() -> list[str]:
    """Those of the requirements that Slicer's Python lacks. A package that is there in another version is not touched:
    another extension may need that one."""
    importlib.invalidate_caches()
    return [requirement for requirement in requirements() if not _isInstalled(nameOf(requirement))]


def _isInstalled(name: str) -> bool:
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def usesOwnPython(python: str) -> bool:
    """Whether the Python that the user named, if any, is the one that Slicer installs packages into."""
    try:
        return not python or os.path.samefile(find_python(python), find_python(own_python()))
    except (WorkerError, OSError):
        return False


class Installer:
    """Asks and installs; always on the main thread, from a press of a button.

    Args:
        log: called with what happened, for the log.
    """

    def __init__(self, log: Callable[[str], None] = lambda line: None) -> None:
        self._log = log

    def ensure(self) -> str:
        """Install what is missing; returns an empty text, or why the computation cannot run yet."""
        wanted = missing()
        if not wanted:
            return ""
        if slicer.app.testingEnabled():
            return _("The computation needs {names}. They are not installed during tests.").format(names=_names(wanted))
        if not self._confirm(wanted):
            return _("Nothing was installed. The computation needs {names}.").format(names=_names(wanted))
        while True:
            problem = self._tryOnce(wanted)
            wanted = missing()
            if not wanted:
                return ""
            problem = problem or _("{names} could not be installed.").format(names=_names(wanted))
            self._log(problem)
            if not slicer.util.confirmRetryCloseDisplay(problem, windowTitle=_("CAM Overlay")):
                return problem

    def _confirm(self, wanted: list[str]) -> bool:
        return slicer.util.confirmOkCancelDisplay(question(wanted), windowTitle=_("CAM Overlay"), detailedText="\n".join(wanted))

    def _tryOnce(self, wanted: list[str]) -> str:
        """One attempt; returns what went wrong, if anything."""
        constraints = self._writeConstraints()
        try:
            if any(nameOf(requirement) == "torch" for requirement in wanted) and installTorchByExtension():
                wanted = missing()
            if wanted:
                self._log(_("Installing {names}").format(names=" ".join(wanted)))
                pipInstall(wanted, constraints)
        except CalledProcessError as error:
            return failure(error)
        except Exception as error:
            return _("The installation failed: {error}").format(error=error)
        finally:
            os.unlink(constraints)
        return ""

    @staticmethod
    def _writeConstraints() -> str:
        """Lines for pip's -c that keep everything of Slicer's own as it is."""
        lines = []
        for name in SLICERS_OWN:
            try:
                lines.append(f"{name}=={importlib.metadata.version(name)}")
            except importlib.metadata.PackageNotFoundError:
                # Slicer's VTK is no package that pip knows of; one from PyPI beside it would crash.
                lines.append(f"{name}<0")
        with tempfile.NamedTemporaryFile("w", suffix=".txt", prefix="CAMOverlay-", delete=False, encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
        return file.name


def question(wanted: list[str]) -> str:
    """What will be installed, where, and how large it is."""
    size = sum(MEGABYTES.get(nameOf(requirement).lower(), 10) for requirement in wanted)
    words = _("CAM Overlay computes with {names}, which Slicer's Python lacks.\n\n").format(names=_names(wanted))
    words += _("They will be installed into Slicer's own Python and take about {size}").format(size=_size(size))
    if any(nameOf(requirement) == "torch" for requirement in wanted) and sys.platform.startswith("linux"):
        words += _(" (up to {size} with support for an NVIDIA GPU)").format(size=_size(MEGABYTES_WITH_CUDA))
    return words + _(". Slicer waits until that is done, which takes some minutes. Go on?")


def installTorchByExtension() -> bool:
    """Let the PyTorch extension choose the build that fits this computer's GPU; False where there is no such extension."""
    try:
        import PyTorchUtils
    except ImportError:
        return False
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    return True


def pipInstall(wanted: list[str], constraints: str) -> None:
    """Slicer's own way: ``slicer.packaging`` where this Slicer has it, ``slicer.util.pip_install`` before."""
    if importlib.util.find_spec("slicer.packaging") is not None:
        import slicer.packaging as packaging

        packaging.pip_ensure(
            wanted, constraints=constraints, prompt_install=False, prompt_restart=False, requester="CAM Overlay"
        )
    else:
        with slicer.util.WaitCursor():
            slicer.util.pip_install(["-c", constraints, *wanted])


def failure(error: CalledProcessError) -> str:
    """What a failed pip means for the user."""
    output = " ".join(str(part) for part in (error.output, error.stderr) if part)
    for pattern, words in (
        (r"No space left|not enough space|Errno 28|WinError 112", _("There is not enough space on the disk. Free some and try again.")),
        (r"proxy|\b407\b", _("The network's proxy refused the download. Set HTTPS_PROXY before starting Slicer, and try again.")),
        (
            r"resolution|NewConnection|Max retries|timed out|unreachable|No matching distribution|Could not find a version",
            _("The packages could not be downloaded. Check the network connection and try again."),
        ),
        (r"Permission denied|Access is denied|Errno 13", _("Slicer's Python folder cannot be written to. Install Slicer where you may write, or choose another Python under Advanced.")),
    ):  # fmt: skip
        if re.search(pattern, output, re.IGNORECASE):
            return words
    return _(
        "The installation failed (pip ended with exit code {code}). No network, a proxy or a full disk are the usual "
        "causes; the Python console shows the end of pip's output. Try again, or choose another Python under Advanced."
    ).format(code=error.returncode)


def _names(wanted: list[str]) -> str:
    return ", ".join(nameOf(requirement) for requirement in wanted)


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
