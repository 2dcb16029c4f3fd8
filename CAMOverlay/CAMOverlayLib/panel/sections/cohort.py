"""The section Cohort: the table of a cohort in Slicer's table view, and one case of it at a time in the scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ...cohort.summary.cases import Case
from ...contract.errors import CAMOverlayError
from ...contract.pieces import Stepper
from ...contract.records import absolute
from ...scene import cohort
from ..background import Background
from ..parameters import PanelParameters

PAUSE = 200
"""Milliseconds after the last step from case to case until it is loaded: who leafs through sees the last one."""

READ = 1 << 22


class CohortSection:
    """Shows a cohort.

    Args:
        ui: the panel's widgets by name.
        say: shows a sentence below the Apply button.
        onCase: called with volume and overlay node of a case that was loaded.
    """

    def __init__(self, ui: Any, say: Callable[[str], None], onCase: Callable[[Any, Any], None]) -> None:
        self.ui, self._say, self._onCase = ui, say, onCase
        self._parameters: PanelParameters | None = None
        self._cases: Sequence[Case] = ()
        self._at: int | None = None
        self._job: Background | None = None
        self._work: Stepper | None = None
        self._view: Any = None
        self._filling = False
        ui.cohortSelector.sizeAdjustPolicy = qt.QComboBox.AdjustToMinimumContentsLengthWithIcon
        ui.cohortSelector.retrieveHistory()
        # The text changes with every key; the file is read when typing pauses.
        self._typed = _pause(300, self._read)
        self._later = _pause(PAUSE, self._load)
        ui.cohortSelector.currentPathChanged.connect(lambda path="": self._typed.start())
        ui.cohortTableButton.clicked.connect(lambda checked=False: self._showTable())
        ui.cohortBackButton.clicked.connect(lambda checked=False: self.step(-1))
        ui.cohortNextButton.clicked.connect(lambda checked=False: self.step(1))
        ui.cohortCaseSelector.currentIndexChanged.connect(lambda row=0: self._onChosen(row))
        self._update()

    def setParameters(self, parameters: PanelParameters | None) -> None:
        self._parameters = parameters
        if parameters is None:
            self.stop()

    @property
    def busy(self) -> bool:
        """Whether a case is on its way."""
        return self._later.active or self._job is not None or self._work is not None

    def stop(self) -> None:
        """Load nothing more; what is loaded stays."""
        self._later.stop()
        if self._job is not None:
            self._job.cancel()
        if self._work is not None:
            self._work.stop()
        self._job = self._work = None

    # The cohort.

    def _read(self) -> None:
        """Read the table that was chosen."""
        path = str(self.ui.cohortSelector.currentPath).strip()
        self.stop()
        self._cases, self._at = (), None
        if path:
            try:
                self._cases = cohort.read(absolute(path))
                self.ui.cohortSelector.addCurrentPathToHistory()
                self._typed.stop()  # that tells of the path as if it was another one
            except CAMOverlayError as error:
                self._say(str(error))
        self._fill()
        if self._cases:
            self._showTable()
            done, failed = sum(case.done for case in self._cases), sum(case.failed for case in self._cases)
            self._say(
                _("{count} cases: {done} with a heatmap, {failed} failed. Choose one here, or in the table.").format(
                    count=len(self._cases), done=done, failed=failed
                )
            )

    def _fill(self) -> None:
        combo, self._filling = self.ui.cohortCaseSelector, True
        combo.clear()
        for number, case in enumerate(self._cases):
            combo.addItem(f"{number + 1} · {case.id}")
        combo.currentIndex = -1
        self._filling = False
        self._update()

    def _showTable(self) -> None:
        """Put the table into the scene and a table view beside the slice views, and follow its rows."""
        if not self._cases:
            return
        manager = slicer.app.layoutManager()
        if manager is not None:  # Slicer without a window has none
            manager.layout = slicer.modules.tables.logic().GetLayoutWithTable(manager.layout)
        cohort.showTable(self._cases, absolute(str(self.ui.cohortSelector.currentPath)))
        if manager is None or not manager.tableViewCount:
            return
        widget = manager.tableWidget(0)
        view = widget.tableView() if widget is not None else None
        if view is not None and view is not self._view:
            self._view = view
            # With the mouse and with the arrow keys alike.
            view.selectionModel().connect("currentRowChanged(QModelIndex,QModelIndex)", self._onRow)

    # A case of it.

    def step(self, by: int) -> None:
        """The next case with a heatmap, or the one before."""
        last = len(self._cases)
        at = (-1 if by > 0 else last) if self._at is None else self._at
        at += by
        while 0 <= at < last and not self._cases[at].done:
            at += by
        if 0 <= at < last:
            self.ui.cohortCaseSelector.currentIndex = at

    def _onRow(self, index: Any = None, before: Any = None) -> None:
        """Another row of the table view. It may be sorted, so its first column says which case it is; and it may show
        another table."""
        table = cohort.tableOf(slicer.mrmlScene)
        if index is None or not index.isValid() or table is None or not self._cases:
            return
        if self._parameters is None:  # of a panel that was closed, or reloaded: the view outlives it
            return
        if slicer.app.applicationLogic().GetSelectionNode().GetActiveTableID() != table.GetID():
            return
        id_ = str(index.sibling(index.row(), 0).data())
        number = next((n for n, case in enumerate(self._cases) if case.id == id_), None)
        if number is not None:
            self.ui.cohortCaseSelector.currentIndex = number

    def _onChosen(self, row: int) -> None:
        if self._filling or not 0 <= row < len(self._cases):
            return
        self._at = row
        self.stop()
        self._update()
        self._later.start()

    def _load(self) -> None:
        """Read the files once beside the event loop, as a disk or a network may be slow, and then into the scene."""
        if self._at is None:
            return
        case = self._cases[self._at]
        self._say(_("Loading {name} …").format(name=case.id))
        maps = sorted(case.folder.glob("*.nii.gz")) if case.folder is not None else []
        files = [Path(case.volume), *maps]
        self._job = Background(lambda: _warm(files), lambda value, error: self._begin(case))

    def _begin(self, case: Case) -> None:
        self._job = None
        opacity = self._parameters.opacity if self._parameters is not None else 0.5
        self._work = Stepper(cohort.loadCase(case, opacity), lambda v, e: self._end(case, v, e), _afterTurn)
        _afterTurn(self._work.step)

    def _end(self, case: Case, nodes: Any, error: BaseException | None) -> None:
        self._work = None
        if isinstance(error, CAMOverlayError):
            self._say(str(error))
        elif error is not None:
            self._say(_("Case {name} cannot be loaded: {error}").format(name=case.id, error=error))
        else:
            self._say(_("Case {name}: {words}").format(name=case.id, words=_words(case)))
            self._onCase(*nodes)
        self._update()

    def _update(self) -> None:
        ui, known = self.ui, bool(self._cases)
        done = [number for number, case in enumerate(self._cases) if case.done]
        ui.cohortCaseSelector.enabled = ui.cohortTableButton.enabled = known
        ui.cohortBackButton.enabled = bool(done) and (self._at is None or done[0] < self._at)
        ui.cohortNextButton.enabled = bool(done) and (self._at is None or done[-1] > self._at)
        case = self._cases[self._at] if self._at is not None and self._at < len(self._cases) else None
        ui.cohortLabel.text = _lines(case) if case is not None else ""
        ui.cohortLabel.visible = case is not None


def _pause(milliseconds: int, then: Callable[[], None]) -> Any:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(then)
    return timer


def _afterTurn(step: Callable[[], None]) -> None:
    qt.QTimer.singleShot(0, step)


def _warm(files: Sequence[Path]) -> None:
    """Read files once, so that the system has them at hand; what is wrong with them is said when they are loaded."""
    for path in files:
        try:
            with path.open("rb") as file:
                while file.read(READ):
                    pass
        except OSError:
            continue


def _words(case: Case) -> str:
    said = case.prediction or _("no prediction")
    if case.probability is not None:
        said += f" ({case.probability:.1%})"
    if case.label:
        said += _(", labelled {label}").format(label=case.label)
    return said


def _lines(case: Case) -> str:
    """What the table says of a case, for the panel."""
    if case.failed:
        return _("<b>Failed.</b> {error}").format(error=escape(case.error))
    parts = [escape(_words(case))]
    if case.right is not None:
        sign, color, word = ("✓", "#3a9d4f", _("right")) if case.right else ("✗", "#d9534f", _("wrong"))
        parts.append(f"<b style='color:{color}'>{sign}</b> {word}")
    if case.hit is not None:
        parts.append(_("peak in the mask") if case.hit else _("peak outside of the mask"))
    if case.share is not None:
        parts.append(_("{share:.0%} of the heat in it").format(share=case.share))
    return " · ".join(parts)
