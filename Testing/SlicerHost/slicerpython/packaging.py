"""Installing Python packages, with nothing installed: `index` says what happens. What the panel calls.

    import slicer.packaging
    slicer.packaging.index.error = "No space left on device"  # how the next installation fails
    slicer.packaging.index.installed                          # what was asked for

The functions have the signatures of Slicer's and the same answers, CalledProcessError when pip fails.
"""

import logging
import shlex
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

__all__ = ["pip_install", "pip_uninstall"]


class Index:
    """The package index that a test plays."""

    def __init__(self) -> None:
        self.installed: list[list[str]] = []
        self.uninstalled: list[list[str]] = []
        self.error: str | None = None
        self.onInstall: Callable[[list[str]], None] | None = None

    def install(self, requirements: list[str]) -> None:
        if self.error is not None:
            raise CalledProcessError(1, ["pip", "install", *requirements], output=self.error)
        if self.onInstall:
            self.onInstall(requirements)
        self.installed.append(requirements)


index = Index()


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
    wanted = shlex.split(requirements) if isinstance(requirements, str) else [str(r) for r in requirements]
    if no_deps_requirements:
        wanted += shlex.split(no_deps_requirements) if isinstance(no_deps_requirements, str) else no_deps_requirements
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
    index.uninstalled.append(shlex.split(requirements) if isinstance(requirements, str) else list(requirements))
    if completedCallback:
        completedCallback(0)
