"""The shared libraries that PySide6 needs and does not bring along.

    python Testing/SlicerHost/system_libraries.py     # exit status 0: all there

On a bare Linux machine (a container, mostly) Qt cannot even be imported without them. They are installed
where that is possible (root and apt), elsewhere one line says what to install. Nothing is needed on
macOS and Windows.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys

#: Library and the Debian package that has it. The second list is for windows on a screen only.
NEEDED = {
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libxkbcommon.so.0": "libxkbcommon0",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libX11.so.6": "libx11-6",
    "libXrender.so.1": "libxrender1",
}
NEEDED_ON_SCREEN = {
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
}


def missing(libraries: dict[str, str]) -> list[str]:
    """The packages of those libraries that cannot be loaded."""
    if not sys.platform.startswith("linux"):
        return []
    packages = []
    for library, package in libraries.items():
        try:
            ctypes.CDLL(library)
        except OSError:
            packages.append(package)
    return packages


def ensure() -> bool:
    """Whether Qt can start; installs what is missing where it may, and says what to install where it may not."""
    libraries = dict(NEEDED)
    if os.environ.get("QT_QPA_PLATFORM") != "offscreen" and os.environ.get("DISPLAY"):
        libraries.update(NEEDED_ON_SCREEN)
    packages = missing(libraries)
    if packages and hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get"):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        install = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
        for command in (["apt-get", "update", "-q"], install):
            if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL).returncode != 0:
                break
        packages = missing(libraries)
    if packages:
        print(f"Qt needs system libraries: sudo apt-get install {' '.join(packages)}", file=sys.stderr)
    return not packages


if __name__ == "__main__":
    sys.exit(0 if ensure() else 1)
