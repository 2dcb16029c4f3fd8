"""What is measured of a cohort, against independent computation: grids, transforms, intervals, structures."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from cohorts import AFFINE, SHAPE, blob, write_case, write_table
from scipy.io import savemat

from CAMOverlayLib.cohort.summary.anatomy import Segmentations, read_names, shares_in
from CAMOverlayLib.cohort.summary.cases import read_cases
from CAMOverlayLib.cohort.summary.intervals import mean_of
from CAMOverlayLib.cohort.summary.maps import Template, in_cube, read_volume, rebinned
from CAMOverlayLib.cohort.summary.transforms import read_transform
from CAMOverlayLib.contract.errors import OutputError, TargetError, VolumeError
from CAMOverlayLib.contract.geometry import Grid
from CAMOverlayLib.reading.anatomy import structure_figures

TURN = np.array([[0.9, -0.3, 0.1, 12.0], [0.25, 0.95, -0.2, -7.0], [0.05, 0.15, 1.1, 4.0], [0, 0, 0, 1]])
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Grids ----------------------------------------------------------------------------------------------------------------


def test_the_cube_keeps_all_heat_and_knows_left_from_right():
    heat = blob((0.2, 0.3, 0.8))
    turned = Grid(SHAPE, AFFINE)  # counts from right to left
    plain = Grid(SHAPE, AFFINE @ np.array([[-1.0, 0, 0, SHAPE[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    one = in_cube(heat, turned, ())
    assert one.sum() == pytest.approx(heat.sum(dtype=float))
    assert np.unravel_index(one.argmax(), one.shape) == (12, 4, 12)  # 0.8 of the way to the right
    np.testing.assert_allclose(in_cube(heat[::-1], plain, ()), one, atol=1e-6)
    # Another order of the axes, the same patient.
    swapped = Grid((SHAPE[2], SHAPE[0], SHAPE[1]), AFFINE[:, [2, 0, 1, 3]])
    np.testing.assert_allclose(in_cube(heat.transpose(2, 0, 1), swapped, ()), one, atol=1e-6)


def test_the_cube_is_over_what_was_seen_and_thin_slabs_are_spread():
    heat = blob((0.5, 0.5, 0.5))
    planes = ((1.0, 0, 0, 5.5, 17.5), (0, 1.0, 0, 6.5, 30.0))
    seen = in_cube(heat, Grid(SHAPE, AFFINE), planes, side=6)
    assert seen.sum() == pytest.approx(heat[6:18, 7:].sum(dtype=float))
    slab = rebinned(np.ones((4, 4, 3)), (2, 2, 16))
    np.testing.assert_allclose(slab, 4 * 3 / 16)


def test_heat_lands_on_the_template_where_the_transform_says(tmp_path):
    nibabel.save(
        nibabel.Nifti1Image(np.ones((40, 44, 36), np.float32), np.diag([4.0, 4, 4, 1])), tmp_path / "T1.nii.gz"
    )
    template = Template.read(tmp_path / "T1.nii.gz")
    shift = np.eye(4)
    shift[:3, 3] = (100, 90, 80)
    placed, reached = template.place(blob((0.5, 0.5, 0.5)), Grid(SHAPE, AFFINE), shift)
    middle = AFFINE @ [*(np.array(SHAPE) - 1) / 2, 1]
    at = np.linalg.inv(template.grid.affine) @ (shift @ middle)
    assert np.linalg.norm(np.unravel_index(placed.argmax(), placed.shape) - at[:3]) <= 1
    # As many voxels are reached as the volume is large; and none of the heat is outside of them.
    assert reached.sum() == pytest.approx(np.prod(SHAPE), rel=0.1) and not placed[~reached].any()
    moments = [
        (placed * np.arange(n).reshape([-1 if a == b else 1 for b in range(3)])).sum()
        for a, n in enumerate(placed.shape)
    ]
    np.testing.assert_allclose(np.array(moments) / placed.sum(), at[:3], atol=0.05)


def test_files_that_are_no_volume_say_so(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(b"no image")
    with pytest.raises(VolumeError, match="cannot be read"):
        read_volume(tmp_path / "x.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 3), np.float32), np.eye(4)), tmp_path / "four.nii.gz")
    with pytest.raises(VolumeError, match="no volume"):
        read_volume(tmp_path / "four.nii.gz")


# Transforms -----------------------------------------------------------------------------------------------------------


def itk_of(to_template: np.ndarray, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What ITK writes of the transform from the template's points to the volume's, in LPS, around a centre."""
    back = LPS @ np.linalg.inv(to_template) @ LPS
    matrix = back[:3, :3]
    return np.array([*matrix.ravel(), *(back[:3, 3] - centre + matrix @ centre)]), centre


def test_every_form_of_an_affine_says_the_same(tmp_path):
    centre = np.array([3.0, -20.0, 11.0])
    parameters, fixed = itk_of(TURN, centre)
    (tmp_path / "a.txt").write_text(
        "# volume to template\n" + "\n".join(" ".join(map(repr, map(float, row))) for row in TURN)
    )
    (tmp_path / "a.tfm").write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {' '.join(map(repr, map(float, parameters)))}\nFixedParameters: {' '.join(map(str, fixed))}\n"
    )
    savemat(
        tmp_path / "a0GenericAffine.mat",
        {"AffineTransform_double_3_3": parameters[:, None], "fixed": fixed[:, None]}, format="4",
    )  # fmt: skip
    for name in ("a.txt", "a.tfm", "a0GenericAffine.mat"):
        np.testing.assert_allclose(read_transform(tmp_path / name), TURN, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(read_transform("Identity"), np.eye(4))


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("none.txt", None, "cannot be read"),
        ("three.txt", "1 0 0\n0 1 0\n0 0 1\n", "no affine"),
        ("words.txt", "a b c d\n" * 4, "no affine"),
        ("flat.txt", "1 0 0 0\n0 1 0 0\n0 0 0 0\n0 0 0 1\n", "turned round"),
        ("fsl.mat", "1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n", "FSL"),
        ("warp.tfm", "#Insight Transform File V1.0\nTransform: CompositeTransform_double_3_3\n", "Composite"),
        ("short.tfm", "#Insight Transform File V1.0\nTransform: AffineTransform_double_3_3\n"
         "Parameters: 1 2\nFixedParameters: 0 0 0\n", "2 parameters"),
    ],
)  # fmt: skip
def test_what_is_no_affine_is_refused(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(VolumeError, match=words):
        read_transform(tmp_path / name)


# Intervals ------------------------------------------------------------------------------------------------------------


def test_intervals_cover_what_they_say_and_are_the_same_again():
    random = np.random.default_rng(0)
    covered = 0
    for number in range(60):
        one = mean_of(random.exponential(1.0, 60), number)
        covered += one.low <= 1.0 <= one.high
    assert 50 <= covered <= 60  # 95 % of 60 is 57; binomial, 99.9 %
    values = random.random(40)
    assert mean_of(values, 3) == mean_of(values, 3)
    exact = 1.96 * values.std(ddof=1) / np.sqrt(40)
    found = mean_of(values, 3)
    assert (found.high - found.low) / 2 == pytest.approx(exact, rel=0.1)


def test_where_all_hit_the_interval_is_wilsons():
    one = mean_of([1.0] * 10)
    assert one.wilson and one.high == pytest.approx(1) and one.low == pytest.approx(0.7225, abs=1e-3)
    none = mean_of([0.0] * 10)
    assert none.low == pytest.approx(0) and none.high == pytest.approx(0.2775, abs=1e-3)
    assert mean_of([]) is None and mean_of([0.4]).low is None


# Structures -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [(), ((0, 0, 1.0, 3.5, 30.0),)])
def test_shares_of_all_labels_are_those_of_each(planes):
    heat, grid = blob((0.4, 0.5, 0.3)), Grid(SHAPE, AFFINE)
    labels = np.zeros(SHAPE, np.int16)
    labels[4:10, 8:20, 2:9], labels[12:20, 8:20, 2:9], labels[0, 0, 0] = 3, 7, 9
    from CAMOverlayLib.contract.field_of_view import seen_mask

    seen = seen_mask(SHAPE, planes)
    found = shares_in(heat, grid, planes, labels)
    assert set(found) == ({3, 7, 9} if not planes else {3, 7})  # the last one was not seen
    for value, (share, times) in found.items():
        one = structure_figures(heat, seen, labels == value, "x", grid)
        assert (share, times) == pytest.approx((one.share, one.enrichment), rel=1e-5)
    with pytest.raises(TargetError, match="no label map"):
        shares_in(heat, grid, (), labels + 0.5)


def test_segmentations_by_folder_and_by_column(tmp_path):
    write_case(tmp_path, "a", blob((0.5, 0.5, 0.5)))
    rows = [{"id": "a", "state": "done", "volume": "/x/scan.nii.gz", "atlas": "segs/scan.nii.gz"}, {"id": "b"}]
    write_table(tmp_path, rows)
    first, second = read_cases(tmp_path)
    (tmp_path / "segs").mkdir()
    (tmp_path / "segs" / "scan.nii.gz").touch()
    (tmp_path / "segs" / "labels.csv").write_text('value,name\n1,left lung\n2,"right, upper"\n')
    folder, column = Segmentations(tmp_path / "segs", tmp_path), Segmentations("atlas", tmp_path)
    assert folder.of(first) == column.of(first) == tmp_path / "segs" / "scan.nii.gz"
    assert folder.of(second) is None and column.of(second) is None
    assert folder.names() == {1: "left lung", 2: "right, upper"}
    (tmp_path / "c.ctbl").write_text("# colours\n0 background 0 0 0 0\n4 liver 100 20 20 255\n")
    assert read_names(tmp_path / "c.ctbl")[4] == "liver"
    with pytest.raises(TargetError, match="neither a folder nor a column"):
        Segmentations("nothing", tmp_path).check([first])


# Cases ----------------------------------------------------------------------------------------------------------------


def test_right_and_wrong_by_name_and_by_index(tmp_path):
    told = {"prediction": {"classes": ["healthy", "Lesion", "3"]}, "target": {"name": "Lesion"}}
    for name in "abcd":
        write_case(tmp_path, name, blob((0.5, 0.5, 0.5)), **told)
    labels = {"a": "lesion", "b": "1", "c": "0", "d": "", "e": "Lesion"}
    write_table(
        tmp_path, [{"id": n, "state": "done", "label": label, "prediction": "Lesion"} for n, label in labels.items()]
    )
    cases = read_cases(tmp_path)
    assert [case.right for case in cases] == [True, True, False, None, True]
    assert cases[0].explained == "Lesion" and cases[0].done and not cases[4].done


def test_no_name_leads_out_of_the_folder(tmp_path):
    (tmp_path / "cohort" / "cases").mkdir(parents=True)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "picture.png").touch()
    names = ["../../secret", "..", ".", "a/b", "x" * 5000, "", "a\\b"]
    write_table(tmp_path / "cohort", [{"id": name, "state": "done"} for name in names])
    assert [case.folder for case in read_cases(tmp_path / "cohort")] == [None] * len(names)
    with pytest.raises(OutputError, match="holds no cohort.csv"):
        read_cases(tmp_path)
    (tmp_path / "cohort.csv").write_text("name\nx\n")
    with pytest.raises(OutputError, match="no column 'id'"):
        read_cases(tmp_path)
