"""The page: what it says, that nothing in a name becomes a part of it, and that it may ask nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from scene.helpers import makeHeatmap, makeResult
from support import REPOSITORY

from CAMOverlayLib.contract.findings import Check, HotSpot, StructureFigures
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.provenance import Provenance
from CAMOverlayLib.contract.request import FurtherVolume, TransformStep
from CAMOverlayLib.contract.target import VolumeFile
from CAMOverlayLib.report import viewer
from CAMOverlayLib.report.page import write_page
from CAMOverlayLib.report.shown import Shown

HOSTILE = (
    "</script></style><script>alert(1)</script><img src=x onerror=alert(2)>\" onload='x' &amp; \u202egnp.\x00\ud800"
)
AFFINE = np.array([[-2.0, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 3, 7], [0, 0, 0, 1]])
EYE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
VOID = {"meta", "img", "input"}


class Page(HTMLParser):
    """Elements with their attributes, the text, and whether every element ends where it should."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"script", "style"} & set(self.open):
            self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join(self.texts)


@pytest.fixture
def shown():
    heat = np.zeros((12, 14, 10), np.float32)
    heat[3, 9, 4], heat[8, 2, 6] = 1, 0.7
    return Shown("brain", np.random.default_rng(0).normal(100, 20, heat.shape), heat, AFFINE)


@pytest.fixture
def result(tmp_path):
    """Everything that a result can say."""
    step = TransformStep(
        "Spacingd",
        {"pixdim": "(1, 1, 1)"},
        (12, 14, 10),
        (24, 21, 30),
        (2, 1.5, 3),
        (1, 1, 1),
        "RAS",
        EYE,
        (0, 1),
        0.5,
        True,
        0.1,
        "verified (2.1 nats)",
        "part of the one resampling",
    )
    spots = [
        HotSpot(n + 1, peak, (1.0, 2.0, 3.0), 900, 0.6, 1 - n / 4, 0.3, 12.0, "liver")
        for n, peak in enumerate([(3, 9, 4), (8, 2, 6)])
    ]
    x = {"x": (0.0, 0.5, 1.0)}
    checks = (
        Check(
            "answer",
            "passed",
            "it depends",
            {"intact": 2.5},
            {**x, "deletion map": (1, 0.2, 0), "deletion random": (1, 0.9, 0), "insertion map": (0, 0.7, 1)},
        ),
        Check("stability", "failed", "it moves", {}, {**x, "similarity": (1, 0.9, 0.8), "peak moved mm": (0, 4, 9)}),
    )
    made = makeResult(makeHeatmap(tmp_path, np.zeros((2, 2, 2)), np.eye(4)), peak=(3, 9, 4))
    figures = StructureFigures("liver", 5000, 0.4, 3.1, 0.01, 0.3, 0.1, True, 0.5, 0.6, 0.7, 0.8)
    further = FurtherVolume("entropy", VolumeFile("", EYE), "how undecided the network is")
    return replace(
        made,
        findings=tuple(spots),
        steps=(step,),
        checks=checks,
        structures=(figures,),
        further=(further,),
        channels={"T1": 0.7, "T2": 0.3},
        warnings=("The network has random weights.",),
        inputs=("brain",),
        versions={"torch": "2.13.0"},
        provenance=Provenance("command", model=ModelSource("/m"), content_hash="ab12", volumes=("/data/b.nii",)),
    )


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A package of the viewer's name with a small module in it; the real one is looked at by make look-at-report."""
    folder = tmp_path / "site"
    for name, text in {
        "ipyniivue/__init__.py": "raise ImportError('it is not to be imported')",
        "ipyniivue/static/widget.js": "var x={render(){}};export{x as default};\n",
        "ipyniivue-9.8.dist-info/licenses/LICENSE": "BSD 2-Clause <License>",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return viewer.find_bundle()


def test_everything_is_said_and_warnings_come_first(result, shown):
    page = Page(write_page(result, shown, with_viewer=False))
    for words in (
        "lesion",
        "The network has random weights.",
        "Hot spot 2: peak 0.75",
        "liver",
        "40.0%",
        "it depends",
        "it moves",
        "Spacingd",
        "24 × 21 × 30",
        "1.00 × 1.00 × 1.00",
        "verified (2.1 nats)",
        "part of the one resampling",
        "entropy",
        "how undecided the network is",
        "torch 2.13.0",
        "ab12",
        "/data/b.nii",
        "cam-overlay explain",
        "from CAMOverlayLib",
        "T1",
        "70.0%",
    ):
        assert words in page.text, words
    assert page.text.index("random weights") < page.text.index("Prediction") < page.text.index("Where the heat is")
    pictures = page.of("img")
    assert len(pictures) == 2 * 3 + 1 and all(one["alt"] and one["src"].startswith("data:image/") for one in pictures)
    plots = [one for one in page.of("svg") if one["role"] == "img"]
    assert [one["aria-label"] for one in plots][1:] == [
        "answer: deletion",
        "answer: insertion map",
        "stability: similarity",
        "stability: peak moved mm",
    ]
    assert len(page.of("h1")) == 1 and page.of("html")[0]["lang"] == "en"


def everywhere(value, hostile):
    """A record with a text in the place of each of its own."""
    import dataclasses

    if isinstance(value, str):
        return hostile
    if isinstance(value, tuple):
        return tuple(everywhere(one, hostile) for one in value)
    if isinstance(value, dict):
        return {hostile if key != "x" else key: everywhere(one, hostile) for key, one in value.items()}
    if dataclasses.is_dataclass(value):
        kept = ("verdict", "activation", "door", "kind", "inverse", "findings_threshold")
        return replace(
            value,
            **{
                one.name: everywhere(getattr(value, one.name), hostile)
                for one in dataclasses.fields(value)
                if one.name not in kept
            },
        )
    return value


def test_a_hostile_name_is_text_wherever_it_stands(result, shown, bundle):
    named = replace(
        everywhere(result, HOSTILE), provenance=replace(result.provenance, target=HOSTILE, volumes=(HOSTILE,))
    )
    text = write_page(named, replace(shown, name=HOSTILE))
    text.encode()
    page, plain = Page(text), Page(write_page(result, shown))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements}
    assert len(page.of("script")) == len(plain.of("script")) == 3 and len(page.of("style")) == 1
    assert len(page.of("img")) == 7
    assert not any(name.startswith("on") or name == "style" for _, said in page.elements for name in said)
    assert "alert(1)" in page.text and "\u202e" not in text and "\x00" not in text


def policy_of(text):
    policy = next(one["content"] for one in Page(text).of("meta") if one.get("http-equiv"))
    return dict(rule.strip().split(" ", 1) for rule in policy.split(";"))


def test_only_the_scripts_that_the_page_names_may_run_and_nothing_may_be_fetched(result, shown, bundle):
    text = write_page(result, shown)
    rules = policy_of(text)
    assert rules["default-src"] == "'none'" and rules["connect-src"] == "data: blob:"
    run = [found for kind, found in re.findall(r"<script([^>]*)>(.*?)</script>", text, re.S) if "type=" not in kind]
    hashes = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in (*run, bundle.source)]
    assert rules["script-src"] == " ".join(f"'sha256-{one}'" for one in hashes)
    assert "http" not in re.sub(r'http-equiv|"http://www.w3.org/2000/svg"', "", text.replace(bundle.licence, ""))
    assert "BSD 2-Clause &lt;License&gt;" in text and "ipyniivue 9.8" in text
    without = write_page(result, shown, with_viewer=False)
    rules = policy_of(without)
    assert "<script" not in without and rules["script-src"] == "'none'" and rules["style-src"].startswith("'sha256-")


def test_without_the_package_there_are_pictures_and_the_way_to_a_viewer(result, shown, monkeypatch):
    monkeypatch.setattr(viewer, "PACKAGE", "a_package_that_nobody_has")
    page = Page(write_page(result, shown))
    assert "pip install ipyniivue" in page.text and not page.of("script") and len(page.of("img")) == 7


def test_a_map_without_heat_is_pictured_through_the_middle(result, shown):
    cold = replace(shown, heat=np.zeros_like(shown.heat))
    page = Page(write_page(replace(result, findings=(), peak=None, peak_ras=None), cold, with_viewer=False))
    assert "No heat anywhere" in page.text and len(page.of("img")) == 3 + 1


def test_a_result_that_came_with_a_scene_may_say_anything(result, shown):
    far = replace(result.findings[0], peak=(99, -1, 5))
    odd = replace(
        result,
        findings=(far,),
        peak=(3, 99, 4),
        inputs=(),
        activation_spacing=(),
        steps=(),
        checks=(Check("answer", "strange", "", {}, {"x": (), "a": (1e308, -1e308), "b c": (), "b d": (1.0,) * 1000}),),
        provenance=Provenance(),
    )
    page = Page(write_page(odd, shown, with_viewer=False))
    assert "No heat anywhere" in page.text and "? strange" in page.text and len(page.of("svg")) == 3


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_the_paper(theme):
    """WCAG 2.2, 1.4.3: a ratio of 4.5 at least."""
    style = (REPOSITORY / "CAMOverlay/CAMOverlayLib/report/page.css").read_text()
    block = style.split(":root {")[1 if theme == "light" else 2].split("}")[0]
    colors = dict(re.findall(r"--(\w+): (#\w{6})", block))

    def light(color):
        parts = np.array([int(color[n : n + 2], 16) / 255 for n in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    for paper in ("paper", "tint", "warn"):
        for ink in (
            ("ink", "soft")
            if paper != "paper"
            else ("ink", "soft", "good", "bad", "open", "c0", "c1", "c2", "c3", "c4")
        ):
            one, other = sorted((light(colors[ink]), light(colors[paper])))
            assert (other + 0.05) / (one + 0.05) >= 4.5, (theme, ink, paper)
