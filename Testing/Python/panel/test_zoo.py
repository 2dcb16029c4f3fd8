"""The row Model Zoo, pressed: list, download, cancel, remove."""

from __future__ import annotations

import os
import shutil

import pytest
from zoo_server import SMALL, in_the_zoo, served, server, zipped  # noqa: F401  fixtures among them

from CAMOverlayLib import zoo


def test_listing_and_downloading_by_pressing(host, panel, served, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "CAMOverlayLib.panel.dialogs.zoo.child_environment", _withZoo(str((served / "list.json").as_uri()))
    )
    host.click(panel.ui.zooButton)
    host.wait(lambda: panel.ui.zooSelector.enabled, 20)
    assert [panel.ui.zooSelector.itemText(i) for i in range(2)] == ["broken 1.0.0", "demo 0.10.0"]
    host.wait(lambda: "Download" in panel.ui.zooButton.text)
    host.choose(panel.ui.zooSelector, "demo 0.10.0")
    host.dialogs.answer(str(tmp_path))
    host.click(panel.ui.zooButton)
    host.wait(lambda: panel.panel.parameters.bundleFolder, 20)
    assert (
        panel.panel.parameters.bundleFolder == str(tmp_path / "demo")
        and "kind of lesion" in panel.ui.bundleInfoLabel.text
    )


def listed(host, panel, server, tmp_path, monkeypatch):
    """The panel with the list of a server, told to put bundles into a folder."""
    import slicer

    from CAMOverlayLib.panel.dialogs.zoo import FOLDER_KEY

    slicer.app.userSettings().setValue(FOLDER_KEY, str(tmp_path))
    monkeypatch.setattr("CAMOverlayLib.panel.dialogs.zoo.child_environment", _withZoo(server.url + "/list.json"))
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
    assert (
        panel.ui.zooSelector.currentText == "demo 1.2.0 (newer than yours, 1.0.0)" and panel.ui.zooRemoveButton.enabled
    )
    host.dialogs.answer("Cancel")
    host.click(panel.ui.zooRemoveButton)
    assert (tmp_path / "demo/configs").is_dir()
    host.dialogs.answer("OK")
    host.click(panel.ui.zooRemoveButton)
    assert not (tmp_path / "demo").exists() and panel.ui.zooSelector.currentText == "demo 1.2.0"
    assert not panel.ui.zooRemoveButton.enabled and "Removed demo 1.0.0" in panel.ui.zooLabel.text


def test_remove_needs_no_list_and_no_network(host, panel, server, tmp_path, monkeypatch):
    """What was downloaded once is there in the next Slicer, also where the list cannot be had or no longer names it."""
    import slicer

    from CAMOverlayLib.panel.dialogs.zoo import FOLDER_KEY

    for name in ("first", "second"):
        in_the_zoo(
            server, zipped({path.replace("demo", name, 1): content for path, content in SMALL.items()}), name=name
        )
        zoo.download(name, tmp_path)
    (tmp_path / "own/configs").mkdir(parents=True)
    slicer.app.userSettings().setValue(FOLDER_KEY, str(tmp_path))
    slicer.util.reloadScriptedModule("CAMOverlay")
    host.open("CAMOverlay")
    ui, asked = slicer.modules.CAMOverlayWidget.ui, len(server.asked)
    items = lambda: [ui.zooSelector.itemText(i) for i in range(ui.zooSelector.count)]
    assert items() == ["first 1.0.0 (downloaded)", "second 1.0.0 (downloaded)"] and ui.zooRemoveButton.enabled
    assert ui.zooButton.text.replace("&", "") == "List"
    host.choose(ui.zooSelector, "second 1.0.0 (downloaded)")
    host.dialogs.answer("OK")
    host.click(ui.zooRemoveButton)
    assert not (tmp_path / "second").exists() and items() == ["first 1.0.0 (downloaded)"] and len(server.asked) == asked
    in_the_zoo(server, zipped(SMALL))  # which the list names alone
    monkeypatch.setattr("CAMOverlayLib.panel.dialogs.zoo.child_environment", _withZoo(server.url + "/list.json"))
    host.click(ui.zooButton)
    host.wait(lambda: "Download" in ui.zooButton.text, 20)
    assert items() == ["demo 1.0.0", "first 1.0.0 (downloaded)"]
    host.choose(ui.zooSelector, "first 1.0.0 (downloaded)")
    host.dialogs.answer("OK")
    host.click(ui.zooRemoveButton)
    assert not (tmp_path / "first").exists() and items() == ["demo 1.0.0"] and not ui.zooRemoveButton.enabled
    assert (tmp_path / "own/configs").is_dir()


def test_no_module_of_the_working_directory_runs(host, panel, server, tmp_path, monkeypatch):
    in_the_zoo(server, zipped(SMALL))
    for name in ("json.py", "CAMOverlayLib.py"):
        (tmp_path / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    listed(host, panel, server, tmp_path, monkeypatch)
    assert not (tmp_path / "ran").exists()


def test_offline_the_panel_says_so(host, panel, monkeypatch):
    monkeypatch.setattr(
        "CAMOverlayLib.panel.dialogs.zoo.child_environment", _withZoo("https://absent.invalid/list.json")
    )
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
