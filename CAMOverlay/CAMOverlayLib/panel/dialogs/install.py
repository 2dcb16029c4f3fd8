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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from ...contract.errors import WorkerError
from ...worker.interpreter import find_python, own_python

RESOURCES = Path(__file__).resolve().parents[3] / "Resources"
REQUIREMENTS = RESOURCES / "requirements.txt"
ALONE = RESOURCES / "requirements-alone.txt"
"""What is installed without what it names besides."""

MEGABYTES = {
    "torch": 900,
    "monai": 20,
    "nibabel": 15,
    "pyyaml": 5,
    "einops": 1,
    "dynamic-network-architectures": 1,
    "safetensors": 2,
}
"""About how much space each takes with what it brings along; torch with CUDA, as Linux gets it, far more."""

MEGABYTES_WITH_CUDA = 5000

KEPT = ("numpy", "scipy", "requests", "pydicom", "highdicom", "Pillow")
"""Packages that Slicer and other extensions have loaded or rely on: they stay as they are. What only installs packages
(pip, setuptools, packaging) may change: torch needs a newer setuptools than some Slicers bring."""

BUILT_IN = ("vtk", "itk", "SimpleITK")
"""Libraries that Slicer may hold in a form that pip does not know; one from PyPI beside it would crash."""

INSTALLED_KEY = "CAMOverlay/Installed"
"""Setting with the names of what was installed from here, so that it can be removed again."""


def requirements() -> list[str]:
    """The one list of what the computation needs, as requirement texts."""
    return [*_listed(REQUIREMENTS), *_listed(ALONE)]


def _listed(file: Path) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def nameOf(requirement: str) -> str:
    return re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]


def missing() -> list[str]:
    """Those of the requirements that Slicer's Python lacks or has in a version that is too old."""
    importlib.invalidate_caches()
    return [requirement for requirement in requirements() if not _isMet(requirement)]


def _isMet(requirement: str) -> bool:
    """Whether a package is there and no older than asked. A newer one is never taken back, whatever the pin says:
    another extension may need it."""
    version = versionOf(nameOf(requirement))
    if version is None:
        return False
    asked = re.findall(r"(>=|==|~=)\s*([\w.!+]+)", requirement.partition(";")[0])
    return all(_numbers(version) >= _numbers(lowest) for _sign, lowest in asked)


def versionOf(name: str) -> str | None:
    """The version of a package in Slicer's Python, or None where it is missing or its files are damaged."""
    try:
        return importlib.metadata.version(name) or None
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """``2.10.0+cpu`` as numbers without trailing zeros, so that 2.10 is newer than 2.9 and the same as 2.10.0."""
    numbers = [int(part) for part in re.match(r"[\d.]*", version)[0].split(".") if part]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


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
        return slicer.util.confirmOkCancelDisplay(
            question(wanted), windowTitle=_("CAM Overlay"), detailedText="\n".join(wanted)
        )

    def _tryOnce(self, wanted: list[str]) -> str:
        """One attempt; returns what went wrong, if anything."""
        constraints = self._writeConstraints()
        before = _packages()
        try:
            if any(nameOf(requirement) == "torch" for requirement in wanted) and installTorchByExtension():
                wanted = missing()
            if wanted:
                self._log(_("Installing {names}").format(names=" ".join(wanted)))
                pipInstall(wanted, constraints, self._log)
        except CalledProcessError as error:
            return failure(error)
        except Exception as error:  # noqa: BLE001
            return _("The installation failed: {error}").format(error=error)
        finally:
            os.unlink(constraints)
            _remember(_packages() - before)
        return ""

    @staticmethod
    def _writeConstraints() -> str:
        """Lines for pip's -c that keep what must not change."""
        lines = [f"{name}=={version}" for name in (*KEPT, *BUILT_IN) if (version := versionOf(name))]
        lines += [f"{name}<0" for name in BUILT_IN if versionOf(name) is None]
        with tempfile.NamedTemporaryFile(
            "w", suffix=".txt", prefix="CAMOverlay-", delete=False, encoding="utf-8"
        ) as file:
            file.write("\n".join(lines) + "\n")
        return file.name

    def remove(self) -> str:
        """Take away what was installed from here, after asking; returns what came of it in words."""
        names = removable()
        if not names:
            return _("Nothing was installed by CAM Overlay that could be removed.")
        words = _(
            "Remove {names} from Slicer's own Python? Other extensions that use them will install them again or fail. "
            "Bundles and results stay."
        ).format(names=", ".join(names[:6]) + (", …" if len(names) > 6 else ""))
        if not slicer.util.confirmOkCancelDisplay(words, windowTitle=_("CAM Overlay"), detailedText="\n".join(names)):
            return _("Nothing was removed.")
        try:
            with slicer.util.WaitCursor():
                pipUninstall(names)
        except CalledProcessError as error:
            return _("The packages could not be removed: {reason}").format(reason=_lastWords(error) or error)
        importlib.invalidate_caches()
        _settings().setValue(INSTALLED_KEY, [name for name in names if versionOf(name)])
        return _("{count} packages were removed. Restart Slicer before you install them again.").format(
            count=len(names)
        )


def removable() -> list[str]:
    """The packages that were installed from here and are still there."""
    stored = _settings().value(INSTALLED_KEY) or ()
    names = (stored,) if isinstance(stored, str) else tuple(stored)
    return sorted(name for name in names if versionOf(name))


def _remember(names: set[str]) -> None:
    if names:
        _settings().setValue(INSTALLED_KEY, sorted({*removable(), *names}))


def _packages() -> set[str]:
    """The names of all packages in Slicer's Python."""
    importlib.invalidate_caches()
    return {name for each in importlib.metadata.distributions() if (name := each.metadata["Name"])}


def _settings() -> Any:
    return slicer.app.userSettings()


def question(wanted: list[str]) -> str:
    """What will be installed, where, and how large it is."""
    size = sum(MEGABYTES.get(nameOf(requirement).lower(), 10) for requirement in wanted)
    old = [f"{nameOf(r)} {versionOf(nameOf(r))}" for r in wanted if versionOf(nameOf(r))]
    words = _("CAM Overlay computes with {names}, which Slicer's Python lacks.\n\n").format(names=_names(wanted))
    if old:
        words += _("Too old and replaced by a newer version: {old}.\n\n").format(old=", ".join(old))
    words += _("They will be installed into Slicer's own Python and take about {size}").format(size=_size(size))
    if any(nameOf(requirement) == "torch" for requirement in wanted) and sys.platform.startswith("linux"):
        words += _(" (up to {size} with support for an NVIDIA GPU)").format(size=_size(MEGABYTES_WITH_CUDA))
    return words + _(". Slicer waits until that is done, which takes some minutes. Go on?")


def installTorchByExtension() -> bool:
    """Let the PyTorch extension choose the build that fits this computer's GPU; False where there is no such
    extension."""
    try:
        import PyTorchUtils
    except ImportError:
        return False
    PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False)
    return True


def pipInstall(wanted: list[str], constraints: str, log: Callable[[str], None]) -> None:
    """Slicer's own way: ``slicer.packaging`` where this Slicer has it, ``slicer.util.pip_install`` before.

    Slicer's blocking way would show a window of its own for a failure and then raise an error without pip's output.
    So pip runs beside, its words are kept, and the one window is ours.

    Raises:
        CalledProcessError: pip failed; ``output`` is what it said.
    """
    listed = _listed(ALONE)
    alone = [one for one in wanted if one in listed]
    others = [one for one in wanted if one not in listed]
    if importlib.util.find_spec("slicer.packaging") is None:
        with slicer.util.WaitCursor():
            if others:
                slicer.util.pip_install(["-c", constraints, *others])
            if alone:
                slicer.util.pip_install(["-c", constraints, "--no-deps", *alone])
        return
    import slicer.packaging as packaging

    lines: list[str] = []
    ended: list[int] = []
    window = _progressWindow(wanted)

    def onLine(line: str) -> None:
        lines.append(str(line))
        log(str(line))
        window.labelText = str(line).strip()[:90] or window.labelText

    try:
        packaging.pip_install(
            others or ["--no-deps", *alone],  # pip wants at least one
            constraints,
            no_deps_requirements=(alone or None) if others else None,
            blocking=False,
            show_progress=False,
            logCallback=onLine,
            completedCallback=ended.append,
        )
        while not ended:
            slicer.app.processEvents()
            time.sleep(0.01)  # and not a timer: the thread that reads pip's output moves only while Python waits
    finally:
        window.close()
        window.deleteLater()
    if ended[0] != 0:
        raise CalledProcessError(ended[0], ["pip", "install", *wanted], output="\n".join(lines))


def _progressWindow(wanted: list[str]) -> Any:
    """The one window of an installation; it cannot be cancelled, since half a package is worse than none."""
    window = qt.QProgressDialog(slicer.util.mainWindow())
    window.windowTitle = _("CAM Overlay")
    window.setWindowModality(qt.Qt.WindowModal)
    window.setCancelButton(None)
    window.minimumDuration = 0
    window.setRange(0, 0)
    window.labelText = _("Installing {names} …").format(names=_names(wanted))
    window.show()
    return window


def pipUninstall(names: list[str]) -> None:
    if importlib.util.find_spec("slicer.packaging") is not None:
        import slicer.packaging as packaging

        packaging.pip_uninstall(names)
    else:
        slicer.util.pip_uninstall(names)


def failure(error: CalledProcessError) -> str:
    """What a failed pip means for the user, from its own words; the first cause that fits."""
    output = _outputOf(error)
    for pattern, words in _causes(output):
        if re.search(pattern, output, re.IGNORECASE):
            return words
    if last := _lastWords(error):
        return _("The installation failed: {reason} Try again, or choose another Python under Advanced.").format(
            reason=last if last.endswith(".") else f"{last}."
        )
    return _(
        "The installation failed (pip ended with exit code {code}). No network, a proxy or a full disk are the usual "
        "causes; the Python console shows the end of pip's output. Try again, or choose another Python under Advanced."
    ).format(code=error.returncode)


def _causes(output: str) -> Iterator[tuple[str, str]]:
    """What pip writes for each cause, as a pattern, and what that means."""
    yield (
        r"(?-i:ResolutionImpossible|conflicting dependencies|conflict is caused by)",
        _(
            "pip found no versions that fit together with what this Slicer brings{conflict}. Update Slicer, or choose "
            "another Python under Advanced."
        ).format(conflict=_conflict(output)),
    )
    yield (
        r"No space left|not enough space|Errno 28|WinError 112",
        _("There is not enough space on the disk. Free some and try again."),
    )
    yield from _networkCauses()
    yield (
        r"No matching distribution|Could not find a version|Requires-Python",
        _(
            "There is no build of {names} for this Slicer's Python {python} on this system. Choose another "
            "Python under Advanced."
        ).format(names=_unfound(output), python=".".join(map(str, sys.version_info[:2]))),
    )
    yield (
        r"Permission denied|Access is denied|Errno 13|WinError 5\b",
        _(
            "Slicer's Python folder cannot be written to. Install Slicer where you may write, or choose another "
            "Python under Advanced."
        ),
    )


def _networkCauses() -> Iterator[tuple[str, str]]:
    yield (
        r"ProxyError|proxy|\b407\b",
        _("The network's proxy refused the download. Set HTTPS_PROXY before starting Slicer, and try again."),
    )
    yield (
        r"CERTIFICATE_VERIFY_FAILED|SSLError",
        _(
            "The server's certificate is not accepted, as where a network reads along. Set PIP_CERT to your "
            "network's certificate, and try again."
        ),
    )
    yield (
        r"name resolution|NewConnection|Max retries|ConnectTimeout|timed out|unreachable|ConnectionError|getaddrinfo",
        _("The packages could not be downloaded. Check the network connection and try again."),
    )


def _outputOf(error: CalledProcessError) -> str:
    parts = (error.output, error.stderr)
    return "\n".join(part.decode(errors="replace") if isinstance(part, bytes) else str(part) for part in parts if part)


def _conflict(output: str) -> str:
    """The lines in which pip names who wants what, in one line."""
    _before, _mark, after = output.partition("The conflict is caused by:")
    lines = []
    for line in after.strip().splitlines():
        if not line.strip():
            break
        lines.append(line.strip())
    return f" ({'; '.join(lines[:3])})" if lines else ""


def _unfound(output: str) -> str:
    found = re.search(r"(?:No matching distribution found for|satisfies the requirement) ([\w.\-]+)", output)
    return found[1] if found else _("the packages")


def _lastWords(error: CalledProcessError) -> str:
    """Pip's own last error."""
    lines = [line.strip() for line in _outputOf(error).splitlines() if line.strip().startswith("ERROR:")]
    return lines[-1].removeprefix("ERROR:").strip()[:200] if lines else ""


def _names(wanted: list[str]) -> str:
    return ", ".join(nameOf(requirement) for requirement in wanted)


def _size(megabytes: int) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes >= 1000 else f"{megabytes} MB"
