"""May this bundle run its code here? Asked once for every content, since code hides in weights and configs alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..bundle_files import Code, ContentHash, content_hash
from .bundle_state import BundleState

KEY = "CAMOverlay/TrustedBundles"
SLICE = 0.015
"""Seconds of hashing between two turns of the event loop."""


def isTrusted(contentHash: str) -> bool:
    """Whether the user of this computer said yes to exactly this content."""
    return bool(contentHash) and slicer.app.userSettings().contains(f"{KEY}/{contentHash}")


def remember(contentHash: str, folder: Path) -> None:
    slicer.app.userSettings().setValue(f"{KEY}/{contentHash}", f"{time.strftime('%Y-%m-%d')} {folder}")


def isTrustedFolder(folder: str | Path) -> bool:
    """The same for a folder, in one go: for the Python console, where waiting is expected."""
    return isTrusted(_known.get(Path(folder)) or content_hash(Path(folder)))


class _KnownHashes:
    """Hashes of folders that did not change since, as far as names, sizes and times of their files tell."""

    def __init__(self) -> None:
        self._hashes: dict[tuple, str] = {}

    @staticmethod
    def _signature(folder: Path) -> tuple:
        files = sorted(p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return (str(folder), *((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in files))

    def get(self, folder: Path) -> str:
        return self._hashes.get(self._signature(folder), "")

    def put(self, folder: Path, contentHash: str) -> None:
        self._hashes[self._signature(folder)] = contentHash


_known = _KnownHashes()


class Hashing:
    """Computes a bundle's content hash between the turns of the event loop; weights can be gigabytes.

    Args:
        folder: the bundle's root.
        onDone: called with the hash.
        onError: called with what went wrong in words.
    """

    def __init__(self, folder: Path, onDone: Callable[[str], None], onError: Callable[[str], None]) -> None:
        self._folder, self._onDone, self._onError = folder, onDone, onError
        self._hash = ContentHash(folder)
        self._steps: Iterator[None] | None = self._hash.steps()
        qt.QTimer.singleShot(0, self._go)

    def cancel(self) -> None:
        self._steps = None

    def _go(self) -> None:
        if self._steps is None:
            return
        until = time.monotonic() + SLICE
        try:
            known = _known.get(self._folder)
            while not known and time.monotonic() < until:
                try:
                    next(self._steps)
                except StopIteration:
                    known = self._hash.value
                    _known.put(self._folder, known)
        except OSError as error:
            self._steps = None
            self._onError(_("The bundle cannot be read: {error}").format(error=error))
            return
        if known:
            self._steps = None
            self._onDone(known)
        else:
            qt.QTimer.singleShot(0, self._go)


def ask(bundle: BundleState, contentHash: str) -> bool:
    """Show what would run and from where, and let the user decide; a yes is remembered for this content."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setIcon(qt.QMessageBox.Warning)
    box.windowTitle = _("Trust this bundle?")
    box.textFormat = qt.Qt.PlainText  # the names in it are the bundle's, and must not look like the question's own
    name = bundle.info.name if bundle.info else bundle.folder.name
    box.text = _("The bundle “{name}” runs code of its own on this computer, with everything that you may do.").format(name=name)
    box.informativeText = _(
        "Folder: {folder}\nIt runs {summary}.\n\n"
        "Go on if you know where it comes from. The answer is kept until any of its files changes."
    ).format(folder=bundle.folder, summary=bundle.code.summary(4) if bundle.code else _("unknown code"))
    if bundle.code:
        box.detailedText = listing(bundle.code) + f"\nSHA-256 {contentHash}\n"
    accept = box.addButton(_("Trust and run"), qt.QMessageBox.AcceptRole)
    refuse = box.addButton(qt.QMessageBox.Cancel)
    box.setDefaultButton(refuse)
    box.setEscapeButton(refuse)
    box.exec()
    trusted = box.clickedButton() == accept
    box.deleteLater()
    if trusted:
        remember(contentHash, bundle.folder)
    return trusted


def listing(code: Code) -> str:
    """All that would run, one a line."""
    parts = []
    for title, values in (
        (_("Components that are imported and called:"), code.targets),
        (_("Expressions that are evaluated:"), code.expressions),
        (_("Python files of its own:"), code.scripts),
    ):
        parts.append("\n".join([title, *(f"    {value}" for value in values or [_("none")])]))
    return "\n".join(parts) + "\n"
