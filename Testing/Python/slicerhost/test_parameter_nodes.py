"""`slicer.parameterNodeWrapper`, as far as the panel uses it: values, limits, widgets, scene files."""

from typing import Annotated

import pytest


@pytest.fixture
def parameters(host):
    """A wrapper with a member of every kind, on a fresh node."""
    import slicer
    from slicer.parameterNodeWrapper import Decimals, SingleStep, WithinRange, parameterNodeWrapper

    @parameterNodeWrapper
    class Parameters:
        volume: slicer.vtkMRMLScalarVolumeNode
        number: Annotated[float, WithinRange(-1, 1), Decimals(3), SingleStep(0.125)] = 0.5
        plain: float
        flag: bool
        text: str
        name: str = "a"

    def make(node=None):
        return Parameters(node or slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "P"))

    return make


def test_defaults(parameters):
    p = parameters()
    assert (p.volume, p.number, p.plain, p.flag, p.text, p.name) == (None, 0.5, 0.0, False, "", "a")


def test_values_are_texts_on_the_node(parameters):
    p = parameters()
    p.number, p.flag, p.text = 0.25, True, "b"
    texts = [p.parameterNode.GetParameter(name) for name in ("number", "flag", "text", "name", "plain")]
    assert texts == ["0.25", "True", "b", "a", "0.0"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("number", 2, ValueError),
        ("number", "x", TypeError),
        ("number", None, ValueError),
        ("plain", "1", TypeError),
        ("text", 1, TypeError),
        ("text", None, ValueError),
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


def test_a_spoilt_text_is_an_error_where_it_is_read(parameters):
    p = parameters()
    p.parameterNode.SetParameter("number", "no number")
    again = parameters(p.parameterNode)
    with pytest.raises(ValueError, match="no number"):
        again.number  # noqa: B018


def test_nodes(host, parameters):
    import slicer

    p = parameters()
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    p.volume = volume
    assert p.volume is volume and p.parameterNode.GetNodeReferenceID("volume") == volume.GetID()
    slicer.mrmlScene.RemoveNode(volume)
    assert p.volume is None


def test_one_change_is_one_event(host, parameters):
    import slicer
    import vtk

    p, events = parameters(), []
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    p.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: events.append(1))
    p.volume = volume  # a text and a reference
    assert len(events) == 1
    with slicer.util.NodeModify(p.parameterNode):
        p.text, p.number = "c", 0.75
    assert len(events) == 2


def test_round_trip_through_a_scene_file(host, parameters, blob, tmp_path):
    import slicer

    p = parameters()
    p.volume, p.number, p.flag, p.text = blob, -0.5, True, "x, y; “z”"
    assert slicer.util.saveScene(str(tmp_path / "s.mrb"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "s.mrb"))
    again = parameters(slicer.util.getNode("P"))
    assert again.volume.GetName() == "Blob"
    assert (again.number, again.flag, again.text, again.name) == (-0.5, True, "x, y; “z”", "a")


class Named:
    """What `slicer.util.childWidgetVariables` returns: widgets as attributes."""

    def __init__(self, **widgets) -> None:
        for name, widget in widgets.items():
            widget.setProperty("SlicerParameterName", name)
        vars(self).update(widgets)


def test_widgets_both_ways(host, parameters, blob):
    import ctk
    import qt
    import slicer

    ui = Named(volume=slicer.qMRMLNodeComboBox(), number=ctk.ctkSliderWidget(), flag=qt.QCheckBox())
    ui.untied = qt.QLabel()
    ui.volume.setMRMLScene(slicer.mrmlScene)
    ui.volume.noneEnabled = True
    p = parameters()
    tag = p.connectGui(ui)
    assert ui.volume.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert (ui.number.minimum, ui.number.maximum, ui.number.decimals, ui.number.singleStep) == (-1, 1, 3, 0.125)
    assert (ui.number.value, ui.flag.checked, ui.volume.currentNode()) == (0.5, False, None)

    p.volume, p.flag, p.number = blob, True, 0.25
    assert (ui.volume.currentNode(), ui.flag.checked, ui.number.value) == (blob, True, 0.25)

    ui.number.value, ui.flag.checked = -0.75, False
    ui.volume.setCurrentNode(None)
    assert (p.number, p.flag, p.volume) == (-0.75, False, None)

    p.disconnectGui(tag)
    ui.number.value = 1
    p.flag = True
    assert p.number == -0.75 and not ui.flag.checked


def test_a_widget_that_cannot_show_the_type_is_refused(host, parameters):
    import ctk
    import qt
    import slicer
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    refused = {"flag": qt.QLineEdit(), "number": qt.QCheckBox(), "volume": slicer.qMRMLColorTableComboBox()}
    for name, widget in refused.items():
        with pytest.raises(RuntimeError, match="Unable to create GUI connector"):
            parameters().connectGui(Named(**{name: widget}))
    with pytest.raises(RuntimeError, match="unbounded"):
        parameters().connectGui(Named(plain=ctk.ctkSliderWidget()))
    with pytest.raises(ValueError, match="nosuch"):
        parameters().connectGui(Named(nosuch=qt.QCheckBox()))
    with pytest.raises(ValueError, match="reserved"):
        parameterNodeWrapper(type("Bad", (), {"getValue": 1, "__annotations__": {}}))
    with pytest.raises(Exception, match="Unable to create serializer"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"member": complex}}))
