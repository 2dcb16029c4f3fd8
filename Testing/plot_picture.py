"""Draws a plot chart node as a plot view shows it, without one: ``python Testing/plot_picture.py FILE.png``.

What is drawn is the demo's own chart of how much the answer falls without each structure: the lesion, the same ball on
the other side of the brain, and what is left of both halves. VTK draws it off-screen, which needs EGL or OSMesa.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

LIBRARY = Path(__file__).resolve().parents[1] / "CAMOverlay"
SIZE = (900, 420)


def draw(chart: Any, file: str | Path, dark: bool = False, size: tuple[int, int] = SIZE) -> None:
    """The chart in the colours of a plot view; a dark one is what a dark background would make of it."""
    import vtk

    view, window = vtk.vtkContextView(), vtk.vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(*size)
    view.SetRenderWindow(window)
    ink = (0.9, 0.9, 0.9) if dark else (0.0, 0.0, 0.0)
    view.GetRenderer().SetBackground(*((0.16, 0.16, 0.16) if dark else (1.0, 1.0, 1.0)))
    drawn = vtk.vtkChartXY()
    view.GetScene().AddItem(drawn)
    drawn.SetTitle(chart.GetTitle() or "")
    drawn.SetShowLegend(chart.GetLegendVisibility())
    drawn.GetTitleProperties().SetFontSize(chart.GetTitleFontSize())
    drawn.GetTitleProperties().SetColor(*ink)
    for index in range(chart.GetNumberOfPlotSeriesNodes()):
        _add(drawn, chart.GetNthPlotSeriesNode(index))
    for axis, title in ((vtk.vtkAxis.BOTTOM, chart.GetXAxisTitle()), (vtk.vtkAxis.LEFT, chart.GetYAxisTitle())):
        one = drawn.GetAxis(axis)
        one.SetTitle(title or "")
        one.GetTitleProperties().SetFontSize(chart.GetAxisTitleFontSize())
        one.GetLabelProperties().SetFontSize(chart.GetAxisLabelFontSize())
        one.GetTitleProperties().SetColor(*ink)
        one.GetLabelProperties().SetColor(*ink)
        one.GetPen().SetColorF(*ink)
        one.GetGridPen().SetColorF(*((0.3, 0.3, 0.3) if dark else (0.9, 0.9, 0.9)))
    window.Render()
    image, writer = vtk.vtkWindowToImageFilter(), vtk.vtkPNGWriter()
    image.SetInput(window)
    image.ReadFrontBufferOff()
    writer.SetInputConnection(image.GetOutputPort())
    writer.SetFileName(str(file))
    writer.Write()


def _add(drawn: Any, series: Any) -> None:
    import vtk

    bars = series.GetPlotType() == series.PlotTypeBar
    table = vtk.vtkTable()
    table.ShallowCopy(series.GetTableNode().GetTable())
    if bars:
        places = vtk.vtkDoubleArray()
        places.SetName("place")
        for row in range(table.GetNumberOfRows()):
            places.InsertNextValue(row)
        table.AddColumn(places)
    plot = drawn.AddPlot(vtk.vtkChart.BAR if bars else vtk.vtkChart.LINE)
    plot.SetInputData(table, "place" if bars else series.GetXColumnName(), series.GetYColumnName())
    plot.SetColorF(*series.GetColor())
    plot.SetWidth(2)
    if bars:
        names = table.GetColumnByName(series.GetLabelColumnName())
        drawn.GetAxis(vtk.vtkAxis.BOTTOM).SetCustomTickPositions(places, names)


def demo_falls(folder: Path) -> Any:
    """The demo explained, with its structures occluded: the chart node."""
    from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME, demo_lesion
    from CAMOverlayLib.logic import OverlayLogic
    from CAMOverlayLib.scene import core, findings
    from CAMOverlayLib.scene.io.volumes import affineFromNode, voxelsOf, writeArray

    core.ensureScene()
    volume, lesion = core.loadVolume(DEMO_VOLUME), demo_lesion()
    voxels, affine = voxelsOf(volume), affineFromNode(volume)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in voxels.shape), indexing="ij"), -1)
    places = index @ affine[:3, :3].T + affine[:3, 3]
    labels = np.where(voxels > 0.1 * voxels.max(), np.where(places[..., 0] < 0, 3, 4), 0)
    for number, side in ((1, 1), (2, -1)):
        away = np.linalg.norm(places - np.array(lesion.centre) * (side, 1, 1), axis=-1)
        labels[away <= lesion.radius] = number
    file = writeArray(labels.astype(np.uint8), affine, folder / "labels.npy", "labels")
    from CAMOverlayLib.contract.target import StructureFile

    names = ("lesion", "other side", "rest of left half", "rest of right half")
    node = OverlayLogic().process(
        volume, DEMO_BUNDLE, trust=True, structures=[StructureFile(file, names)], occludeStructures=True
    )
    return findings.showStructureFalls(node)


if __name__ == "__main__":
    sys.path.insert(0, str(LIBRARY))
    with tempfile.TemporaryDirectory() as folder:
        draw(demo_falls(Path(folder)), sys.argv[1], "--dark" in sys.argv)
