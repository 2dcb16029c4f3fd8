"""The row Model Zoo: lists the bundles there are and downloads one, in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..worker.interpreter import child_environment, own_python

FOLDER_KEY = "CAMOverlay/ZooFolder"


class ZooRow:
    """List first, then Download; Cancel while something is on its way.

    Args:
        ui: the panel's widgets by name.
        onBundle: called with the folder of a bundle that was downloaded.
    """

    def __init__(self, ui: Any, onBundle: Callable[[str], None]) -> None:
        self.ui = ui
        self._onBundle = onBundle
        self._process: Any = None
        self._answered = False
        ui.zooSelector.addItem(_("Not listed yet"))
        ui.zooButton.clicked.connect(self._onButton)

    def stop(self) -> None:
        """End what is on its way; nothing half-done stays."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.waitForFinished(1000)
            self._showIdle()

    @property
    def _listed(self) -> bool:
        return bool(self.ui.zooSelector.enabled)

    def _onButton(self, checked: bool = False) -> None:
        if self._process is not None:
            self.stop()
            self._say(_("The download was cancelled."))
        elif not self._listed:
            self._say(_("Fetching the list …"))
            self._start(["list"])
        else:
            self._download(str(self.ui.zooSelector.itemData(self.ui.zooSelector.currentIndex)))

    def _download(self, name: str) -> None:
        settings = slicer.app.userSettings()
        start = str(settings.value(FOLDER_KEY) or Path.home())
        folder = qt.QFileDialog.getExistingDirectory(
            slicer.util.mainWindow(), _("Folder to put the bundle “{name}” into").format(name=name), start
        )
        if not folder:
            return
        settings.setValue(FOLDER_KEY, folder)
        self._say(_("Downloading {name} …").format(name=name))
        self._start(["download", name, folder])

    def _start(self, arguments: list[str]) -> None:
        python = own_python()
        self._process = process = qt.QProcess()
        environment = qt.QProcessEnvironment()
        for key, value in child_environment(python).items():
            environment.insert(key, value)
        process.setProcessEnvironment(environment)
        process.connect("readyReadStandardOutput()", self._onOutput)
        process.connect("finished(int,QProcess::ExitStatus)", self._onFinished)
        process.connect("errorOccurred(QProcess::ProcessError)", self._onFinished)
        self._answered = False
        self.ui.zooSelector.enabled = False if arguments[0] == "list" else self.ui.zooSelector.enabled
        self.ui.zooButton.text = _("Cancel")
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
        self._answered = True
        if "error" in message:
            self._say(message["error"])
        elif "bundles" in message:
            self.ui.zooSelector.clear()
            for name, version in message["bundles"]:
                self.ui.zooSelector.addItem(f"{name} {version}", name)
            self.ui.zooSelector.enabled = self.ui.zooSelector.count > 0
            self._say("")
        elif "folder" in message:
            self._say(_("Downloaded to {folder}").format(folder=message["folder"]))
            self._onBundle(message["folder"])

    def _onFinished(self, *_arguments: Any) -> None:
        if self._process is None:
            return
        self._onOutput()
        self._process = None
        if not self._answered:
            self._say(_("The Model Zoo could not be reached. Bundles on disk work without it."))
        self._showIdle()

    def _showIdle(self) -> None:
        self.ui.zooButton.text = _("&Download…") if self._listed else _("&List")

    def _say(self, words: str) -> None:
        self.ui.zooLabel.text = words
        self.ui.zooLabel.visible = bool(words)
