"""The ctk and qMRML widgets: what a panel relies on."""

from __future__ import annotations

import pytest


def volume(name="v", cls="vtkMRMLScalarVolumeNode"):
    import slicer

    return slicer.mrmlScene.AddNewNodeByClass(cls, name)


@pytest.fixture
def selector(host):
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.showChildNodeTypes = False
    selector.setMRMLScene(slicer.mrmlScene)
    return selector


def entries(host, selector) -> list[str]:
    inner = host.real(selector)._combo
    return [inner.itemText(row) for row in range(inner.count())]


def test_node_combo_box_follows_the_scene(host, selector):
    import slicer

    seen = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", seen.append)
    selector.connect("currentNodeChanged(bool)", seen.append)
    first = volume("first")
    assert selector.currentNode() is first and selector.currentNodeID == first.GetID()
    assert seen == [first, True]
    second = volume("second")
    volume("label", "vtkMRMLLabelMapVolumeNode")  # a child type
    hidden = volume("hidden")
    hidden.SetHideFromEditors(1)
    selector.showHidden = False
    assert selector.nodeCount() == 2
    second.SetName("renamed")
    assert "renamed" in entries(host, selector)
    slicer.mrmlScene.RemoveNode(first)
    assert selector.currentNode() is second
    slicer.mrmlScene.Clear(0)
    assert selector.currentNode() is None and selector.currentNodeID == ""
    assert seen[-2:] == [None, False]


def test_node_combo_box_with_none(host, selector):
    node = volume()
    selector.noneEnabled = True
    selector.setCurrentNode(None)
    assert selector.currentNode() is None
    volume("other")
    assert selector.currentNode() is None
    selector.setCurrentNodeID(node.GetID())
    assert selector.currentNode() is node
    selector.currentNodeID = ""
    assert selector.currentNode() is None


def test_node_combo_box_makes_renames_and_deletes_nodes(host, selector):
    import slicer

    added = []
    selector.nodeAddedByUser.connect(added.append)
    selector.baseName = "Overlay"
    selector.renameEnabled = True
    selector.show()
    host.process()
    create = next(
        text for text in entries(host, selector) if text.startswith("Create new") and "as" not in text.split()
    )
    host.choose(selector, create)
    node = selector.currentNode()
    assert added == [node] and node.GetName().startswith("Overlay")
    host.dialogs.answer("My overlay")
    host.choose(selector, next(text for text in entries(host, selector) if text.startswith("Rename")))
    assert node.GetName() == "My overlay"
    host.choose(selector, next(text for text in entries(host, selector) if text.startswith("Delete")))
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_color_table_combo_box(host):
    import slicer

    combo = slicer.qMRMLColorTableComboBox()
    combo.setMRMLScene(slicer.mrmlScene)
    assert combo.nodeCount() > 20
    combo.setCurrentNode(slicer.util.getNode("Grey"))
    assert combo.currentNode().GetName() == "Grey"


def test_color_table_combo_box_shows_the_colors_of_now(host):
    import slicer

    combo = slicer.qMRMLColorTableComboBox()
    combo.setMRMLScene(slicer.mrmlScene)
    native = host.real(combo)._combo

    def newTable(name, color):
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLColorTableNode", name)
        node.SetTypeToUser()
        node.SetNumberOfColors(4)
        for index in range(4):
            node.SetColor(index, name, *color)
        return node

    def shown(name):
        return native.itemIcon(native.findText(name)).pixmap(64, 12).toImage().pixelColor(30, 6).getRgb()[:3]

    node = newTable("Mine", (1, 0, 0))
    newTable("Other", (0, 0, 1))
    newTable("Later", (0, 1, 0))  # a node that comes fills the list anew
    assert [shown(name) for name in ("Mine", "Other")] == [(255, 0, 0), (0, 0, 255)]
    for index in range(4):
        node.SetColor(index, "Mine", 0, 1, 0)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("Other"))
    assert shown("Mine") == (0, 255, 0)


def test_collapsible_button_hides_what_is_inside(host):
    import ctk
    import qt

    section = ctk.ctkCollapsibleButton()
    section.text = "Section"
    layout = qt.QFormLayout(section)
    inside, hidden = qt.QPushButton("inside"), qt.QPushButton("hidden")
    layout.addRow(inside)
    layout.addRow(hidden)
    hidden.visible = False
    folded = []
    section.contentsCollapsed.connect(folded.append)
    section.show()
    section.resize(200, 100)
    host.process()
    host.click(section, (20, 8))
    assert section.collapsed and not inside.visible and folded == [True]
    late = qt.QPushButton("late", section)
    layout.addRow(late)
    host.process()
    assert not late.visible
    section.collapsed = False
    host.process()
    assert inside.visible and late.visible and not hidden.visible


def test_slider_and_spin_boxes(host):
    import ctk

    slider, seen = ctk.ctkSliderWidget(), []
    slider.decimals = 2
    slider.singleStep = 0.01
    slider.minimum, slider.maximum = -1.0, 1.0
    slider.valueChanged.connect(seen.append)
    slider.value = 0.25
    assert seen == [0.25] and slider.value == 0.25
    host.real(slider)._slider.setValue(150)  # the user drags: 150 steps of 0.01 above -1
    assert slider.value == pytest.approx(0.5) and seen[-1] == pytest.approx(0.5)
    slider.value = 7
    assert slider.value == 1 == seen[-1]


def test_range_widget(host):
    import ctk

    widget, seen = ctk.ctkRangeWidget(), []
    widget.connect("valuesChanged(double,double)", lambda low, high: seen.append((low, high)))
    widget.setRange(0, 1)
    widget.singleStep = 0.01
    widget.setValues(0.2, 0.8)
    assert (widget.minimumValue, widget.maximumValue) == (0.2, 0.8) and seen[-1] == (0.2, 0.8)
    widget.maximumValue = 0.1
    assert widget.minimumValue <= widget.maximumValue


def test_path_line_edit(host, tmp_path):
    import ctk

    edit, seen = ctk.ctkPathLineEdit(), []
    edit.filters = ctk.ctkPathLineEdit.Dirs | ctk.ctkPathLineEdit.Readable
    edit.settingKey = "Test/Folders"
    edit.currentPathChanged.connect(seen.append)
    edit.currentPath = str(tmp_path)
    edit.currentPath = str(tmp_path)
    assert seen == [str(tmp_path)]


@pytest.mark.parametrize("times", [1, 2])
def test_a_path_put_into_the_history_is_announced_again(host, tmp_path, times):
    """Slicer's does so although the path is the same: a panel that reads its bundle anew each time loses its layers."""
    import ctk

    edit, seen = ctk.ctkPathLineEdit(), []
    edit.settingKey = f"Test/History{times}"
    edit.currentPath = str(tmp_path)
    for _ in range(times):
        edit.currentPathChanged.connect(seen.append)
        seen.clear()
        edit.addCurrentPathToHistory()
        assert seen and seen[-1] == str(tmp_path) == edit.currentPath
        seen.clear()
        edit.retrieveHistory()
        assert seen and seen[-1] == str(tmp_path) == edit.currentPath
    assert [edit.comboBox().itemText(row) for row in range(edit.comboBox().count)] == [str(tmp_path)]


def test_an_empty_path_becomes_the_last_one_used(host, tmp_path):
    import ctk

    edit, other, seen = ctk.ctkPathLineEdit(), ctk.ctkPathLineEdit(), []
    edit.settingKey = other.settingKey = "Test/Last"
    edit.currentPath = str(tmp_path)
    edit.addCurrentPathToHistory()
    other.currentPathChanged.connect(seen.append)
    other.retrieveHistory()
    assert other.currentPath == str(tmp_path) and seen == [str(tmp_path)]


def test_folder_dialogs_give_the_path(host):
    import qt

    host.dialogs.answer("/some/bundle")
    assert qt.QFileDialog.getExistingDirectory(None, "Bundle") == "/some/bundle"
