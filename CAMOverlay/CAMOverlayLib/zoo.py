"""The MONAI Model Zoo: what there is, and one bundle of it on disk. A program of its own, so that no wait blocks Slicer.

    python -m CAMOverlayLib.zoo list                      # {"bundles": [["spleen_ct_segmentation", "0.6.0"], …]}
    python -m CAMOverlayLib.zoo download NAME FOLDER      # {"fraction": 0.3} … {"folder": "FOLDER/NAME"}

Each line is a JSON object; what went wrong is ``{"error": "a sentence"}``. It needs nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import ssl
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIST_URL = os.environ.get(
    "CAMOVERLAY_ZOO", "https://raw.githubusercontent.com/Project-MONAI/model-zoo/dev/models/model_info.json"
)
TIMEOUT = 20


class ZooError(Exception):
    """Why there is no list or no bundle, in a sentence for the user."""


def newest(listed: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    """Name → (version, address, SHA-1) of the newest version of every bundle in the zoo's list."""
    found: dict[str, tuple[str, str, str]] = {}
    for key, entry in listed.items():
        match = re.fullmatch(r"(\w[\w\-]*)_v(\d+(?:\.\d+)*)", key)
        if match is None or not isinstance(entry, dict) or "source" not in entry:
            continue
        name, version = match.groups()
        if name not in found or _order(version) > _order(found[name][0]):
            found[name] = (version, str(entry["source"]), str(entry.get("checksum", "")))
    return dict(sorted(found.items()))


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def read_list() -> dict[str, tuple[str, str, str]]:
    """
    Raises:
        ZooError: it cannot be had.
    """
    try:
        with _open(LIST_URL) as answer:
            return newest(json.loads(answer.read(8 << 20)))
    except (OSError, ValueError) as error:
        raise ZooError(f"The list of the Model Zoo cannot be fetched: {_reason(error)} Bundles on disk work without it.") from error


def download(name: str, parent: Path, report: Callable[[float], None] = lambda fraction: None) -> Path:
    """Put the newest version of a bundle into ``parent / name``, complete or not at all.

    Raises:
        ZooError: no such bundle, no network, another content than announced, or no space.
    """
    bundles = read_list()
    if name not in bundles:
        raise ZooError(f"The Model Zoo has no bundle '{name}'.")
    _version, address, checksum = bundles[name]
    target = parent / name
    if target.exists():
        raise ZooError(f"'{target}' exists already. Choose another folder, or take the bundle that is there.")
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".CAMOverlay-", dir=parent) as folder:
            archive = Path(folder) / "bundle.zip"
            if _fetch(address, archive, report) != checksum and checksum:
                raise ZooError(f"The download of '{name}' is not what the Model Zoo announced. Try again.")
            with zipfile.ZipFile(archive) as zipped:
                zipped.extractall(Path(folder) / "unpacked")  # leaves out what would climb out of the folder
            configs = sorted(Path(folder).glob("unpacked/**/configs"), key=lambda path: len(path.parts))
            if not configs:
                raise ZooError(f"The download of '{name}' contains no bundle.")
            shutil.move(str(configs[0].parent), str(target))
    except (OSError, zipfile.BadZipFile) as error:
        raise ZooError(f"'{name}' cannot be downloaded: {_reason(error)}") from error
    return target


def _open(address: str) -> Any:
    if not address.startswith(("https://", "file://")):
        raise OSError(f"'{address}' is no https address.")
    return urllib.request.urlopen(address, timeout=TIMEOUT)  # noqa: S310: the scheme was just checked


def _fetch(address: str, path: Path, report: Callable[[float], None]) -> str:
    """SHA-1 of what was downloaded."""
    digest, done = hashlib.sha1(), 0
    with _open(address) as answer, path.open("wb") as file:
        total = int(answer.headers.get("Content-Length") or 0)
        while block := answer.read(1 << 18):
            file.write(block)
            digest.update(block)
            done += len(block)
            report(done / total if total else 0.0)
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    cause = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}."
    if isinstance(cause, ssl.SSLError):
        return "the server's certificate cannot be checked."
    if isinstance(error, urllib.error.URLError):
        return "there is no network connection, or a proxy is in the way (HTTPS_PROXY)."
    return f"{getattr(error, 'strerror', None) or error}."


def main(arguments: list[str]) -> int:
    def say(**message: Any) -> None:
        print(json.dumps(message), flush=True)

    try:
        if arguments[0] == "list":
            say(bundles=[[name, version] for name, (version, *_rest) in read_list().items()])
        else:
            last = [-1.0]

            def report(fraction: float) -> None:
                if fraction - last[0] >= 0.01:
                    last[0] = fraction
                    say(fraction=round(fraction, 3))

            say(folder=str(download(arguments[1], Path(arguments[2]), report)))
    except ZooError as error:
        say(error=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
