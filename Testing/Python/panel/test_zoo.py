"""The Model Zoo without a network: a list and archives on disk, and every way in which fetching them fails."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import os
import re
import shutil
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
    """An own zoo on this machine: ``files`` by path; ``breaks`` says after how many bytes a connection breaks, how often."""

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

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

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
    monkeypatch.setattr(zoo, "_allowed", zoo._allowed)
    yield server
    server.stop()


def zipped(files, **options):
    """An archive in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


SMALL = {"demo/configs/inference.json": b"{}", "demo/models/model.pt": os.urandom(300_000), "demo/scripts/__init__.py": b""}


def in_the_zoo(server, content, version="1.0.0", name="demo", checksum=None):
    server.files[f"/{name}.zip"] = content
    checksum = hashlib.sha1(content).hexdigest() if checksum is None else checksum
    server.lists(**{f"{name}_v{version}": {"checksum": checksum, "source": f"{server.url}/{name}.zip"}})


def nothing_in(folder):
    return not folder.exists() or list(folder.iterdir()) == []


def test_a_broken_connection_goes_on_where_it_broke(server, tmp_path):
    in_the_zoo(server, zipped(SMALL))
    server.breaks["/demo.zip"] = (100_000, 2)
    folder = zoo.download("demo", tmp_path / "here")
    assert (folder / "models/model.pt").read_bytes() == SMALL["demo/models/model.pt"]
    ranges = [asked for path, asked in server.asked if path == "/demo.zip"]
    assert len(ranges) == 3 and ranges[0] is None and all(re.fullmatch(r"bytes=\d{5,6}-", r) for r in ranges[1:])


def test_a_connection_that_always_breaks_is_given_up(server, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo, "ATTEMPTS", 2)
    in_the_zoo(server, zipped(SMALL))
    server.breaks["/demo.zip"] = (0, 99)
    with pytest.raises(zoo.ZooError, match="connection broke 2 times"):
        zoo.download("demo", tmp_path / "here")
    assert nothing_in(tmp_path / "here")


def hosted(server, files, version="2.0.0"):
    """A repository as Hugging Face shows it: small files by git's checksum, large ones by SHA-256."""
    listed = [{"type": "directory", "path": "configs", "size": 0, "oid": "0"}]
    for path, content in files.items():
        git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
        entry = {"type": "file", "path": path, "size": len(content), "oid": git}
        if path.endswith(".pt"):
            entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
        listed.append(entry)
        server.files[f"/MONAI/demo/resolve/{version}/{path}"] = content
    server.files[f"/api/models/MONAI/demo/tree/{version}"] = json.dumps(listed).encode()
    server.lists(**{
        "demo_v1.0.0": {"checksum": "0" * 40, "source": "https://absent.invalid/old.zip"},
        f"demo_v{version}": {"checksum": "", "source": f"https://huggingface.co/MONAI/demo/tree/{version}"},
    })  # fmt: skip
    return listed


def test_newer_versions_are_on_hugging_face(server, tmp_path):
    files = {name.removeprefix("demo/"): content for name, content in SMALL.items()} | {"docs/a file.md": b"words"}
    server.files["/MONAI/demo/resolve/2.0.0/docs/a%20file.md"] = b"words"
    hosted(server, files)
    server.breaks["/MONAI/demo/resolve/2.0.0/models/model.pt"] = (50_000, 1)
    shares = []
    folder = zoo.download("demo", tmp_path / "here", shares.append)
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != zoo.MARKER} == files
    assert zoo.record_of(folder).version == "2.0.0" and shares == sorted(shares) and shares[-1] == 1


@pytest.mark.parametrize("what", ["content", "size", "path", "no checksum", "no list"])
def test_what_is_not_as_announced_on_hugging_face_is_refused(server, tmp_path, what):
    listed = hosted(server, {name.removeprefix("demo/"): content for name, content in SMALL.items()})
    weights = next(entry for entry in listed if str(entry["path"]).endswith(".pt"))
    if what == "content":
        server.files["/MONAI/demo/resolve/2.0.0/models/model.pt"] = b"x" * weights["size"]
    elif what == "size":
        weights["size"] -= 1
    elif what == "path":
        weights["path"] = "../outside.pt"
    elif what == "no checksum":
        weights["lfs"] = {}
    server.files["/api/models/MONAI/demo/tree/2.0.0"] = json.dumps({} if what == "no list" else listed).encode()
    expected = {"content": "not what was announced", "size": "larger than it may be", "path": "cannot be one", "no checksum": "without a checksum",
                "no list": "is a dict, a list is needed"}  # fmt: skip
    with pytest.raises(zoo.ZooError, match=expected[what]):
        zoo.download("demo", tmp_path / "here")
    assert nothing_in(tmp_path / "here")


def encrypted():
    content = bytearray(zipped(SMALL))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(signature, start + 1)) >= 0:
            content[start + offset] |= 1
    return bytes(content)


def damaged():
    content = bytearray(zipped({**SMALL, "demo/docs/README.md": b"words of a readme " * 20_000}))
    begin = content.find(b"demo/docs/README.md")
    content[begin + 40 : begin + 400] = bytes(360)
    return bytes(content)


@pytest.mark.parametrize(("content", "words"), [
    (zipped({"demo/configs/a.json": b"{}", "demo/zeros": bytes(400 << 20)}, compresslevel=9), "would unpack to 2 files of 419 MB"),
    (encrypted(), "is encrypted"),
    (damaged(), "cannot be downloaded"),
    (zipped({"../configs/inference.json": b"{}"}), "outside of itself"),
    (zipped({"/etc/configs/inference.json": b"{}"}), "outside of itself"),
    (zipped({"a/b.txt": b""}), "contains no bundle"),
    (b"<html>no archive</html>", "cannot be downloaded"),
    (b"", "cannot be downloaded"),
], ids=["bomb", "encrypted", "damaged", "climbs", "absolute", "no bundle", "page", "empty"])  # fmt: skip
def test_an_archive_that_is_none_leaves_nothing(server, tmp_path, content, words):
    in_the_zoo(server, content)
    with pytest.raises(zoo.ZooError, match=words):
        zoo.download("demo", tmp_path / "here")
    assert nothing_in(tmp_path / "here") and sorted(p.name for p in tmp_path.iterdir()) in ([], ["here"])


@pytest.mark.parametrize("content", [b"[]", b"3", b"null", b"{", b"\xff\xfe", b"[" * 100_000, json.dumps({"demo_v1": 3, "x_v": {}}).encode(),
                                     json.dumps({"demo_v1.0": {"source": 3}, "d_v1.0": {"checksum": None}}).encode()])  # fmt: skip
def test_odd_lists_are_told_or_empty(server, content):
    server.files["/list.json"] = content
    try:
        assert zoo.read_list() == {}
    except zoo.ZooError as error:
        assert "list of the Model Zoo" in str(error) and "\n" not in str(error)


def test_no_way_leads_from_https_to_http_or_to_the_disk(monkeypatch, server, tmp_path):
    in_the_zoo(server, zipped(SMALL))
    server.redirects["/moved.zip"] = "http://example.invalid/demo.zip"
    server.lists(**{"demo_v1.0.0": {"checksum": "", "source": server.url + "/moved.zip"}})
    with pytest.raises(zoo.ZooError, match="no https address"):
        zoo.download("demo", tmp_path / "here")
    monkeypatch.setattr(zoo, "LIST_URL", "https://example.invalid/list.json")
    assert not any(map(zoo._allowed, ("http://example.invalid/", "http://127.0.0.1/a", "file:///etc/passwd", "ftp://a/b", "demo.zip", "")))


def test_a_missing_checksum_is_said(server, tmp_path, capsys):
    in_the_zoo(server, zipped(SMALL), checksum="")
    assert zoo.main(["download", "demo", str(tmp_path / "here")]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("no checksum" in message.get("warning", "") for message in said) and said[-1]["folder"].endswith("demo")


@pytest.mark.parametrize("arguments", [[], ["download"], ["download", "demo"], ["upload", "a", "b"], ["list", "x"]])
def test_wrong_arguments_are_answered(arguments, capsys):
    assert zoo.main(arguments) == 2
    assert "Usage" in json.loads(capsys.readouterr().out)["error"]


def test_a_newer_version_replaces_what_was_downloaded_and_nothing_else(server, tmp_path):
    in_the_zoo(server, zipped({**SMALL, "demo/docs/old.md": b"old"}))
    folder = zoo.download("demo", tmp_path)
    with pytest.raises(zoo.ZooError, match="newest version 1.0.0"):
        zoo.download("demo", tmp_path)
    in_the_zoo(server, zipped(SMALL), "1.0.10")
    (folder / "mine.txt").write_text("notes")
    with pytest.raises(zoo.ZooError, match="files of yours.*mine.txt"):
        zoo.download("demo", tmp_path)
    (folder / "mine.txt").unlink()
    assert zoo.download("demo", tmp_path) == folder and not (folder / "docs/old.md").exists()
    assert zoo.downloaded(tmp_path)["demo"].version == "1.0.10" and [p.name for p in tmp_path.iterdir()] == ["demo"]


def test_only_what_was_downloaded_is_removed(server, tmp_path):
    in_the_zoo(server, zipped(SMALL))
    own = tmp_path / "own"
    (own / "configs").mkdir(parents=True)
    with pytest.raises(zoo.ZooError, match="was not downloaded"):
        zoo.remove(own)
    folder = zoo.download("demo", tmp_path)
    (folder / "scripts/__pycache__").mkdir()
    (folder / "scripts/__pycache__/a.pyc").touch()
    (folder / "mine.txt").write_text("notes")
    (folder / "linked").symlink_to(own, target_is_directory=True)
    assert zoo.remove(folder) == ["linked", "mine.txt"] or (folder / "mine.txt").exists()
    assert (own / "configs").is_dir() and not (folder / "models").exists() and zoo.downloaded(tmp_path) == {}
    shutil.rmtree(folder)
    assert zoo.remove(zoo.download("demo", tmp_path)) == [] and not folder.exists()


@pytest.mark.parametrize("marker", ["", "3", "{}", '{"name": "a", "version": "1", "files": 3}', "[" * 5000,
                                    '{"name": "a", "version": "1", "files": {"../outside.txt": 1}}'])  # fmt: skip
def test_a_spoilt_marker_removes_nothing_outside(tmp_path, marker):
    (tmp_path / "outside.txt").touch()
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / zoo.MARKER).write_text(marker)
    if zoo.record_of(tmp_path / "demo") is not None:
        zoo.remove(tmp_path / "demo")
    assert (tmp_path / "outside.txt").exists()


def test_what_a_killed_download_left_is_swept(server, tmp_path):
    in_the_zoo(server, zipped(SMALL))
    stale, fresh = tmp_path / f"{zoo.SCRATCH}1-a", tmp_path / f"{zoo.SCRATCH}2-b"
    for folder in (stale, fresh):
        folder.mkdir()
        (folder / "bundle.zip").write_bytes(b"x")
    for path in (stale / "bundle.zip", stale):
        os.utime(path, (1, 1))
    zoo.download("demo", tmp_path)
    assert not stale.exists() and fresh.exists()
    zoo.sweep(tmp_path, "2")
    assert not fresh.exists()


def test_the_newest_version_of_each_counts(served):
    assert {name: entry[0] for name, entry in zoo.read_list().items()} == {"demo": "0.10.0", "broken": "1.0.0"}


def test_a_download_is_complete_or_not_there(served, tmp_path):
    fractions = []
    folder = zoo.download("demo", tmp_path / "here", fractions.append)
    assert (folder / "configs" / "metadata.json").is_file() and folder.name == "demo"
    with pytest.raises(zoo.ZooError, match="exists already"):
        zoo.download("demo", tmp_path / "here")
    with pytest.raises(zoo.ZooError, match="not what the Model Zoo announced"):
        zoo.download("broken", tmp_path / "there")
    assert list((tmp_path / "there").iterdir()) == []


def test_no_network_is_said(monkeypatch):
    monkeypatch.setattr(zoo, "LIST_URL", "https://absent.invalid/list.json")
    with pytest.raises(zoo.ZooError, match="no network connection"):
        zoo.read_list()


def test_listing_and_downloading_by_pressing(host, panel, served, tmp_path, monkeypatch):
    monkeypatch.setattr("CAMOverlayLib.panel.zoo.child_environment", _withZoo(str((served / "list.json").as_uri())))
    host.click(panel.ui.zooButton)
    host.wait(lambda: panel.ui.zooSelector.enabled, 20)
    assert [panel.ui.zooSelector.itemText(i) for i in range(2)] == ["broken 1.0.0", "demo 0.10.0"]
    host.wait(lambda: "Download" in panel.ui.zooButton.text)
    host.choose(panel.ui.zooSelector, "demo 0.10.0")
    host.dialogs.answer(str(tmp_path))
    host.click(panel.ui.zooButton)
    host.wait(lambda: panel.panel.parameters.bundleFolder, 20)
    assert panel.panel.parameters.bundleFolder == str(tmp_path / "demo") and "kind of lesion" in panel.ui.bundleInfoLabel.text


def listed(host, panel, server, tmp_path, monkeypatch):
    """The panel with the list of a server, told to put bundles into a folder."""
    from CAMOverlayLib.panel.zoo import FOLDER_KEY

    import slicer

    slicer.app.userSettings().setValue(FOLDER_KEY, str(tmp_path))
    monkeypatch.setattr("CAMOverlayLib.panel.zoo.child_environment", _withZoo(server.url + "/list.json"))
    host.click(panel.ui.zooButton)
    host.wait(lambda: panel.ui.zooSelector.enabled, 20)
    host.wait(lambda: "Download" in panel.ui.zooButton.text)


def test_cancel_leaves_nothing(host, panel, server, tmp_path, monkeypatch):
    in_the_zoo(server, zipped({**SMALL, "demo/models/model.pt": os.urandom(8 << 20)}))
    listed(host, panel, server, tmp_path, monkeypatch)
    server.slow = 0.05
    host.dialogs.answer(str(tmp_path))
    host.click(panel.ui.zooButton)
    host.wait(lambda: any(p.stat().st_size for p in tmp_path.glob(".CAMOverlay*/bundle.zip")), 20)
    host.click(panel.ui.zooButton)
    assert "cancelled" in panel.ui.zooLabel.text and list(tmp_path.iterdir()) == []


def test_remove_and_a_newer_version_by_pressing(host, panel, server, tmp_path, monkeypatch):
    in_the_zoo(server, zipped(SMALL))
    zoo.download("demo", tmp_path)
    in_the_zoo(server, zipped(SMALL), "1.2.0")
    listed(host, panel, server, tmp_path, monkeypatch)
    assert panel.ui.zooSelector.currentText == "demo 1.2.0 (newer than yours, 1.0.0)" and panel.ui.zooRemoveButton.enabled
    host.dialogs.answer("Cancel")
    host.click(panel.ui.zooRemoveButton)
    assert (tmp_path / "demo/configs").is_dir()
    host.dialogs.answer("OK")
    host.click(panel.ui.zooRemoveButton)
    assert not (tmp_path / "demo").exists() and panel.ui.zooSelector.currentText == "demo 1.2.0"
    assert not panel.ui.zooRemoveButton.enabled and "Removed demo 1.0.0" in panel.ui.zooLabel.text


def test_no_module_of_the_working_directory_runs(host, panel, server, tmp_path, monkeypatch):
    in_the_zoo(server, zipped(SMALL))
    for name in ("json.py", "CAMOverlayLib.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    listed(host, panel, server, tmp_path, monkeypatch)
    assert not (tmp_path / "ran").exists()


def test_offline_the_panel_says_so(host, panel, monkeypatch):
    monkeypatch.setattr("CAMOverlayLib.panel.zoo.child_environment", _withZoo("https://absent.invalid/list.json"))
    host.click(panel.ui.zooButton)
    host.wait(lambda: "network" in panel.ui.zooLabel.text, 30)
    host.wait(lambda: panel.ui.zooButton.text.replace("&", "") == "List")
    assert panel.ui.zooLabel.visible and not panel.ui.zooSelector.enabled


def _withZoo(address):
    from CAMOverlayLib.worker.interpreter import child_environment

    return lambda python: {**child_environment(python), "CAMOVERLAY_ZOO": address}


@pytest.fixture(autouse=True)
def _clean(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
