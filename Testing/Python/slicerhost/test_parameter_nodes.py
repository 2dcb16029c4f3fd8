"""`slicer.parameterNodeWrapper`: values, limits, widgets, scene files."""

import enum
import pathlib
from typing import Annotated, Optional, Union

import pytest


class Color(enum.Enum):
    RED = 1
    BLUE = 2


@pytest.fixture
def parameters(host):
    """A wrapper with a member of every kind, on a fresh node."""
    import slicer
    from slicer.parameterNodeWrapper import (
        Choice,
        Default,
        FloatRange,
        Minimum,
        RangeBounds,
        WithinRange,
        parameterNodeWrapper,
        parameterPack,
    )

    @parameterPack
    class Point:
        x: Annotated[float, WithinRange(0, 10)]
        y: float = 2.0

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        either: Union[slicer.vtkMRMLScalarVolumeNode, slicer.vtkMRMLModelNode, None]
        number: Annotated[float, WithinRange(-1, 1)] = 0.5
        count: Annotated[int, Minimum(1), Default(3)]
        flag: bool
        text: Annotated[str, Choice(["a", "b"]), Default("a")]
        path: pathlib.Path
        color: Color
        maybe: Optional[int]
        names: list[str]
        pair: tuple[int, str]
        table: dict[str, float]
        point: Point
        window: Annotated[FloatRange, RangeBounds(0, 100), Default(FloatRange(10, 20))]

    def make(node=None):
        return Parameters(node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "P"))

    make.Parameters, make.Point = Parameters, Point
    return make


def test_defaults(parameters):
    p = parameters()
    assert (p.volume, p.either, p.number, p.count, p.flag, p.text) == (None, None, 0.5, 3, False, "a")
    assert (p.path, p.color, p.maybe, p.names, p.pair, p.table) == (pathlib.Path(), Color.RED, None, [], (0, ""), {})
    assert (p.point.x, p.point.y, p.window.minimum, p.window.maximum) == (0, 2.0, 10, 20)


def test_values_are_texts_on_the_node(parameters):
    p = parameters()
    p.number, p.flag, p.color, p.names, p.maybe = 0.25, True, Color.BLUE, ["a", "b"], 4
    node = p.parameterNode
    assert node.GetParameter("number") == "0.25" and node.GetParameter("flag") == "True"
    assert node.GetParameter("color") == "BLUE" and node.GetParameter("names.len") == "2"
    assert node.GetParameter("maybe.0") == "4" and node.GetParameter("point.y") == "2.0"


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("number", 2, ValueError),
        ("number", "x", TypeError),
        ("number", None, ValueError),
        ("count", 0, ValueError),
        ("count", 1.5, TypeError),
        ("text", "c", ValueError),
        ("flag", 1, TypeError),
        ("volume", "Blob", TypeError),
        ("nosuch", 1, ValueError),
    ],
)
def test_wrong_values_are_refused_and_change_nothing(parameters, name, value, error):
    p = parameters()
    before = p.getValue(name) if name != "nosuch" else None
    with pytest.raises(error):
        p.setValue(name, value)
    assert name == "nosuch" or p.getValue(name) == before


def test_containers_and_packs_write_themselves_back(parameters):
    p = parameters()
    p.names.append("one")
    p.names += ["two"]
    p.table["k"] = 1.5
    p.point.x = 3
    p.window.maximum = 50
    again = parameters(p.parameterNode)
    assert list(again.names) == ["one", "two"] and again.table == {"k": 1.5}
    assert again.point.x == 3 and again.window.maximum == 50
    with pytest.raises(ValueError):
        p.point.x = 11
    with pytest.raises(NotImplementedError):
        p.names + ["x"]


def test_dotted_names(parameters):
    p = parameters()
    p.setValue("point.y", 7.5)
    assert p.getValue("point.y") == 7.5 and p.point.y == 7.5
    assert p.dataType("count").__origin__ is int


def test_nodes(host, parameters):
    import slicer

    p = parameters()
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    model = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")
    p.volume, p.either = volume, model
    assert p.volume is volume and p.either is model
    slicer.mrmlScene.RemoveNode(volume)
    assert p.volume is None


def test_one_change_is_one_event(parameters):
    import vtk

    p, events = parameters(), []
    p.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: events.append(1))
    p.names = ["a", "b", "c"]
    assert len(events) == 1


def test_round_trip_through_a_scene_file(host, parameters, blob, tmp_path):
    import slicer

    p = parameters()
    p.volume, p.number, p.color, p.names, p.path = blob, -0.5, Color.BLUE, ["x"], pathlib.Path("/a/b")
    p.point.x, p.maybe = 4, 9
    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    again = parameters(slicer.util.getNode("P"))
    assert again.volume.GetName() == "Blob"
    assert (again.number, again.color, list(again.names), again.path) == (-0.5, Color.BLUE, ["x"], pathlib.Path("/a/b"))
    assert (again.point.x, again.maybe) == (4, 9)


def test_widgets_both_ways(host, parameters, blob):
    import ctk
    import qt
    import slicer

    widgets = {
        "volume": slicer.qMRMLNodeComboBox(), "number": ctk.ctkSliderWidget(), "count": qt.QSpinBox(), "flag": qt.QCheckBox(),
        "text": qt.QComboBox(), "path": ctk.ctkPathLineEdit(), "color": qt.QComboBox(), "point.x": qt.QDoubleSpinBox(),
        "window": ctk.ctkRangeWidget(),
    }  # fmt: skip
    widgets["volume"].setMRMLScene(slicer.mrmlScene)
    widgets["volume"].noneEnabled = True
    panel = qt.QWidget()
    for name, widget in widgets.items():
        widget.setParent(panel)
        widget.setProperty("SlicerParameterName", name)
    p = parameters()
    tag = p.connectGui(panel)
    assert widgets["count"].value == 3 and widgets["window"].maximumValue == 20 and widgets["number"].maximum == 1

    p.volume, p.flag, p.color, p.text = blob, True, Color.BLUE, "b"
    assert widgets["volume"].currentNode() is blob and widgets["flag"].checked
    assert widgets["color"].currentText == "BLUE" and widgets["text"].currentText == "b"

    widgets["number"].value = -0.75
    widgets["count"].value = 8
    widgets["color"].currentIndex = 0
    widgets["path"].currentPath = "/tmp"
    widgets["point.x"].value = 6.0
    widgets["window"].setValues(30, 40)
    widgets["volume"].setCurrentNode(None)
    assert (p.number, p.count, p.color, p.path, p.point.x) == (-0.75, 8, Color.RED, pathlib.Path("/tmp"), 6.0)
    assert (p.window.minimum, p.window.maximum, p.volume) == (30, 40, None)

    p.disconnectGui(tag)
    widgets["count"].value = 1
    p.flag = False
    assert p.count == 8 and widgets["flag"].checked


def test_a_widget_that_cannot_show_the_type_is_refused(host, parameters):
    import qt

    with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
        parameters().connectParametersToGui({"flag": qt.QLineEdit()})
    with pytest.raises(ValueError, match="nosuch"):
        parameters().connectParametersToGui({"nosuch": qt.QLineEdit()})
    with pytest.raises(ValueError, match="reserved"):
        from slicer.parameterNodeWrapper import parameterNodeWrapper

        parameterNodeWrapper(type("Bad", (), {"getValue": 1, "__annotations__": {}}))
