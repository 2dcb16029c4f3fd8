"""The section Result: what the network said, whether the map lies right, and what happened on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import qt
from slicer.i18n import tr as _

from ...contract.request import Prediction, Result, TransformStep
from ...scene.overlay import node as overlay

MOST_CLASSES = 300
"""Rows of the table of classes at most; the largest outputs are shown."""

MOST_STEPS = 300


class ResultSection:
    """Shows the result that an overlay carries.

    Args:
        ui: the panel's widgets by name.
        onClass: called with the index of the class that was double-clicked.
    """

    def __init__(self, ui: Any, onClass: Callable[[int], None]) -> None:
        self.ui = ui
        self.shown: Result | None = None
        self._rows: list[int] = []
        ui.classTable.cellDoubleClicked.connect(
            lambda row=0, column=0: onClass(self._rows[row]) if row < len(self._rows) else None
        )
        for table in (ui.classTable, ui.stepsTable):
            table.verticalHeader().hide()
            table.horizontalHeader().setStretchLastSection(True)
            table.horizontalHeader().setHighlightSections(False)

    def show(self, result: Result | None) -> None:
        """Show a result, or that there is none."""
        if result == self.shown:
            return
        try:
            words = (summary(result), verdict(result), resolution(result)) if result is not None else ()
            if result is not None:
                self._showClasses(result)
                self._showSteps(result.steps)
        except Exception as error:  # it was read from the scene, where anybody may have written anything  # noqa: BLE001
            print(_("The result that this overlay carries cannot be shown: {error}").format(error=error))
            result = None
        self.shown = result
        if self.ui.resultButton.enabled != (result is not None):
            self.ui.resultButton.enabled = result is not None
            self.ui.resultButton.collapsed = result is None
        if result is None:
            return
        self.ui.predictionLabel.text, self.ui.placementLabel.text, self.ui.resolutionLabel.text = words

    def _showClasses(self, result: Result) -> None:
        prediction, table = result.prediction, self.ui.classTable
        table.clearContents()
        # Outputs that are no probabilities have no whole that a bar could be a part of.
        areShares = prediction.activation != "none"
        title = _("Mean probability") if prediction.voxels else _("Probability")
        table.horizontalHeaderItem(1).setText(title if areShares else _("Output"))
        predicted = set(overlay.predictedClasses(prediction))
        values = prediction.probabilities if areShares else prediction.outputs
        # Long lists come from damaged files; what matters in them are the predicted and the largest.
        shown = sorted(range(min(len(prediction.classes), len(values))), key=lambda index: -values[index])[
            :MOST_CLASSES
        ]
        self._rows = sorted(shown)
        table.setRowCount(len(self._rows))
        for row, index in enumerate(self._rows):
            name, value = prediction.classes[index], values[index]
            item = qt.QTableWidgetItem(name)
            if index in predicted:
                font = item.font()
                font.setBold(True)
                item.setFont(font)
                item.setToolTip(_("Predicted"))
            table.setItem(row, 0, item)
            if areShares:
                bar = qt.QProgressBar()
                bar.maximum = 1000
                bar.value = round(1000 * min(max(value, 0.0), 1.0))
                bar.format = f"{value:.1%}"
                table.setCellWidget(row, 1, bar)
            else:
                table.setItem(row, 1, qt.QTableWidgetItem(f"{value:.4g}"))
        table.resizeColumnToContents(0)
        table.resizeRowsToContents()
        fitHeight(table, most=6)

    def _showSteps(self, steps: Sequence[TransformStep]) -> None:
        table = self.ui.stepsTable
        table.clearContents()
        steps = steps[:MOST_STEPS]
        table.setRowCount(len(steps))
        for row, step in enumerate(steps):
            changed = step.shape_before is not None and step.shape_before != step.shape_after
            texts = (
                step.name,
                _shape(step.shape_after),
                " × ".join(f"{mm:.2f}" for mm in step.spacing_after),
                step.orientation,
                step.evidence or "–",
                step.inverse or "–",
            )
            parameters = ", ".join(f"{key}={value}" for key, value in step.parameters.items())
            tip = f"{step.name}({parameters})\n" + _(
                "{before} → {after} voxels, values {low:.4g} to {high:.4g}, {share:.0%} not zero, {seconds:.2f} s"
            ).format(
                before=_shape(step.shape_before) if step.shape_before else _("file"),
                after=_shape(step.shape_after),
                low=step.value_range[0],
                high=step.value_range[1],
                share=step.nonzero,
                seconds=step.seconds,
            )
            for column, text in enumerate(texts):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(escape(text if column >= 4 and len(text) > 20 else tip).replace("\n", "<br>"))
                if changed and column == 1:
                    font = item.font()
                    font.setBold(True)
                    item.setFont(font)
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        table.resizeRowsToContents()


def fitHeight(table: Any, most: int) -> None:
    """As high as its rows, up to so many of them."""
    rows = sum(table.rowHeight(row) for row in range(min(table.rowCount, most)))
    height = rows + table.horizontalHeader().sizeHint.height() + 2 * table.frameWidth
    table.setMinimumHeight(height)
    table.setMaximumHeight(height)


def summary(result: Result) -> str:
    words = (
        said(result.prediction)
        + "<br>"
        + _("Shown: evidence for <b>{target}</b>, {method} at {layer}").format(
            target=escape(result.target.name), method=escape(result.method), layer=escape(result.layer)
        )
    )
    if result.prediction.voxels:  # where in the output matters there
        words += "<br>" + escape(result.target.description[:1].upper() + result.target.description[1:])
    return words


def said(prediction: Prediction, most: int = 4) -> str:
    """What the network says: a class, the outputs above 50 %, how many voxels got which class, or values."""
    predicted = overlay.predictedClasses(prediction)
    if prediction.voxels:
        predicted = sorted(predicted, key=lambda index: -prediction.voxels[index])
        words, values = _("Predicted voxels: {found}"), [f"{count:,}" for count in prediction.voxels]
    elif prediction.activation == "none":
        predicted, words = range(len(prediction.classes)), _("Output: {found}")
        values = [f"{output:.4g}" for output in prediction.outputs]
    else:
        values = [f"{share:.1%}" for share in prediction.probabilities]
        words = _("Predicted {found}") if prediction.activation == "softmax" else _("Above 50 %: {found}")
    if not predicted and prediction.voxels:
        return _("No voxel is predicted as any class.")
    if not predicted:
        words, predicted = _("No output is above 50 %; the highest is {found}"), [prediction.index]
    found = [f"<b>{escape(prediction.classes[index])}</b> ({values[index]})" for index in list(predicted)[:most]]
    return words.format(found=", ".join([*found, *(["…"] if len(predicted) > most else [])]))


def verdict(result: Result) -> str:
    """The placement's verdict. The sign says it without the colour, the colour without reading."""
    sign, color = ("✓", "#3a9d4f") if result.placement.verdict == "verified" else ("?", "#d08700")
    warnings = "".join(f"<br><b style='color:#d08700'>!</b> {escape(words)}" for words in result.warnings)
    return f"<b style='color:{color}'>{sign}</b> {escape(result.placement.words)}{warnings}"


def resolution(result: Result) -> str:
    size = " × ".join(f"{mm:.1f}" for mm in result.activation_spacing)
    words = _("One activation covers {size} mm. The network saw {share:.0%} of the volume").format(
        size=size, share=result.field_of_view.share
    )
    return words + (_(", given as {applied}.").format(applied=result.applied) if result.applied else ".")


def _shape(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))
