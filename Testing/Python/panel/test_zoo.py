"""The Model Zoo without a network: a list and archives on disk, and every way in which fetching them fails."""

from __future__ import annotations

import hashlib
import json
import shutil
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
