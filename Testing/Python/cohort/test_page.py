"""The page of a cohort: everything said, every hostile name text, links that stay in the folder, of bounded size."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import nibabel
import numpy as np
import pytest
from cohorts import AFFINE, SHAPE, blob, write_case, write_table

from CAMOverlayLib.cohort.page import write_cohort_page
from CAMOverlayLib.cohort.summary import table
from CAMOverlayLib.cohort.summary.forest import forest
from CAMOverlayLib.cohort.summary.intervals import Interval
from CAMOverlayLib.cohort.summary.sections import said
from CAMOverlayLib.cohort.summary.thumbnails import thumbnail
from CAMOverlayLib.contract.errors import OutputError
from CAMOverlayLib.report.drawing import FIRST_ROW

EVIL = "<img src=x onerror=alert(1)>"


class Seen(HTMLParser):
    """Elements with their attributes, and the text outside of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.words: list[str] = []
        self._in = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self._in = tag

    def handle_endtag(self, tag):
        self._in = ""

    def handle_data(self, data):
        if self._in not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Cases of two classes: of one class a tenth looks into a corner; some failed, and names want to be obeyed."""
    folder = tmp_path_factory.mktemp("cohort")
    (folder / "seg").mkdir()
    random, rows = np.random.default_rng(0), []
    labels = np.zeros(SHAPE, np.int16)
    labels[:12], labels[12:] = 1, 2
    for number in range(48):
        id_ = EVIL.replace("/", "") if number == 5 else f"case {number}"
        name = "lesion" if number < 40 else "healthy"
        place = (0.88, 0.12, 0.15) if 8 <= number < 12 else np.array([0.4, 0.5, 0.5]) + 0.05 * random.normal(size=3)
        write_case(folder, id_, blob(place), target={"name": name}, prediction={"classes": ["healthy", "lesion"]})
        if number % 3:
            (folder / "cases" / id_ / "scene.mrb").touch()
        nibabel.save(nibabel.Nifti1Image(labels, AFFINE), folder / "seg" / f"{id_}.nii.gz")
        right, hit = number % 4 != 0, not 8 <= number < 12
        rows.append({
            "id": id_, "state": "done", "volume": f"/data/{number}.nii.gz", "label": name if right else "other",
            "prediction": name, "probability": f"{0.5 + number / 100:.3f}",
            "placement": "verified" if number else "inconclusive",
            "share": 0.4 if hit else 0.01, "enrichment": 5 if hit else 0.2, "hit": int(hit), "seconds": 1.5,
            "site": "=HYPERLINK(1)", "to_template": "identity" if number != 3 else "",
        })  # fmt: skip
    for number, words in ((90, "cut short"), (91, "cut short"), (92, "<script>alert(2)</script>")):
        rows.append({"id": f"bad {number}", "state": "failed", "volume": f"/data/bad {number}.nii.gz",
                     "label": "lesion", "error": f"'/data/bad {number}.nii.gz' is {words}."})  # fmt: skip
    rows.append({"id": "later", "state": "missing", "volume": "/data/later.nii.gz"})
    write_table(folder, rows)
    (folder / "cohort.json").write_text(f'{{"model_name": "{EVIL}", "options": {{"method": "gradcam"}}, "model": 5}}')
    image = np.zeros(SHAPE, np.float32)
    image[4:20, 4:24, 3:17] = 100
    nibabel.save(nibabel.Nifti1Image(image, AFFINE), folder / "T1.nii.gz")
    return folder


@pytest.fixture(scope="module")
def page(folder) -> str:
    path = write_cohort_page(folder, template=folder / "T1.nii.gz", segmentations=folder / "seg")
    assert path == folder / "cohort.html"
    return path.read_text(encoding="utf-8")


def test_counts_and_failures_come_first_and_all_sections_are_there(page):
    seen = Seen(page)
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert headings == [
        "To be kept in mind", "Class by class", "Failed", "Mean map of each class", "Cases that differ", "In the masks",
        "Right and wrong", "In which structures", "All cases", "Provenance",
    ]  # fmt: skip
    assert "3 of 52 cases failed" in seen.text and "1 of 52 cases are not computed yet" in seen.text
    assert "The alignment of 1 maps is not verified" in seen.text
    assert "not on the template: 1 case (case 3)" in seen.text
    assert seen.text.count("'…' is cut short.") == 1  # the same reason of two cases
    assert "lesion: 39 cases" in seen.text and "healthy: 8 cases" in seen.text  # mean maps


def test_the_tenth_that_looks_into_a_corner_stands_out(page):
    seen = Seen(page)
    assert "Group B: 4 cases" in seen.text and "Too few to group: 8 with heat" in seen.text
    small = [row for row in seen.all("tr") if row.get("data-group") == "lesion · B"]
    assert len(small) == 4
    assert "peak in mask 0% (0–49)" in seen.text


def test_figures_are_those_of_the_table(page):
    text = Seen(page).text
    assert "88% (" in text or "90% (" in text  # 36 of 40 lesions hit
    assert "Right : 30" in text and "Wrong : 10" in text
    row = next(part for part in re.findall(r"<tr>.*?</tr>", page) if "label 1" in part)
    heat = [blob((0.4, 0.5, 0.5))[:12].sum() / blob((0.4, 0.5, 0.5)).sum()]
    shares = [float(one) for one in re.findall(r">([\d.]+)% ×", row)]
    assert shares[1] == pytest.approx(100 * heat[0], abs=6)  # healthy: all around there
    assert shares[0] < shares[1]  # a tenth of the lesions' heat lies elsewhere


def test_no_name_is_obeyed_and_nothing_is_asked_of_a_network(page):
    seen = Seen(page)
    assert len(seen.all("script")) == 1 and not any("onerror" in one for one in seen.all("img"))
    assert "<script>alert(2)</script>" in seen.text and EVIL in seen.text
    policy = next(one["content"] for one in seen.all("meta") if one.get("http-equiv"))
    assert "default-src 'none'" in policy and "unsafe-inline" not in policy and policy.count("sha256-") == 2
    assert all(one["src"].startswith("data:image/") for one in seen.all("img"))
    assert not any("style" in attributes for _, attributes in seen.found)
    assert "http:" not in page and "https:" not in page and "@import" not in page


def test_links_open_what_is_there(page, folder):
    links = [one["href"] for one in Seen(page).all("a")]
    files = [unquote(one) for one in links if one != "#cases"]
    assert files and all((folder / one).is_file() for one in files)
    assert any("onerror" in one for one in files)


def test_a_scene_that_was_kept_is_linked_in_its_row_and_in_the_middle_of_a_group(page, folder, tmp_path):
    kept = {path.relative_to(folder).as_posix() for path in folder.glob("cases/*/scene.mrb")}
    links = [one for one in Seen(page[page.index('id="cases"') :]).all("a") if one["href"].endswith("/scene.mrb")]
    assert {unquote(one["href"]) for one in links} == kept and len(links) == len(kept) == 32
    assert {one["title"] for one in links} == {"Opens in 3D Slicer"} and links[0]["aria-label"] == "scene of case 1"
    assert any("onerror" in one for one in kept) and not any(set('<> "') & set(one["href"]) for one in links)
    middles = [Seen(words).all("a") for words in re.findall(r"In the middle: .*?</p>", page)]
    assert len(middles) >= 2
    for case, *scene in middles:
        there = unquote(case["href"]).replace("picture.png", "scene.mrb")
        assert [unquote(one["href"]) for one in scene] == ([there] if there in kept else [])
    assert {len(one) for one in middles} == {1, 2}

    write_case(tmp_path, "one", blob((0.5, 0.5, 0.5)))
    write_table(tmp_path, [{"id": "one", "state": "done"}])
    assert ">Scene<" in page and ">Scene<" not in write_cohort_page(tmp_path).read_text(encoding="utf-8")


def test_the_script_runs_in_a_table_that_a_keyboard_reaches(page):
    seen = Seen(page)
    buttons = seen.all("button")
    assert len(buttons) >= 10 and all(one["type"] == "button" for one in buttons)
    assert any(one.get("tabindex") == "0" and "cases" in one.get("class", "") for one in seen.all("div"))
    assert next(one for one in seen.all("p") if one.get("id") == "count")["role"] == "status"
    assert len(seen.all("select")) == 4 and len(seen.all("label")) == 5


def test_the_same_cohort_gives_the_same_page(page, folder):
    again = write_cohort_page(folder, template=folder / "T1.nii.gz", segmentations=folder / "seg")
    assert again.read_text(encoding="utf-8") == page


def test_what_is_missing_or_damaged_is_left_out_and_said(tmp_path):
    write_case(tmp_path, "a", blob((0.5, 0.5, 0.5)))
    write_case(tmp_path, "b", np.zeros(SHAPE, np.float32))
    write_case(tmp_path, "c", blob((0.5, 0.5, 0.5)))
    (tmp_path / "cases" / "a" / "picture.png").write_bytes(b"no picture")
    (tmp_path / "cases" / "a" / "report.json").write_text("{")
    (tmp_path / "cases" / "c" / "heatmap.nii.gz").write_bytes(b"no heatmap")
    write_table(tmp_path, [{"id": id_, "state": "done", "prediction": "x", "probability": "nan"} for id_ in "abc"])
    text = Seen(write_cohort_page(tmp_path).read_text(encoding="utf-8")).text
    assert "no heat anywhere: 1 case (b)" in text and "cannot be read" in text and "1 case (c)" in text
    assert "In the masks" not in text and "Right and wrong" not in text and "Mean map" not in text
    (tmp_path / "empty").mkdir()
    with pytest.raises(OutputError, match=r"cohort\.csv"):
        write_cohort_page(tmp_path / "empty")


def test_a_thumbnail_is_the_first_row_of_the_picture_where_that_says_which(tmp_path):
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    picture = Image.new("RGB", (300, 400))
    picture.paste((255, 0, 0), (20, 30, 220, 130))
    for words, size in (
        ("20,30,220,130", (100, 50)),
        ("20,30,9999,130", (100, 133)),
        ("-1,a", (100, 133)),
        (None, (100, 133)),
    ):
        told = PngInfo()
        if words is not None:
            told.add_text(FIRST_ROW, words)
        picture.save(tmp_path / "picture.png", pnginfo=told)
        _data, kind, found = thumbnail(tmp_path / "picture.png", 100, 200)
        assert kind == "jpeg" and found == size, words


def test_small_shares_are_told_with_one_more_digit():
    assert said(Interval(0.031, 0.026, 0.035, 8)) == "3.1% (2.6–3.5)" and said(Interval(0, None, None, 1)) == "0%"
    assert said(Interval(0.625, 0.25, 0.88, 8)) == "62% (25–88)"
    narrow, wide = (forest("x", [("a", Interval(mean, mean / 2, mean * 1.1, 8))]) for mean in (0.031, 0.62))
    assert ">4%<" in narrow and "3.1% of 8" in narrow and ">100%<" in wide and "62% of 8" in wide


def test_stopping_writes_nothing(folder, tmp_path):
    write_case(tmp_path, "a", blob((0.5, 0.5, 0.5)))
    write_table(tmp_path, [{"id": "a", "state": "done"}])

    def stop(share, words):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cohort_page(tmp_path, report=stop)
    assert not (tmp_path / "cohort.html").exists()


@pytest.mark.slow
def test_a_large_table_is_bounded_and_keeps_what_matters(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 30)
    states, said = {77: "failed"}, {88: "z"}
    rows = [
        {"id": f"n{n}", "state": states.get(n, "done"), "label": "y", "prediction": said.get(n, "y")}
        for n in range(100)
    ]
    write_table(tmp_path, rows)
    seen = Seen(write_cohort_page(tmp_path).read_text(encoding="utf-8"))
    kept = [one["data-v"] for one in seen.all("th") if one.get("scope") == "row" and "data-v" in one]
    assert len(kept) == 30 and {"n77", "n88"} <= set(kept) and "30 of 100 are here" in seen.text
