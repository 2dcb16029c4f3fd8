"""The row Model Zoo: lists the bundles there are, downloads one, and removes one again; in a process of its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ... import zoo
from ...contract.records import absolute
from ...worker.interpreter import LIBRARY, child_environment, own_python

FOLDER_KEY = "CAMOverlay/ZooFolder"
LONGEST_MESSAGE = 600


class ZooRow:
    """List first, then Download; Cancel while something is on its way; Remove what was downloaded, for which no list is
    needed: what is on disk can be chosen from the beginning.

    Args:
        ui: the panel's widgets by name.
        onBundle: called with the folder of a bundle that was downloaded.
    """

    def __init__(self, ui: Any, onBundle: Callable[[str], None]) -> None:
        self.ui = ui
        self._onBundle = onBundle
        self._process: Any = None
        self._answered = self._listed = False
        self._bundles: list[tuple[str, str]] = []
        self._there: dict[str, zoo.Download] = {}
        self._parent, self._token, self._warning = "", "", ""
        ui.zooButton.clicked.connect(self._onButton)
        ui.zooRemoveButton.clicked.connect(self._onRemove)
        ui.zooSelector.currentIndexChanged.connect(self._onChoice)
        self._showBundles()

    def stop(self) -> None:
        """End what is on its way; nothing half-done stays."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.waitForFinished(2000)
        if self._parent:  # it was killed, so it could not clear away what it had
            zoo.sweep(Path(self._parent), self._token)
        self._showIdle()

    def _chosen(self) -> str:
        index = self.ui.zooSelector.currentIndex
        return str(self.ui.zooSelector.itemData(index) or "") if index >= 0 else ""

    @staticmethod
    def _folder() -> str:
        """Where bundles were put last; empty where none ever was."""
        folder = str(slicer.app.userSettings().value(FOLDER_KEY) or "")
        return absolute(folder) if folder else ""

    def _onButton(self, checked: bool = False) -> None:
        if self._process is not None:
            self.stop()
            self._say(_("The download was cancelled."))
        elif not self._listed:
            self._say(_("Fetching the list …"))
            self._parent = ""
            self._start(["list"])
        elif name := self._chosen():
            self._download(name)

    def _download(self, name: str) -> None:
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(),
            _("Folder to put the bundle “{name}” into").format(name=name),
            self._folder() or str(Path.home()),
        )
        if not folder:
            return
        folder = absolute(str(folder))  # the process has another working directory
        slicer.app.userSettings().setValue(FOLDER_KEY, folder)
        self._say(_("Downloading {name} …").format(name=name))
        self._parent, self._token = folder, uuid.uuid4().hex
        self._start(["download", name, folder, self._token])

    def _onRemove(self, checked: bool = False) -> None:
        """Delete a bundle that was downloaded here, after asking."""
        record = self._there.get(self._chosen())
        if record is None or self._process is not None:
            return
        question = _("Remove “{name}” {version} from the disk?\n\n{folder}").format(
            name=record.name, version=record.version, folder=record.folder
        )
        if not slicer.util.confirmOkCancelDisplay(question, windowTitle=_("CAM Overlay")):
            return
        try:
            rest = zoo.remove(record.folder)
        except zoo.ZooError as error:
            self._say(str(error))
        else:
            kept = _("Removed; files that were not downloaded stay: {names}").format(names=", ".join(rest[:3]))
            self._say(kept if rest else _("Removed {name} {version}.").format(name=record.name, version=record.version))
        self._showBundles()

    def _start(self, arguments: list[str]) -> None:
        python = own_python()
        self._process = process = qt.QProcess()
        environment = qt.QProcessEnvironment()
        for key, value in child_environment(python).items():
            environment.insert(key, value)
        process.setProcessEnvironment(environment)
        process.setWorkingDirectory(str(LIBRARY))  # Python looks there first, and finds nothing that it should not
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onFinished)
        self._answered, self._warning = False, ""
        self.ui.zooButton.text = _("Cancel")
        self.ui.zooRemoveButton.enabled = False
        process.start(python, ["-m", "CAMOverlayLib.zoo", *arguments])

    def _onOutput(self) -> None:
        while self._process is not None and self._process.canReadLine():
            try:
                message = json.loads(self._process.readLine().data())
            except ValueError:
                continue
            if isinstance(message, dict):
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        if "fraction" in message:
            self._say(_("Downloading … {share:.0%}").format(share=message["fraction"]))
            return
        if "warning" in message:
            self._warning = str(message["warning"])
            return
        self._answered = True
        if "error" in message:
            self._say(str(message["error"]))
        elif "bundles" in message:
            self._bundles = [(str(name), str(version)) for name, version in message["bundles"]]
            self._listed = bool(self._bundles)
            self._showBundles()
            self._say("" if self._bundles else _("The Model Zoo's list names no bundle."))
        elif "folder" in message:
            self._showBundles()
            self._say(
                _("Downloaded to {folder}").format(folder=message["folder"])
                + (f"\n{self._warning}" if self._warning else "")
            )
            self._onBundle(message["folder"])

    def _showBundles(self) -> None:
        """The list, and what is on disk, also where the list does not name it; the chosen one stays chosen."""
        folder = self._folder()
        self._there = zoo.downloaded(Path(folder)) if folder else {}
        chosen, selector = self._chosen(), self.ui.zooSelector
        newest = {name: record.version for name, record in self._there.items()} | dict(self._bundles)
        blocked = selector.blockSignals(True)
        selector.clear()
        for name, version in sorted(newest.items()):
            record = self._there.get(name)
            if record is None:
                words = f"{name} {version}"
            elif zoo.order(record.version) < zoo.order(version):
                words = _("{name} {version} (newer than yours, {yours})").format(
                    name=name, version=version, yours=record.version
                )
            else:
                words = _("{name} {version} (downloaded)").format(name=name, version=record.version)
            selector.addItem(words, name)
        names = sorted(newest)
        if not names:
            selector.addItem(_("Not listed yet"))
        selector.enabled = bool(names)
        selector.setCurrentIndex(names.index(chosen) if chosen in names else 0)
        selector.blockSignals(blocked)
        self._onChoice()

    def _onChoice(self, index: int = 0) -> None:
        self.ui.zooRemoveButton.enabled = self._process is None and self._chosen() in self._there

    def _onFinished(self, *_arguments: Any) -> None:
        if self._process is None:
            return
        self._onOutput()
        self._process = None
        if not self._answered:
            self._say(_("The Model Zoo could not be reached. Bundles on disk work without it."))
        if self._parent:
            zoo.sweep(Path(self._parent), self._token)  # where it crashed, or was killed by somebody else
        self._showIdle()

    def _showIdle(self) -> None:
        self.ui.zooButton.text = _("&Download…") if self._listed else _("&List")
        self._onChoice()

    def _say(self, words: str) -> None:
        self.ui.zooLabel.text = words if len(words) <= LONGEST_MESSAGE else words[: LONGEST_MESSAGE - 1] + "…"
        self.ui.zooLabel.visible = bool(words)
