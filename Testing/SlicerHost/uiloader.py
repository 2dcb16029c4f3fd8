"""Loads a Qt Designer file whose widgets are Slicer's."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QObject
from PySide6.QtUiTools import QUiLoader as NativeLoader
from PySide6.QtWidgets import QWidget

from . import offered, pythonqt


class QUiLoader(NativeLoader):
    """Qt's loader, knowing ctk and qMRML widgets as Slicer's loader knows them from its Designer plugins."""

    widgets: dict[str, type[QWidget]] = {}

    def createWidget(self, className: str, parent: QWidget | None = None, name: str = "") -> QWidget:
        kind = self.widgets.get(className)
        if kind is None:
            if className.startswith(("ctk", "qMRML", "qSlicer")):
                raise NotImplementedError(f"SlicerHost has no widget {className} yet; see SlicerHost/widgets")
            return super().createWidget(className, parent, name)
        widget = kind(parent)
        widget.setObjectName(name)
        return widget

    def load(self, device: QIODevice, parent: QWidget | None = None) -> QWidget | None:
        """Qt makes the widgets; the connections are made here, as they name C++ types that Python signals lack."""
        if not device.isOpen():
            device.open(QIODevice.OpenModeFlag.ReadOnly)
        document = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = document.find("connections")
        wanted = [
            tuple(connection.findtext(part) for part in ("sender", "signal", "receiver", "slot"))
            for connection in (connections if connections is not None else ())
        ]
        if connections is not None:
            document.remove(connections)
        self._simplify(document)
        buffer = QBuffer()
        buffer.setData(QByteArray(ElementTree.tostring(document)))
        buffer.open(QIODevice.OpenModeFlag.ReadOnly)
        root = super().load(buffer, parent)
        if root is not None:
            for connection in wanted:
                self._connect(root, *connection)
        return root

    def _simplify(self, document: ElementTree.Element) -> None:
        """Turn enum names of Slicer's own widgets into numbers: Qt does not know the enums of Python classes."""
        for widget in document.iter("widget"):
            kind = self.widgets.get(widget.get("class", ""))
            if kind is None:
                continue
            known = offered.offer(widget.get("class")).properties
            for prop in widget.findall("property"):
                if prop.get("name") not in known and prop.get("stdset") != "0":
                    print(f"Qt Designer file: {widget.get('class')} has no property {prop.get('name')}")
                for value in list(prop):
                    names = (value.text or "").split("|")
                    isQt = any(name.startswith(("Qt::", "QFrame::", "QSizePolicy")) for name in names)
                    if value.tag not in ("enum", "set") or isQt:
                        continue
                    numbers = [getattr(kind, n.rpartition("::")[2], None) for n in names]
                    if all(isinstance(n, int) for n in numbers):
                        prop.remove(value)
                        ElementTree.SubElement(prop, "number").text = str(sum(numbers))

    def _connect(self, root: QWidget, sender: str, signal: str, receiver: str, slot: str) -> None:
        ends = [root if root.objectName() == name else root.findChild(QObject, name) for name in (sender, receiver)]
        if None in ends:
            print(f"Qt Designer file: no widget {sender} or {receiver}")
            return
        source, target = (pythonqt.wrap(end) for end in ends)
        method = getattr(target, slot.partition("(")[0], None)
        if method is None or not pythonqt.connect(source, signal, method):
            print(f"Qt Designer file: cannot connect {sender}.{signal}")
