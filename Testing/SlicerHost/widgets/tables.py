"""Slicer's table view: shows the table node that its view node refers to, in rows that can be sorted."""

from __future__ import annotations

from typing import Any

import vtk
from PySide6.QtCore import QSortFilterProxyModel
from PySide6.QtGui import QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QAbstractItemView, QTableView, QVBoxLayout, QWidget
from slicer.util import VTKObservationMixin

from .qmrml import qMRMLWidget


class qMRMLTableView(QTableView):
    """A table node's cells as text, behind a proxy that sorts."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._model = QStandardItemModel(self)
        proxy = QSortFilterProxyModel(self)
        proxy.setSourceModel(self._model)
        self.setModel(proxy)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)

    def fill(self, table: Any) -> None:
        self._model.clear()
        if table is None:
            return
        columns = range(table.GetNumberOfColumns())
        self._model.setHorizontalHeaderLabels([table.GetColumnName(column) for column in columns])
        for row in range(table.GetNumberOfRows()):
            self._model.appendRow([QStandardItem(table.GetCellText(row, column)) for column in columns])


class qMRMLTableWidget(qMRMLWidget):
    """A table view of the layout."""

    def __init__(self, viewNode: Any, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._node, self._table, self._view = viewNode, None, qMRMLTableView(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._view)
        self._observations = VTKObservationMixin()
        self._observations.addObserver(viewNode, vtk.vtkCommand.ModifiedEvent, self._follow)
        self._follow()

    def _follow(self, *_: Any) -> None:
        table = self._node.GetTableNode()
        if table is self._table:
            return
        if self._table is not None:
            self._observations.removeObserver(self._table, vtk.vtkCommand.ModifiedEvent, self._fill)
        self._table = table
        if table is not None:
            self._observations.addObserver(table, vtk.vtkCommand.ModifiedEvent, self._fill)
        self._fill()

    def _fill(self, *_: Any) -> None:
        self._view.fill(self._table)

    def close(self) -> bool:
        self._observations.removeObservers()
        return super().close()

    def tableView(self) -> qMRMLTableView:
        return self._view

    def mrmlTableViewNode(self) -> Any:
        return self._node
