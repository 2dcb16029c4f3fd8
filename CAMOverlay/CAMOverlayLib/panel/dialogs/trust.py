"""May this bundle run its code here? Asked once for every content, since code hides in weights and configs alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ...contract.bundle_content import ContentHash, Signature
from ...contract.errors import BundleError
from ...contract.model import Code, shown
from ..bundle_state import BundleState

KEY = "CAMOverlay/TrustedBundles"
SLICE = 0.015
"""Seconds of hashing between two turns of the event loop."""


def isTrusted(contentHash: str) -> bool:
    """Whether the user of this computer said yes to exactly this content."""
    return bool(contentHash) and slicer.app.userSettings().contains(f"{KEY}/{contentHash}")


def remember(contentHash: str, folder: Path) -> None:
    slicer.app.userSettings().setValue(f"{KEY}/{contentHash}", f"{time.strftime('%Y-%m-%d')} {folder}")


def hashOf(folder: str | Path) -> str:
    """The hash of a folder's content, in one go; empty where there is no such content."""
    hashing = ContentHash(Path(folder), _known)
    try:
        for _step in hashing.steps():
            pass
    except (OSError, BundleError):
        return ""
    return hashing.value


_known: dict[Signature, str] = {}
"""Hashes of folders as they were, by a signature that was taken before the folder was read."""


class Hashing:
    """Computes a bundle's content hash between the turns of the event loop; weights can be gigabytes.

    Args:
        folder: the bundle's root.
        onDone: called with the hash.
        onError: called with what went wrong in words.
    """

    def __init__(self, folder: Path, onDone: Callable[[str], None], onError: Callable[[str], None]) -> None:
        self._folder, self._onDone, self._onError = folder, onDone, onError
        self._hash = ContentHash(folder, _known)
        self._steps: Iterator[None] | None = self._hash.steps()
        qt.QTimer.singleShot(0, self._go)

    def cancel(self) -> None:
        self._steps = None

    def _go(self) -> None:
        if self._steps is None:
            return
        until = time.monotonic() + SLICE
        try:
            while time.monotonic() < until:
                next(self._steps)
        except StopIteration:
            self._steps = None
            self._onDone(self._hash.value)
        except Exception as error:  # files of any kind may be there, and a slot cannot raise  # noqa: BLE001
            self._steps = None
            reason = str(error) if isinstance(error, BundleError) else getattr(error, "strerror", None) or str(error)
            self._onError(_("The bundle cannot be read: {error}").format(error=reason))
        else:
            qt.QTimer.singleShot(0, self._go)


class NothingToHash:
    """In the place of :class:`Hashing` for a model that can run nothing: the answer is an empty text, in the next turn
    of the event loop."""

    def __init__(self, onDone: Callable[[str], None]) -> None:
        self._onDone: Callable[[str], None] | None = onDone
        qt.QTimer.singleShot(0, self._go)

    def cancel(self) -> None:
        self._onDone = None

    def _go(self) -> None:
        if self._onDone is not None:
            self._onDone("")


def ask(bundle: BundleState, contentHash: str) -> bool:
    """Show what would run and from where, and let the user decide; a yes is remembered for this content."""
    box = qt.QMessageBox(slicer.util.mainWindow())
    box.setIcon(qt.QMessageBox.Warning)
    box.windowTitle = _("Trust this bundle?")
    box.textFormat = qt.Qt.PlainText  # the names in it are the bundle's, and must not look like the question's own
    name = shown(bundle.info.name if bundle.info else bundle.folder.name, 80)
    box.text = _("The bundle “{name}” runs code of its own on this computer, with everything that you may do.").format(
        name=name
    )
    box.informativeText = _(
        "Folder: {folder}\nIt runs {summary}.\n\n"
        "Go on if you know where it comes from. The answer is kept until any of its files changes."
    ).format(
        folder=shown(str(bundle.folder), 200),
        summary=shown(bundle.code.summary(4), 800) if bundle.code else _("unknown code"),
    )
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


MOST_LINES = 2000


def listing(code: Code) -> str:
    """All that would run, one a line, as far as a window can show it."""
    parts = []
    for title, values in (
        (_("Components that are imported and called:"), code.targets),
        (_("Expressions that are evaluated:"), code.expressions),
        (_("Files of code of its own, and links:"), code.scripts),
        (_("Compiled networks:"), code.programs),
        (_("YAML as it is written (without PyYAML it cannot be read here):"), code.raw),
    ):
        if values or code.raw is not values:
            lines = [f"    {value}" for value in values[:MOST_LINES] or [_("none")]]
            if len(values) > MOST_LINES:
                lines.append("    " + _("… and {count} more").format(count=len(values) - MOST_LINES))
            parts.append("\n".join([title, *lines]))
    return "\n".join(parts) + "\n"
