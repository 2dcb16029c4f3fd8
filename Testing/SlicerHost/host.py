"""Starts the host, loads modules, presses their widgets, takes pictures."""

from __future__ import annotations

import atexit
import gc
import importlib.util
import os
import shutil
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import slicer.util
from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt, qInstallMessageHandler
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget
from shiboken6 import Shiboken

from CAMOverlayLib.scene import core

from . import modules, offered, pythonqt, qtmodules
from .application import qSlicerApplication, qSlicerIOManager, qSlicerLayoutManager
from .desk import qSlicerMainWindow, usePalette
from .dialogs import Dialogs
from .heartbeat import Heartbeat
from .widgets.slices import qMRMLSliceControllerWidget, qMRMLSliceView, qMRMLSliceWidget
from .widgets.tables import qMRMLTableWidget

PACKAGES = ("i18n", "ScriptedLoadableModule", "packaging", "parameterNodeWrapper")

#: Classes of which modules are handed objects and can make none.
INSTANCES = (
    qSlicerApplication,
    qSlicerLayoutManager,
    qSlicerIOManager,
    qSlicerMainWindow,
    qMRMLSliceWidget,
    qMRMLSliceView,
    qMRMLSliceControllerWidget,
    qMRMLTableWidget,
    modules.qSlicerLoadableModule,
    modules.qSlicerModuleManager,
)

_running: Host | None = None


def _qtMessage(kind: Any, context: Any, text: str) -> None:
    """Qt's own warnings, without the one that the off-screen platform gives for every window."""
    if "propagateSizeHints" not in text:
        print(f"Qt: {text}", file=sys.stderr)


class Host:
    """One Slicer without Slicer's Qt. There is one a process: use :func:`start`."""

    def __init__(self, dark: bool, testing: bool, mainWindow: bool, attended: bool, developerMode: bool) -> None:
        QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_DontUseNativeDialogs)
        self.errors = pythonqt.errors
        self.home = Path(tempfile.mkdtemp(prefix="SlicerHost-"))
        atexit.register(shutil.rmtree, self.home, ignore_errors=True)
        self.native = QApplication.instance() or qSlicerApplication(["Slicer"])
        if not isinstance(self.native, qSlicerApplication):
            raise RuntimeError("Another QApplication exists already: start the host first.")
        self._environment = {"PATH": os.environ.get("PATH", "")}, sys.executable
        self._slicerBefore = dict(vars(slicer))
        qInstallMessageHandler(_qtMessage)
        # VTK and PySide6 print what an observer or a virtual function raises by way of this hook.
        sys.excepthook = lambda kind, error, trace: self.errors.record(error)
        self._makePythonSlicer()
        self.native.prepare(self.home, testing)
        self.native.userSettings().setValue("Developer/DeveloperMode", developerMode)
        self.native.setQuitOnLastWindowClosed(attended)
        usePalette(self.native, dark)
        self._installModules()

        self.scene = core.ensureScene()
        applicationLogic = self._applicationLogic = core.applicationLogic()
        self._makeCache()
        self.layoutManager = qSlicerLayoutManager(applicationLogic) if mainWindow else None
        slicer.app = pythonqt.wrap(self.native)
        slicer.modules = sys.modules["slicer.modules"] = types.ModuleType("slicer.modules")
        self.modules = modules.qSlicerModuleManager(applicationLogic)
        self.native.attach(applicationLogic, self.layoutManager, self.modules)
        self.window = qSlicerMainWindow(self.layoutManager, self.modules) if mainWindow else None
        self.dialogs = Dialogs(attended)

    def _makePythonSlicer(self) -> None:
        """Slicer's Python interpreter is called PythonSlicer, and is what sys.executable names."""
        script = self.home / "bin" / "PythonSlicer"
        script.parent.mkdir(parents=True)
        if os.name == "posix":
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
            script.chmod(0o755)
            os.environ["PATH"] = f"{script.parent}{os.pathsep}{os.environ.get('PATH', '')}"
            sys.executable = str(script)

    def _makeCache(self) -> None:
        """Where the scene unpacks the scene files that it reads."""
        self._files = slicer.vtkDataIOManager()
        self._files.SetCacheManager(slicer.vtkCacheManager())
        self._files.GetCacheManager().SetRemoteCacheDirectory(str(self.home / "cache"))
        self.scene.SetDataIOManager(self._files)

    def _installModules(self) -> None:
        """Make `qt`, `ctk`, and what `slicer` has in Slicer and not in the PyPI core."""
        qtmodules.install()
        scripted = modules.scriptedOffers()
        for native in (*INSTANCES, *scripted):
            pythonqt.defineClass(native.__name__, native, constructible=False, offer=scripted.get(native))
        for wrapped in pythonqt._classes.values():
            if wrapped.__name__.startswith(("qSlicer", "qMRML")):
                setattr(slicer, wrapped.__name__, wrapped)
        folder = Path(__file__).with_name("slicerpython")
        for name in (*PACKAGES, "SampleData"):
            fullName = name if name == "SampleData" else f"slicer.{name}"
            spec = importlib.util.spec_from_file_location(fullName, folder / f"{name}.py")
            sys.modules[fullName] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            if name in offered.names("slicer"):  # the others must be imported explicitly
                setattr(slicer, name, module)
        # The PyPI core spills slicer.util and more into `slicer`; Slicer does not have these names there.
        for name in set(vars(slicer)) - offered.names("slicer") - {"me"}:
            if not name.startswith("_") and not isinstance(getattr(slicer, name), types.ModuleType):
                delattr(slicer, name)

    # --- modules ---

    def loadModule(self, path: str | os.PathLike[str]) -> Any:
        """Load a scripted module from its file, as Slicer does at its start. Returns `slicer.modules.<name>`."""
        module = modules.qSlicerScriptedLoadableModule(Path(path).resolve())
        module.load()
        self.modules.add(module)
        return pythonqt.wrap(module)

    def startupCompleted(self) -> None:
        """Tell modules that Slicer is up: the moment at which they register sample data."""
        self.native.startupCompleted.emit()
        self.process()

    def open(self, name: str, width: int = 1440, height: int = 900) -> Any:
        """Show the window with a module in its panel. Returns the module's Python widget."""
        module = self.modules.module(name)
        if module is None:
            raise ValueError(f"Module {name} is not loaded")
        if self.window is not None:
            if not self.window.isVisible():
                self.window.resize(width, height)
                self.window.show()
            self.window.selectModule(name)
        else:
            module.widgetRepresentation().enter()
        self.process()
        return module.widgetRepresentation().self()

    # --- waiting ---

    def process(self) -> None:
        """Let everything happen that is due, deletions included."""
        for _ in range(3):
            self.native.processEvents()
            while pythonqt.toDelete:
                doomed = pythonqt.toDelete.pop()
                if Shiboken.isValid(doomed):
                    doomed.deleteLater()
            self.native.sendPostedEvents(None, QEvent.Type.DeferredDelete)

    def wait(self, condition: Callable[[], Any], seconds: float = 10.0) -> Any:
        """Run the event loop until the condition holds; its value. TimeoutError names it after the time is up."""
        end = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > end:
                raise TimeoutError(f"Not so after {seconds} s: {getattr(condition, '__name__', condition)}")
            self.native.processEvents()
            time.sleep(0.001)
        return value

    def idle(self, seconds: float) -> None:
        """Run the event loop for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.native.processEvents()
            time.sleep(0.001)

    def heartbeat(self) -> Heartbeat:
        """Measure the gaps of the event loop in a `with` block."""
        return Heartbeat()

    # --- pressing ---

    def real(self, widget: Any) -> QWidget:
        """The PySide6 widget behind what a module holds."""
        return pythonqt.unwrap(widget)

    def click(self, widget: Any, position: tuple[int, int] | None = None) -> None:
        """Press and release the left button on a widget that can be seen and is enabled."""
        native = self._reachable(widget)
        if position is None and native.inherits("QAbstractButton"):
            position = self._buttonCentre(native)
        where = native.rect().center() if position is None else QPoint(*position)
        QTest.mouseClick(native, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, where)
        self.process()

    @staticmethod
    def _buttonCentre(button: Any) -> tuple[int, int]:
        """Where a click counts: the header of a collapsible button, the box of a check box in a wide row."""
        centre = button.rect().center()
        if button.hitButton(centre):
            return centre.x(), centre.y()
        places = ((x, y) for y in (8, centre.y()) for x in (8, centre.x()))
        return next((place for place in places if button.hitButton(QPoint(*place))), (8, 8))

    def choose(self, combo: Any, text: str) -> None:
        """Choose an entry of a combo box, also a node combo box, by its text, as a user would."""
        native = self._reachable(combo)
        inner = getattr(native, "_combo", native)
        row = inner.findText(text)
        if row < 0:
            raise LookupError(f"no entry {text!r} among {[inner.itemText(i) for i in range(inner.count())]}")
        inner.setCurrentIndex(row)
        inner.activated.emit(row)
        inner.textActivated.emit(text)
        self.process()

    def type(self, widget: Any, text: str) -> None:
        """Replace the text of a field by typing."""
        native = self._reachable(widget)
        target = native.focusProxy() or native
        target.setFocus()
        QTest.keyClick(target, Qt.Key.Key_A, Qt.KeyboardModifier.ControlModifier)
        QTest.keyClicks(target, text)
        self.process()

    def _reachable(self, widget: Any) -> QWidget:
        native = pythonqt.unwrap(widget)
        if not native.isVisible():
            raise AssertionError(f"{native.objectName() or native} cannot be seen")
        if not native.isEnabled():
            raise AssertionError(f"{native.objectName() or native} is disabled")
        if self.window is not None and self.window.isAncestorOf(native):
            self.window._panel.ensureWidgetVisible(native)
        return native

    # --- looking ---

    def grab(self, path: str | os.PathLike[str], widget: Any = None) -> Path:
        """Save a picture of the window or of one widget."""
        self.process()
        native = pythonqt.unwrap(widget) if widget is not None else self.window
        if not native.grab().save(str(path)):
            raise OSError(f"The picture cannot be saved as {path}")
        return Path(path)

    def sliceImage(self, view: str) -> Any:
        """What a slice view's pipeline shows, as an array of rows × columns × RGB; None without a volume."""
        pixels = self.layoutManager.sliceWidget(view).sliceView().pixels()
        return None if pixels is None else pixels[..., :3]

    # --- between tests ---

    def clear(self) -> None:
        """An empty scene, no recorded errors or dialogs: what a test starts from."""
        self.scene.Clear(0)
        self.process()
        self.errors.clear()
        self.dialogs.shown.clear()
        self.dialogs.unexpected.clear()
        self.dialogs._answers.clear()

    def checkNoErrors(self) -> None:
        """Fail on what Slicer would only have printed, and on dialogs that nobody answered."""
        if self.errors:
            count, first = len(self.errors), self.errors[0]
            raise AssertionError(f"{count} exception(s) were swallowed, first: {first!r}") from first
        if self.dialogs.unexpected:
            raise AssertionError(f"A dialog came unexpectedly: {self.dialogs.unexpected[0]}")

    def stop(self) -> None:
        """End as Slicer ends: aboutToQuit, modules clean up, temporary files go."""
        global _running
        self.native.aboutToQuit.emit()
        self.modules.unloadAll()
        self.process()
        if self.window is not None:
            self.window.hide()
            self.layoutManager.stop()
            self.window.selectModule("")
            self.window.deleteLater()
            self.process()
        self.dialogs.stop()
        self.scene.Clear(0)
        self.scene.SetDataIOManager(None)
        del self._files  # a cache manager makes its folder again when it is destroyed
        for name in set(vars(slicer)) - set(self._slicerBefore) - {"mrmlScene"}:
            delattr(slicer, name)
        vars(slicer).update(self._slicerBefore, mrmlScene=self.scene)
        gone = ("qt", "ctk", "SampleData", "slicer.modules", *(f"slicer.{name}" for name in PACKAGES))
        for name in [n for n in sys.modules if n in gone or n.startswith(tuple(f"{g}." for g in gone))]:
            del sys.modules[name]
        qInstallMessageHandler(None)
        sys.excepthook = sys.__excepthook__
        variables, sys.executable = self._environment
        os.environ.update(variables)
        shutil.rmtree(self.home, ignore_errors=True)
        _running = None
        gc.collect()


def start(
    dark: bool = False,
    testing: bool = False,
    mainWindow: bool = True,
    attended: bool = False,
    developerMode: bool = True,
) -> Host:
    """The running host, started on the first call.

    Args:
        dark: Slicer's dark theme.
        testing: what `slicer.app.testingEnabled()` says; Slicer skips message boxes then.
        mainWindow: without it `slicer.util.mainWindow()` and `slicer.app.layoutManager()` are None.
        attended: a person sits before it: dialogs wait, and the program ends with the window.
        developerMode: show the section “Reload & Test”.
    """
    global _running
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("Qt runs in the main thread only.")
    if _running is None:
        _running = Host(dark, testing, mainWindow, attended, developerMode)
    return _running
