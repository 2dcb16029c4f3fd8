"""Installing Python packages, with nothing installed: `index` says what would happen.

    import slicer.packaging
    slicer.packaging.index.available["monai"] = "1.6.1"     # what the next installation brings
    slicer.packaging.index.error = "No space left on device"  # or how it fails
    slicer.packaging.index.installed                          # what was asked for

The functions have the signatures of Slicer's and the same answers: a dialog that can be declined
(RuntimeError), CalledProcessError when pip fails, nothing at all under `--testing`.
"""

import importlib.metadata
import logging
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

__all__ = ["isPipInstallInProgress", "load_pyproject_dependencies", "load_requirements", "pip_check", "pip_ensure", "pip_install", "pip_uninstall"]  # fmt: skip


class Index:
    """The package index that a test plays."""

    def __init__(self) -> None:
        self.available: dict[str, str] = {}
        self.hidden: set[str] = set()
        self.installed: list[list[str]] = []
        self.error: str | None = None
        self.onInstall: Callable[[list[str]], None] | None = None

    def versionOf(self, name: str) -> str | None:
        """The version that counts as installed: what was "installed" here before what really is."""
        name = canonicalize_name(name)
        if name in self._brought:
            return self._brought[name]
        if name in {canonicalize_name(hidden) for hidden in self.hidden}:
            return None
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            return None

    @property
    def _brought(self) -> dict[str, str]:
        asked = {canonicalize_name(Requirement(r).name) for call in self.installed for r in call if not r.startswith("-")}
        return {canonicalize_name(n): v for n, v in self.available.items() if canonicalize_name(n) in asked}

    def install(self, requirements: list[str]) -> None:
        if self.error is not None:
            raise CalledProcessError(1, ["pip", "install", *requirements], output=self.error)
        if self.onInstall:
            self.onInstall(requirements)
        self.installed.append(requirements)


index = Index()
_inProgress = False


def isPipInstallInProgress() -> bool:
    return _inProgress


def load_requirements(path: "str | Path") -> "list[Requirement]":
    lines = [line.partition(" #")[0].strip() for line in Path(path).read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def load_pyproject_dependencies(path: "str | Path") -> "list[Requirement]":
    import tomllib

    project = tomllib.loads(Path(path).read_text())["project"]
    return [Requirement(text) for text in project.get("dependencies", [])]


def _toRequirements(requirements: "str | Requirement | list[str | Requirement]") -> "list[Requirement]":
    if isinstance(requirements, str):
        requirements = shlex.split(requirements)
    if isinstance(requirements, Requirement):
        requirements = [requirements]
    return [r if isinstance(r, Requirement) else Requirement(r) for r in requirements]


def pip_check(
    req: "str | Requirement | list[str | Requirement]", _seen: "set[tuple[str, frozenset[str]]] | None" = None
) -> bool:
    def satisfied(requirement: Requirement) -> bool:
        if requirement.marker and not requirement.marker.evaluate(default_environment()):
            return True
        version = index.versionOf(requirement.name)
        return version is not None and requirement.specifier.contains(version, prereleases=True)

    return all(satisfied(requirement) for requirement in _toRequirements(req))


def pip_ensure(
    requirements: "str | Requirement | list[str | Requirement]",
    constraints: "str | Path | None" = None,
    skip_packages: "list[str] | None" = None,
    prompt_install: bool = True,
    prompt_restart: bool = True,
    requester: "str | None" = None,
    skip_in_testing: bool = True,
    show_progress: bool = True,
) -> "list[str] | None":
    import slicer

    missing = [str(r) for r in _toRequirements(requirements) if not pip_check(r)]
    if not missing:
        return None
    if skip_in_testing and slicer.app.testingEnabled():
        logging.info(f"Testing mode is enabled: skipping pip_ensure for {missing}")
        return None
    if prompt_install:
        title = f"{requester} - Install Python Packages" if requester else "Install Python Packages"
        count = "1 Python package needs" if len(missing) == 1 else f"{len(missing)} Python packages need"
        question = f"{count} to be installed.\n\nThis will modify Slicer's Python environment. Continue?"
        details = "\n".join(f"- {r}" for r in missing)
        if not slicer.util.confirmOkCancelDisplay(question, title, detailedText=details):
            raise RuntimeError("User declined package installation")
    return pip_install(missing, constraints, skip_packages=skip_packages, show_progress=show_progress, requester=requester)


def pip_install(
    requirements: "str | list[str]",
    constraints: "str | Path | None" = None,
    no_deps_requirements: "str | list[str] | None" = None,
    skip_packages: "list[str] | None" = None,
    blocking: bool = True,
    show_progress: bool = True,
    requester: "str | None" = None,
    logCallback: "Callable[[str], None] | None" = None,
    completedCallback: "Callable[[int], None] | None" = None,
) -> "list[str] | None":
    global _inProgress

    wanted = shlex.split(requirements) if isinstance(requirements, str) else [str(r) for r in requirements]
    if no_deps_requirements:
        wanted += shlex.split(no_deps_requirements) if isinstance(no_deps_requirements, str) else no_deps_requirements
    _inProgress = True
    try:
        if logCallback:
            logCallback(f"Collecting {' '.join(wanted)}")
        index.install(wanted)
    except CalledProcessError as error:
        logging.error(error.output)
        if logCallback and not blocking:
            for line in str(error.output or "").splitlines():
                logCallback(line)
        if blocking and show_progress:
            import slicer

            title = f"{requester} - Installation Failed" if requester else "Installation Failed"
            slicer.util.errorDisplay("Package installation failed.", windowTitle=title, detailedText=error.output)
            raise CalledProcessError(error.returncode, "pip install") from None
        if blocking:
            raise
        if completedCallback:
            completedCallback(error.returncode)
        return None
    finally:
        _inProgress = False
    if not blocking and completedCallback:
        import qt

        qt.QTimer.singleShot(0, lambda: completedCallback(0))
    return [] if skip_packages else None


def pip_uninstall(
    requirements: "str | list[str]",
    blocking: bool = True,
    logCallback: "Callable[[str], None] | None" = None,
    completedCallback: "Callable[[int], None] | None" = None,
) -> None:
    names = shlex.split(requirements) if isinstance(requirements, str) else requirements
    index.hidden.update(names)
    if completedCallback:
        completedCallback(0)


_ = subprocess, InvalidRequirement  # names that Slicer's module has as well
