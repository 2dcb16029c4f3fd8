"""Each line of “How it behaves” in the description of the real Slicer's Qt, tried on the host's."""

from __future__ import annotations

import gc

import numpy as np
import pytest

# --- properties and calls ---


def test_properties_are_attributes(host):
    import ctk
    import qt

    button = qt.QPushButton("x")
    assert button.text == "x"
    with pytest.raises(TypeError, match="'str' object is not callable"):
        button.text()
    combo = qt.QComboBox()
    combo.addItem("a", 1)
    combo.addItem("b", {"k": True})
    combo.currentIndex = 1
    assert (combo.count, combo.currentText, combo.currentData, combo.itemData(0)) == (2, "b", {"k": True}, 1)
    combo.setCurrentIndex(0)
    assert combo.currentIndex == 0
    assert qt.QTableWidget(2, 3).rowCount == 2
    assert qt.QTreeWidget().topLevelItemCount == 0
    timer = qt.QTimer()
    timer.interval = 50
    assert (timer.interval, timer.active) == (50, False)
    collapsible = ctk.ctkCollapsibleButton()
    collapsible.collapsed = True
    assert collapsible.collapsed is True


def test_what_is_not_a_property_is_a_call(host):
    import qt

    table = qt.QTableWidget(1, 1)
    table.setItem(0, 0, qt.QTableWidgetItem("cell"))
    tree = qt.QTreeWidget()
    item = qt.QTreeWidgetItem(tree)
    item.setText(0, "node")
    tree.setCurrentItem(item)
    parent = qt.QWidget()
    layout = qt.QVBoxLayout(parent)
    label = qt.QLabel("l")
    layout.addWidget(label)
    assert table.item(0, 0).text() == "cell"
    assert tree.currentItem().text(0) == "node"
    assert tree.header().className() == "QHeaderView"
    assert qt.QSize(3, 4).width() == 3
    assert qt.QColor(255, 0, 0).name() == "#ff0000"
    assert parent.layout().count() == 1
    assert label.parent() == parent
    assert qt.QCheckBox().checkState() == qt.Qt.Unchecked
    assert isinstance(parent.width, int) and parent.size.height() > 0


def test_new_attributes_are_refused_and_subclasses_too(host):
    import qt

    with pytest.raises(AttributeError, match="not allowed"):
        qt.QPushButton().nosuch = 1
    with pytest.raises(AttributeError):
        qt.QPushButton().nosuch  # noqa: B018

    with pytest.raises(AttributeError):
        qt.QPushButton.extra = 1
    with pytest.raises(NotImplementedError, match="no Python subclasses of QPushButton"):

        class Mine(qt.QPushButton):
            """The module has none; what Slicer gives them would have to be tried there first."""


def test_classes_do_not_inherit_from_each_other(host):
    import qt

    button = qt.QPushButton()
    assert not isinstance(button, qt.QWidget)
    assert button.className() == "QPushButton" and button.inherits("QWidget")


def test_name_is_object_name(host):
    import qt

    button = qt.QPushButton()
    button.name = "one"
    assert button.objectName == "one"


@pytest.mark.parametrize(
    "call",
    [
        lambda qt: qt.QPushButton(parent=None),
        lambda qt: qt.QVBoxLayout().addWidget(qt.QLabel(), stretch=1),
        lambda qt: qt.QSettings().value("a", type=bool),
    ],
)
def test_keyword_arguments_are_refused(host, call):
    import qt

    with pytest.raises(ValueError, match="keyword"):
        call(qt)


def test_connecting_takes_no_keywords_either(host):
    import qt

    for method in (qt.QPushButton().connect, qt.QPushButton().disconnect):
        with pytest.raises(TypeError):
            method(signal="clicked()", slot=print)


def test_a_missing_method_is_missing(host):
    import qt

    assert not hasattr(qt.QColor(), "getRgbF")
    assert not hasattr(qt.QWidget(), "width_")
    with pytest.raises(ValueError):
        qt.QImage(np.zeros((2, 2, 4), np.uint8), 2, 2, qt.QImage.Format_RGB32)


# --- signals ---


def test_three_ways_to_connect(host):
    import qt

    button, got = qt.QPushButton(), []
    button.clicked.connect(lambda checked: got.append(("signal", checked)))
    button.connect("clicked(bool)", lambda checked: got.append(("text", checked)))
    button.connect("clicked()", lambda: got.append("none"))
    button.click()
    assert got == [("signal", False), ("text", False), "none"]


def test_a_text_without_signature_only_warns(host, capsys):
    import qt

    assert qt.QPushButton().connect("clicked", print) is False
    assert "no such signal" in capsys.readouterr().err


def test_arguments_are_trimmed_defaults_included(host):
    import qt

    button, got = qt.QPushButton(), []
    button.clicked.connect(lambda i=7: got.append(i))
    button.clicked.connect(lambda: got.append("no argument"))
    button.clicked.connect(lambda *rest: got.append(rest))
    button.click()
    assert got == [False, "no argument", (False,)]


def test_an_exception_in_a_slot_is_printed_swallowed_and_recorded(host, capsys):
    import qt

    button = qt.QPushButton()
    button.connect("clicked()", lambda needed: None)
    button.click()
    assert "TypeError" in capsys.readouterr().err
    assert [type(error) for error in host.errors] == [TypeError]
    with pytest.raises(AssertionError, match="swallowed"):
        host.checkNoErrors()
    host.errors.clear()


def test_overloads(host):
    import qt

    combo, got = qt.QComboBox(), []
    combo.addItems(["a", "b"])
    combo.currentIndexChanged.connect(got.append)
    combo.connect("currentIndexChanged(QString)", got.append)
    combo.currentIndex = 1
    assert got == [1, "b"]
    with pytest.raises(TypeError):
        combo.currentIndexChanged[str]


def test_disconnect(host):
    import qt

    button, got = qt.QPushButton(), []

    class Receiver:
        def slot(self):
            got.append(1)

    receiver = Receiver()
    button.clicked.connect(receiver.slot)
    button.connect("clicked()", receiver.slot)
    button.clicked.disconnect(receiver.slot)
    button.click()
    assert got == []


def test_a_connection_keeps_the_object_of_a_bound_method(host):
    import qt

    got = []

    class Receiver:
        def slot(self):
            got.append(1)

    button = qt.QPushButton()
    button.clicked.connect(Receiver().slot)
    gc.collect()
    button.click()
    assert got == [1]


def test_timers(host):
    import qt

    got = []
    qt.QTimer.singleShot(1, lambda: got.append("single shot"))

    def startLocal():
        timer = qt.QTimer()
        timer.timeout.connect(lambda: got.append("local"))
        timer.start(1)

    startLocal()
    gc.collect()
    host.idle(0.05)
    assert got == ["single shot"]


# --- values ---


def test_lists_come_back_as_tuples(host):
    import qt
    import slicer

    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    combo, settings = qt.QComboBox(), qt.QSettings()
    combo.addItem("a", [1, 2])
    settings.setValue("list", ["x", "y"])
    parent = qt.QWidget()
    child = qt.QLabel(parent)
    assert selector.nodeTypes == ("vtkMRMLScalarVolumeNode",)
    assert combo.itemData(0) == (1, 2)
    assert settings.value("list") == ("x", "y")
    assert parent.children() == (child,)


def test_settings(host):
    import qt
    import slicer

    settings = qt.QSettings()
    settings.setValue("dict", {"a": 1})
    settings.setValue("flag", True)
    assert (settings.value("dict"), settings.value("nothing"), settings.value("nothing", 5)) == ({"a": 1}, None, 5)
    assert slicer.util.settingsValue("flag", False, converter=slicer.util.toBool) is True
    assert slicer.app.userSettings().value("dict") == {"a": 1}


def test_silent_conversions(host):
    import qt

    spin, label = qt.QSpinBox(), qt.QLabel()
    spin.setValue(2.7)
    assert spin.value == 2
    spin.setValue(np.int64(5))
    assert spin.value == 5
    spin.value = np.float64(3.9)
    assert spin.value == 3
    label.setText(5)
    assert label.text == "5"
    label.setText(None)
    assert label.text == ""


def test_enums_and_flags(host):
    import qt

    flags = qt.Qt.AlignLeft | qt.Qt.AlignTop
    assert flags == 33 and type(flags) is int
    label = qt.QLabel()
    label.setAlignment(flags)
    assert label.alignment == 33
    assert qt.QProcess().state() == qt.QProcess.NotRunning
    assert not hasattr(qt.QProcess.Running, "name")
    assert qt.QMessageBox.Ok | qt.QMessageBox.Cancel == 0x00400400
    item = qt.QTableWidgetItem("x")
    item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
    assert item.flags() == 33
    item.setData(qt.Qt.UserRole, [1])
    assert item.data(qt.Qt.UserRole) == (1,)
    table = qt.QTableWidget(1, 2)
    header = table.horizontalHeader()
    header.setSectionResizeMode(1, qt.QHeaderView.Stretch)


def test_byte_arrays(host):
    import qt

    array = qt.QByteArray(b"ab\n")
    assert array.data() == b"ab\n"
    assert str(array) == r"b'ab\n'"
    with pytest.raises(TypeError):
        bytes(array)


def test_a_process(host):
    import qt

    process, lines, ended = qt.QProcess(), [], []

    def read():
        while process.canReadLine():
            lines.append(process.readLine().data())

    process.readyReadStandardOutput.connect(read)
    process.finished.connect(lambda code, status: ended.append((code, status == qt.QProcess.NormalExit)))
    process.connect("stateChanged(QProcess::ProcessState)", lambda state: ended.append(state))
    environment = qt.QProcessEnvironment.systemEnvironment()
    environment.insert("HELLO", "there")
    process.setProcessEnvironment(environment)
    process.start("PythonSlicer", ["-c", "import os, sys; print(os.environ['HELLO'], input(), input())"])
    assert process.waitForStarted(5000)
    assert process.state() == qt.QProcess.Running and process.processId() > 0
    process.write("as text\n")
    process.write(b"as bytes\n")
    host.wait(lambda: len(ended) == 4)
    assert lines == [b"there as text as bytes\n"]
    assert ended == [1, 2, 0, (0, True)] or ended == [1, 2, (0, True), 0]
    assert (process.exitCode(), process.processId()) == (0, 0)


def test_items_and_widgets_survive_garbage_collection(host):
    import qt

    tree, table, box = qt.QTreeWidget(), qt.QTableWidget(1, 1), qt.QWidget()
    qt.QTreeWidgetItem(tree).setText(0, "kept")
    tree.addTopLevelItem(qt.QTreeWidgetItem(["second"]))
    table.setItem(0, 0, qt.QTableWidgetItem("kept"))
    qt.QVBoxLayout(box).addWidget(qt.QLabel("kept"))
    gc.collect()
    assert tree.topLevelItem(0).text(0) == "kept" and tree.topLevelItem(1).text(0) == "second"
    assert table.item(0, 0).text() == "kept"
    assert box.layout().itemAt(0).widget().text == "kept"


def test_a_destroyed_object(host):
    import qt

    label = qt.QLabel()
    label.deleteLater()
    host.process()
    assert not label
    with pytest.raises(ValueError, match="destroyed"):
        label.text  # noqa: B018
