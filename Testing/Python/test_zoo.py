"""The Model Zoo without a network: a list and archives on this machine, and every way in which fetching them fails."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from support import REPOSITORY
from zoo_server import SMALL, in_the_zoo, nothing_in, served, server, zipped  # noqa: F401  fixtures among them

from CAMOverlayLib import zoo


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
    server.lists(
        **{
            "demo_v1.0.0": {"checksum": "0" * 40, "source": "https://absent.invalid/old.zip"},
            f"demo_v{version}": {"checksum": "", "source": f"https://huggingface.co/MONAI/demo/tree/{version}"},
        }
    )
    return listed


def test_newer_versions_are_on_hugging_face(server, tmp_path):
    files = {name.removeprefix("demo/"): content for name, content in SMALL.items()} | {"docs/a file.md": b"words"}
    server.files["/MONAI/demo/resolve/2.0.0/docs/a%20file.md"] = b"words"
    hosted(server, files)
    server.breaks["/MONAI/demo/resolve/2.0.0/models/model.pt"] = (50_000, 1)
    shares = []
    folder = zoo.download("demo", tmp_path / "here", shares.append)
    assert {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != zoo.MARKER
    } == files
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
    expected = {
        "content": "not what was announced",
        "size": "larger than it may be",
        "path": "cannot be one",
        "no checksum": "without a checksum",
        "no list": "is a dict, a list is needed",
    }
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


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            zipped({"demo/configs/a.json": b"{}", "demo/zeros": bytes(400 << 20)}, compresslevel=9),
            "would unpack to 2 files of 419 MB",
        ),
        (encrypted(), "is encrypted"),
        (damaged(), "cannot be downloaded"),
        (zipped({"../configs/inference.json": b"{}"}), "outside of itself"),
        (zipped({"/etc/configs/inference.json": b"{}"}), "outside of itself"),
        (zipped({"a/b.txt": b""}), "contains no bundle"),
        (b"<html>no archive</html>", "cannot be downloaded"),
        (b"", "cannot be downloaded"),
    ],
    ids=["bomb", "encrypted", "damaged", "climbs", "absolute", "no bundle", "page", "empty"],
)
def test_an_archive_that_is_none_leaves_nothing(server, tmp_path, content, words):
    in_the_zoo(server, content)
    with pytest.raises(zoo.ZooError, match=words):
        zoo.download("demo", tmp_path / "here")
    assert nothing_in(tmp_path / "here") and sorted(p.name for p in tmp_path.iterdir()) in ([], ["here"])


@pytest.mark.parametrize(
    "content",
    [
        b"[]",
        b"3",
        b"null",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps({"demo_v1": 3, "x_v": {}}).encode(),
        json.dumps({"demo_v1.0": {"source": 3}, "d_v1.0": {"checksum": None}}).encode(),
    ],
)
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
    assert not any(
        map(
            zoo._allowed,
            ("http://example.invalid/", "http://127.0.0.1/a", "file:///etc/passwd", "ftp://a/b", "demo.zip", ""),
        )
    )


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


@pytest.mark.parametrize(
    "marker",
    [
        "",
        "3",
        "{}",
        '{"name": "a", "version": "1", "files": 3}',
        "[" * 5000,
        '{"name": "a", "version": "1", "files": {"../outside.txt": 1}}',
    ],
)
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


def test_nothing_stays_where_slicer_ends_meanwhile(server, tmp_path):
    """Its end of the pipe is closed, as by a crash; the process that downloads notices and clears away what it has."""
    in_the_zoo(server, zipped({**SMALL, "demo/models/model.pt": os.urandom(16 << 20)}))
    server.slow = 0.05
    environment = {**os.environ, "CAMOVERLAY_ZOO": zoo.LIST_URL, "PYTHONPATH": str(REPOSITORY / "CAMOverlay")}
    command = [sys.executable, "-m", "CAMOverlayLib.zoo", "download", "demo", str(tmp_path)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert b"fraction" in process.stdout.readline()
    process.stdout.close()
    process.wait(20)
    assert list(tmp_path.iterdir()) == []
