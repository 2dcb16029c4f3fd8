"""Plots of what was measured: the curves of a check, the share of each channel, how much the answer falls without each
structure. The numbers stand in table nodes."""

from __future__ import annotations

from collections.abc import Sequence

import slicer
import vtk

from ...contract.errors import VolumeError
from ...contract.findings import Check, StructureFall
from ...contract.request import Result
from ..overlay.node import resultOf
from .nodes import hangingOrNew
from .table import fill

ROLE = "CAMOverlay.Plot"
"""Node references from the overlay: ``ROLE.NAME.chart``, ``.table`` and ``.SERIES``."""

QUESTIONS = {
    "class": ("Does it belong to this class?", "", ""),
    "network": ("Does it belong to this network?", "Share of the network randomised, from its output", "Similarity"),
    "answer": ("Does the answer depend on it?", "Share of the places taken away or left", "Answer"),
    "stability": ("Is it stable?", "Changed input", ""),
}
"""What a check asks, and the axes of its plot; its words are too long for a title."""

MOST = 8
"""Bars, whose names would run into each other."""

ROOM = 128
"""Signs of all such names together."""

COLORS = ((0.12, 0.47, 0.71), (1.0, 0.5, 0.05), (0.17, 0.63, 0.17), (0.84, 0.15, 0.16), (0.58, 0.4, 0.74))


def showCurves(overlayNode: slicer.vtkMRMLScalarVolumeNode, check: Check | str) -> slicer.vtkMRMLPlotChartNode:
    """A chart of the curves of a check, or of the overlay's own check of this name.

    Raises:
        VolumeError: there is no such check, or it has no curves.
    """
    found = _checkOf(overlayNode, check) if isinstance(check, str) else check
    curves = {name: values for name, values in found.curves.items() if name != "x"}
    if not curves:
        raise VolumeError(f"The check {found.name!r} has no curves to plot.")
    length = max(len(values) for values in curves.values())
    axis = found.curves.get("x") or tuple(range(length))
    table = hangingOrNew(overlayNode, f"{ROLE}.{found.name}.table", "vtkMRMLTableNode", f"{found.name} curves")
    columns = {"x": axis, **curves}
    shortest = min(len(values) for values in columns.values())
    fill(table, dict.fromkeys(columns, vtk.vtkDoubleArray), list(zip(*(v[:shortest] for v in columns.values()))))
    question, along, up = QUESTIONS.get(found.name, (found.name, "", ""))
    chart = _chart(overlayNode, found.name, f"{question} {found.verdict.capitalize()}")
    chart.SetXAxisTitle(along)
    chart.SetYAxisTitle(up)
    for index, name in enumerate(curves):
        series = _series(overlayNode, found.name, name, table, index)
        series.SetPlotType(series.PlotTypeScatter)
        series.SetXColumnName("x")
        series.SetYColumnName(name)
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
    return chart


def showChannels(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLPlotChartNode:
    """A bar chart of the share of the evidence that each input channel has.

    Raises:
        VolumeError: the overlay's result says nothing of channels.
    """
    result = resultOf(overlayNode)
    if result is None or not result.channels:
        raise VolumeError(f"{overlayNode.GetName()!r} has no shares of channels: its network has one, or none asked.")
    table = hangingOrNew(overlayNode, f"{ROLE}.channels.table", "vtkMRMLTableNode", "channels")
    fill(table, {"channel": vtk.vtkStringArray, "share": vtk.vtkDoubleArray}, list(result.channels.items()))
    chart = _chart(overlayNode, "channels", "Share of the evidence of each channel")
    chart.SetYAxisTitle("Share")
    _bars(chart, _series(overlayNode, "channels", "share", table, 0), "channel", "share")
    return chart


def showStructureFalls(overlayNode: slicer.vtkMRMLScalarVolumeNode) -> slicer.vtkMRMLPlotChartNode:
    """A bar chart of how much the answer falls without each structure, the largest fall first; of many those few that
    the answer changes most without. The overlay's result has all.

    Raises:
        VolumeError: the overlay's result says nothing of that.
    """
    result = resultOf(overlayNode)
    if result is None or not result.occluded:
        raise VolumeError(
            f"{overlayNode.GetName()!r} does not say what the answer is without a structure. Explain again with "
            "structures that are occluded."
        )
    table = hangingOrNew(overlayNode, f"{ROLE}.falls.table", "vtkMRMLTableNode", "falls")
    falls = sorted(result.occluded, key=lambda one: -abs(one.drop))[:MOST]
    falls.sort(key=lambda one: -one.drop)
    kinds = {"structure": vtk.vtkStringArray, "label": vtk.vtkStringArray}
    columns = ("fall", "before", "after", "probability before", "probability after")
    fill(
        table, kinds | dict.fromkeys(columns, vtk.vtkDoubleArray), [_fallRow(one, ROOM // len(falls)) for one in falls]
    )
    count = len(result.occluded)
    title = "Without each structure" if count == len(falls) else f"Without the {MOST} that mattered most of {count}"
    chart = _chart(overlayNode, "falls", title)
    chart.SetYAxisTitle(fallTitle(result))
    _bars(chart, _series(overlayNode, "falls", "fall", table, 0), "label", "fall")
    return chart


def fallTitle(result: Result) -> str:
    """What the bars of :func:`showStructureFalls` are: log-odds, or the number that was explained."""
    odds = bool(result.occluded) and result.occluded[0].log_odds_before is not None
    return f"Fall of {'log-odds' if odds else 'the answer'}: {result.target.name}"


def openChart(chart: slicer.vtkMRMLPlotChartNode) -> None:
    """Show a chart in a plot view; the layout becomes one that has such a view, where it has none."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def _fallRow(fall: StructureFall, room: int) -> tuple[str | float, ...]:
    none = float("nan")
    sure = (fall.probability_before, fall.probability_after)
    return (fall.name, _short(fall.name, room), fall.drop, *fall.shown, *(none if one is None else one for one in sure))


def _short(name: str, room: int) -> str:
    """A name that fits below a bar: of a long one both ends, as *left* or *L1* often comes last."""
    return name if len(name) <= room else f"{name[: room // 2 - 1]}…{name[-(room // 2) :]}"


def _bars(chart: slicer.vtkMRMLPlotChartNode, series: slicer.vtkMRMLPlotSeriesNode, label: str, height: str) -> None:
    """One bar for each row of a series' table: its label and its height by these columns."""
    series.SetPlotType(series.PlotTypeBar)
    series.SetLabelColumnName(label)
    series.SetYColumnName(height)
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.SetLegendVisibility(False)  # one series, which the axis names


def _checkOf(overlayNode: slicer.vtkMRMLScalarVolumeNode, name: str) -> Check:
    result = resultOf(overlayNode)
    checks: Sequence[Check] = result.checks if result is not None else ()
    for check in checks:
        if check.name == name:
            return check
    there = ", ".join(check.name for check in checks) or "none"
    raise VolumeError(f"{overlayNode.GetName()!r} has no check {name!r}; it has: {there}.")


def _chart(overlayNode: slicer.vtkMRMLScalarVolumeNode, name: str, title: str) -> slicer.vtkMRMLPlotChartNode:
    chart = hangingOrNew(overlayNode, f"{ROLE}.{name}.chart", "vtkMRMLPlotChartNode", f"{name} chart")
    chart.RemoveAllPlotSeriesNodeIDs()
    chart.SetTitle(title)
    return chart


def _series(
    overlayNode: slicer.vtkMRMLScalarVolumeNode, plot: str, name: str, table: slicer.vtkMRMLTableNode, index: int
) -> slicer.vtkMRMLPlotSeriesNode:
    series = hangingOrNew(overlayNode, f"{ROLE}.{plot}.{name}", "vtkMRMLPlotSeriesNode", name)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetColor(*COLORS[index % len(COLORS)])
    return series
