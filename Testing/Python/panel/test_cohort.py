"""The section Cohort, pressed: a table read, shown in the table view, and its cases opened one after the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cohorts import blob, write_case, write_table
from scene.helpers import makeResult

from CAMOverlayLib.contract.geometry import affine_rows
from CAMOverlayLib.contract.request import FurtherVolume
from CAMOverlayLib.contract.target import VolumeFile

LIES = (0.35, 0.6, 0.7)
"""Where the heat is, as shares of the volume's axes."""


@pytest.fixture
def cohortFolder(host, tmp_path) -> Path:
    """Two cases of one volume, whose file of the second counts its last axis from the other end; a third one that
    failed, and a fourth whose volume is gone."""
    import nibabel

    from CAMOverlayLib.demo import DEMO_VOLUME

    image = nibabel.load(DEMO_VOLUME).slicer[::3, ::3, ::3]
    voxels, heat = np.asarray(image.dataobj), blob(LIES, image.shape)
    flip = np.diag([1.0, 1.0, -1.0, 1.0])
    flip[2, 3] = image.shape[2] - 1
    rows = []
    for name, array, own, matrix in (
        ("brain", voxels, heat, image.affine),
        ("turned", voxels[:, :, ::-1], heat[:, :, ::-1], image.affine @ flip),
    ):
        nibabel.save(nibabel.Nifti1Image(array, matrix), tmp_path / f"{name}.nii.gz")
        peak = tuple(int(n) for n in np.unravel_index(own.argmax(), own.shape))
        result = makeResult(VolumeFile("", affine_rows(matrix), name), peak=peak)
        write_case(tmp_path, name, own, matrix, **result.to_dict())
        rows.append({"id": name, "state": "done", "volume": str(tmp_path / f"{name}.nii.gz"), "prediction": "lesion",
                     "probability": 0.9, "label": "lesion", "hit": 1, "share": 0.5})  # fmt: skip
    rows.append({"id": "bad", "state": "failed", "volume": "/gone.nii.gz", "error": "It is <b>cut</b> short."})
    shutil.copytree(tmp_path / "cases" / "brain", tmp_path / "cases" / "gone")
    rows.append({**rows[0], "id": "gone", "volume": str(tmp_path / "gone.nii.gz")})
    write_table(tmp_path, rows)
    return tmp_path


def choose(host, panel, folder):
    panel.ui.cohortButton.collapsed = False
    host.process()
    host.type(panel.ui.cohortSelector, str(folder / "cohort.csv"))
    host.wait(lambda: panel.ui.cohortCaseSelector.count or "table" in panel.ui.messageLabel.text)
    host.process()


def loaded(host, panel):
    host.wait(lambda: not panel.panel.cohort.busy, 60)
    host.process()


def rowOf(view, id_):
    model = view.model()
    return next(row for row in range(model.rowCount()) if model.index(row, 0).data() == id_)


def test_cases_are_opened_in_the_place_of_the_one_before(host, panel, cohortFolder):
    import nibabel
    import slicer
    import slicer.util

    from CAMOverlayLib.scene.overlay import node as overlay

    assert panel.ui.cohortButton.collapsed  # folded until somebody wants it
    choose(host, panel, cohortFolder)
    view = host.real(slicer.app.layoutManager().tableWidget(0)).tableView()
    assert [view.model().index(row, 0).data() for row in range(4)] == ["brain", "turned", "bad", "gone"]
    assert "3 with a heatmap, 1 failed" in panel.ui.messageLabel.text and panel.panel.cohort.busy is False

    view.setCurrentIndex(view.model().index(0, 2))  # a row is clicked
    loaded(host, panel)
    first, volume = panel.overlay, panel.panel.parameters.inputVolume
    assert overlay.isOverlay(first) and overlay.inputVolumeOf(first) is volume and volume.GetName() == "brain"
    heat = np.asarray(nibabel.load(cohortFolder / "cases" / "brain" / "heatmap.nii.gz").dataobj)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(first).T, heat)
    assert panel.ui.resultButton.enabled and panel.ui.displayButton.enabled and panel.ui.findingsButton.enabled
    assert "lesion" in panel.ui.predictionLabel.text
    assert "right" in panel.ui.cohortLabel.text and "50% of the heat" in panel.ui.cohortLabel.text

    host.click(panel.ui.cohortNextButton)
    loaded(host, panel)
    assert panel.overlay is first  # the same node, of another case
    now = panel.panel.parameters.inputVolume
    assert now.GetName() == "turned" and overlay.inputVolumeOf(first) is now
    assert [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if node is not first] == [
        "turned"
    ]
    red = slicer.app.layoutManager().sliceWidget("Red").sliceLogic().GetSliceCompositeNode()
    assert (red.GetBackgroundVolumeID(), red.GetForegroundVolumeID()) == (now.GetID(), first.GetID())
    # The same place in the patient, whichever end the file counts from.
    image = nibabel.load(cohortFolder / "cases" / "turned" / "heatmap.nii.gz")
    array = np.asarray(image.dataobj)
    world = (image.affine @ [*np.unravel_index(array.argmax(), array.shape), 1])[:3]
    np.testing.assert_allclose(overlay.peakWorld(first), world, atol=1e-3)
    assert overlay.resultOf(first).peak == overlay.peakVoxel(first)


def test_maps_beside_the_heatmap_come_with_their_case_and_go_with_it(host, panel, cohortFolder):
    """A probability and a prediction of the first case; of the second a probability and an entropy, in files whose last
    axis counts from the other end."""
    import slicer
    import slicer.util

    from CAMOverlayLib.scene.io.volumes import voxelsOf
    from CAMOverlayLib.scene.overlay import further

    written = {
        "brain": [keepMap(cohortFolder, "brain", "probability"), keepMap(cohortFolder, "brain", "prediction", True)],
        "turned": [keepMap(cohortFolder, "turned", "probability"), keepMap(cohortFolder, "turned", "entropy")],
    }
    choose(host, panel, cohortFolder)
    host.choose(panel.ui.cohortCaseSelector, "1 · brain")
    loaded(host, panel)
    node = panel.overlay
    first = further.nodes(node)
    assert sorted(first) == ["prediction", "probability"]
    np.testing.assert_array_equal(voxelsOf(first["probability"]), written["brain"][0])
    outlined = slicer.util.arrayFromSegmentBinaryLabelmap(
        first["prediction"], "class_1", panel.panel.parameters.inputVolume
    )
    np.testing.assert_array_equal(outlined.T.astype(bool), written["brain"][1] == 1)
    panel.ui.displayButton.collapsed = False
    host.process()
    host.click(panel.ui.probabilityButton)
    host.wait(lambda: not panel.panel.busy)
    assert foregrounds() == {first["probability"].GetID()} and panel.ui.probabilityButton.checked

    host.choose(panel.ui.cohortCaseSelector, "2 · turned")
    loaded(host, panel)
    second = further.nodes(node)
    assert panel.overlay is node and sorted(second) == ["entropy", "probability"]
    assert second["probability"] is first["probability"], "the same node, of another case"
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    for name, voxels in zip(("probability", "entropy"), written["turned"]):
        np.testing.assert_array_equal(voxelsOf(second[name]), voxels[:, :, ::-1])
    assert foregrounds() == {second["probability"].GetID()}, "who looked at the probability goes on looking at it"

    (cohortFolder / "cases" / "brain" / "probability.nii.gz").unlink()
    host.choose(panel.ui.cohortCaseSelector, "1 · brain")
    loaded(host, panel)
    assert sorted(further.nodes(node)) == ["prediction"], "what is not there any more is left out"
    assert not [one for one in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if further.isFurther(one)]


def foregrounds():
    import slicer
    import slicer.util

    return {c.GetForegroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}


def keepMap(folder, case, name, labels=False):
    """Write a map beside a case's heatmap, and name it in the report; returns the voxels of its file."""
    import nibabel

    place = folder / "cases" / case
    heat = nibabel.load(place / "heatmap.nii.gz")
    random = np.random.default_rng(len(name) + len(case))
    voxels = random.integers(0, 2, heat.shape).astype(np.uint8) if labels else random.random(heat.shape, np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, heat.affine), place / f"{name}.nii.gz")
    file = VolumeFile(f"{name}.nii.gz", affine_rows(heat.affine), name)
    said = FurtherVolume(name, file, f"words of {name}", 1.0, ("background", "lesion") if labels else ())
    report = json.loads((place / "report.json").read_text())
    report["prediction"]["voxels"] = [heat.shape[0], 1]  # a segmentation network: others have no such maps
    report["further"] = [*report.get("further", []), said.to_dict()]
    (place / "report.json").write_text(json.dumps(report))
    return voxels


def test_buttons_keys_and_sorted_rows_agree(host, panel, cohortFolder):
    import slicer
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    choose(host, panel, cohortFolder)
    ui = panel.ui
    assert not ui.cohortLabel.visible
    host.window.activateWindow()
    host.process()
    QTest.keyClick(host.window, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    host.wait(lambda: ui.cohortCaseSelector.currentIndex == 0)  # a shortcut presses a button for a tenth of a second
    assert not ui.cohortBackButton.enabled
    QTest.keyClick(host.window, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    host.wait(lambda: ui.cohortCaseSelector.currentIndex == 1)
    loaded(host, panel)  # leafed through: only the last one was loaded
    assert panel.panel.parameters.inputVolume.GetName() == "turned"
    QTest.keyClick(host.window, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    host.wait(lambda: ui.cohortCaseSelector.currentIndex == 0)
    loaded(host, panel)
    assert panel.panel.parameters.inputVolume.GetName() == "brain"
    view = host.real(slicer.app.layoutManager().tableWidget(0)).tableView()
    view.model().sort(0, Qt.SortOrder.DescendingOrder)
    view.setCurrentIndex(view.model().index(rowOf(view, "turned"), 0))
    loaded(host, panel)
    assert panel.panel.parameters.inputVolume.GetName() == "turned"


def test_what_cannot_be_opened_says_why_and_leaves_the_scene(host, panel, cohortFolder, tmp_path):
    import slicer

    choose(host, panel, cohortFolder)
    ui = panel.ui
    host.choose(ui.cohortCaseSelector, "1 · brain")
    loaded(host, panel)
    before = panel.overlay
    stamp = before.GetImageData().GetMTime()
    host.choose(ui.cohortCaseSelector, "3 · bad")
    loaded(host, panel)
    assert "failed: It is <b>cut</b> short." in ui.messageLabel.text or "&lt;b&gt;" in ui.messageLabel.text
    assert "&lt;b&gt;cut" in ui.cohortLabel.text
    host.choose(ui.cohortCaseSelector, "4 · gone")
    loaded(host, panel)
    assert "gone.nii.gz does not exist" in ui.messageLabel.text
    assert panel.overlay is before and before.GetImageData().GetMTime() == stamp
    assert panel.panel.parameters.inputVolume.GetName() == "brain"

    other = tmp_path.with_name(tmp_path.name + "-other")
    shutil.copytree(cohortFolder, other)
    report = json.loads((other / "cases" / "turned" / "report.json").read_text())
    (other / "cases" / "turned" / "report.json").write_text(json.dumps({"prediction": report["prediction"]}))
    choose(host, panel, other)
    host.wait(lambda: panel.panel.cohort._cases[0].folder.is_relative_to(other))
    host.choose(ui.cohortCaseSelector, "2 · turned")
    loaded(host, panel)
    assert "is damaged" in ui.messageLabel.text
    (tmp_path / "list.csv").write_text("id\n")
    host.type(ui.cohortSelector, str(tmp_path / "list.csv"))
    host.wait(lambda: "no table of a cohort" in ui.messageLabel.text)
    assert not ui.cohortCaseSelector.enabled and not ui.cohortNextButton.enabled
    assert slicer.util.getNodesByClass("vtkMRMLTableNode")  # what was shown stays in the scene
