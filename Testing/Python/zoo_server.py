"""A Model Zoo on this machine, for tests of the library and of the panel: a folder, or a server with faults."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import socket
import threading
import time
import zipfile

import pytest

from CAMOverlayLib import zoo
from CAMOverlayLib.demo import DEMO_BUNDLE


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A zoo in a folder: the demo bundle in two versions."""
    folder = tmp_path / "zoo"
    folder.mkdir()
    archive = folder / "demo.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        for path in DEMO_BUNDLE.rglob("*"):
            zipped.write(path, f"demo/{path.relative_to(DEMO_BUNDLE)}")
    checksum = hashlib.sha1(archive.read_bytes()).hexdigest()
    listed = {
        "demo_v0.9.0": {"checksum": "old", "source": "https://absent.invalid/old.zip"},
        "demo_v0.10.0": {"checksum": checksum, "source": archive.as_uri()},
        "broken_v1.0.0": {"checksum": "0" * 40, "source": archive.as_uri()},
        "not a bundle": {},
    }
    (folder / "list.json").write_text(json.dumps(listed))
    address = (folder / "list.json").as_uri()
    monkeypatch.setattr(zoo, "LIST_URL", address)
    monkeypatch.setenv("CAMOVERLAY_ZOO", address)
    return folder


class Server:
    """An own zoo on this machine: ``files`` by path; ``breaks`` says after how many bytes a connection breaks, how
    often."""

    def __init__(self):
        self.files, self.breaks, self.asked, self.redirects, self.slow = {}, {}, [], {}, 0.0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path = self.path.split("?")[0]
                outer.asked.append((path, self.headers.get("Range")))
                if path in outer.redirects:
                    self.send_response(302)
                    self.send_header("Location", outer.redirects[path])
                    self.end_headers()
                    return
                content = outer.files.get(path)
                if content is None:
                    self.send_error(404)
                    return
                start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
                self.send_response(206 if start else 200)
                self.send_header("Content-Length", str(len(content) - start))
                self.end_headers()
                after, times = outer.breaks.get(path, (0, 0))
                rest = content[start:]
                if times:
                    outer.breaks[path] = (after, times - 1)
                    self.wfile.write(rest[:after])
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                for begin in range(0, max(1, len(rest)), 1 << 16):
                    self.wfile.write(rest[begin : begin + (1 << 16)])
                    time.sleep(outer.slow)

            def handle(self):
                try:  # noqa: SIM105
                    super().handle()
                except OSError:
                    pass  # the other side went away, as some tests want it

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def lists(self, **entries):
        self.files["/list.json"] = json.dumps(entries).encode()

    def stop(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(monkeypatch):
    server = Server()
    monkeypatch.setattr(zoo, "LIST_URL", server.url + "/list.json")
    monkeypatch.setattr(zoo, "HUGGING_FACE", server.url)
    yield server
    server.stop()


def zipped(files, **options):
    """An archive in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SMALL = {
    "demo/configs/inference.json": b"{}",
    "demo/models/model.pt": os.urandom(300_000),
    "demo/scripts/__init__.py": b"",
}


def in_the_zoo(server, content, version="1.0.0", name="demo", checksum=None):
    server.files[f"/{name}.zip"] = content
    checksum = hashlib.sha1(content).hexdigest() if checksum is None else checksum
    server.lists(**{f"{name}_v{version}": {"checksum": checksum, "source": f"{server.url}/{name}.zip"}})


def nothing_in(folder):
    return not folder.exists() or list(folder.iterdir()) == []
