"""`python -m SlicerHost desk` opens the window; `python -m SlicerHost screenshot FILE` saves a picture of it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "CAMOverlay" / "CAMOverlay.py"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m SlicerHost", description=__doc__)
    parser.add_argument("--dark", action="store_true", help="Slicer's dark theme")
    parser.add_argument("--scale", type=float, default=1.0, help="size of everything on the screen, 2 for 200 %%")
    commands = parser.add_subparsers(dest="command", required=True)
    desk = commands.add_parser("desk", help="open the window on a screen")
    desk.add_argument("volumes", nargs="*", help="image files to load")
    screenshot = commands.add_parser("screenshot", help="run the demo off-screen and save a picture of the window")
    screenshot.add_argument("output", type=Path)
    options = parser.parse_args(arguments)

    os.environ["QT_SCALE_FACTOR"] = str(options.scale)  # read when Qt starts, so before the first import of it
    if options.command == "screenshot":
        os.environ["QT_QPA_PLATFORM"] = "offscreen"

    from .system_libraries import ensure

    if not ensure():
        return 1
    return openDesk(options) if options.command == "desk" else takeScreenshot(options)


def openDesk(options: argparse.Namespace) -> int:
    import slicer

    from . import start

    host = start(dark=options.dark, attended=True)
    host.loadModule(MODULE)
    host.startupCompleted()
    for path in options.volumes:
        slicer.util.loadVolume(path)
    host.open(MODULE.stem)
    status = host.native.exec()
    host.stop()
    return status


def takeScreenshot(options: argparse.Namespace) -> int:
    from . import start

    host = start(dark=options.dark, developerMode=False)
    host.loadModule(MODULE)
    host.startupCompleted()
    panel = host.open(MODULE.stem, 1440, 1310)
    demonstrate(host, panel)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    print(host.grab(options.output))
    host.checkNoErrors()
    host.stop()
    return 0


def demonstrate(host, panel) -> None:
    """Press the real buttons until there is something to see: the demo volume, the demo bundle, Apply, the peak."""
    import SampleData

    from CAMOverlayLib.demo import DEMO_BUNDLE

    volume = SampleData.downloadSample("CAMOverlayDemo")
    host.wait(lambda: panel.ui.inputSelector.currentNode() is volume)
    host.type(panel.ui.bundleSelector, str(DEMO_BUNDLE))
    host.wait(lambda: panel.ui.applyButton.enabled)
    host.click(panel.ui.applyButton)
    host.wait(lambda: panel.ui.resultButton.enabled and not panel.panel.busy, 180)
    host.wait(lambda: panel.panel.explain.layersKnown, 60)
    host.click(panel.ui.legendBox)
    host.idle(0.5)


if __name__ == "__main__":
    sys.exit(main())
