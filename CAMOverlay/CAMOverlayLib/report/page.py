"""``report.html``: everything that a result says, on one page that needs nothing but a browser.

Warnings come first, then where the heat is, what the network said, what was read off the map and whether to believe it,
and at the end how it came about and how to compute it again. The page may run two scripts, its own and the viewer's,
which it names by their hashes, and may ask no network for anything: its policy forbids both, whatever a name in a
model's file looks like.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import numpy as np
from PIL import Image

from ..contract.findings import Check
from ..contract.options import option_fields
from ..contract.request import STAGES, Prediction, Result, TransformStep
from ..contract.target import TargetSpec
from . import viewer
from .document import document, image_of, read_file
from .drawing import as_jpeg, draw_slice, scale_of
from .further_maps import LEAST, FurtherMap
from .markup import Markup, clean, el, listed, markup, table
from .plots import CAPTIONS, channels_svg, plots_of
from .repeat import as_command, as_python
from .shown import Shown
from .slices import Slice, pictured, slices_through

MOST_CLASSES, MOST_STEPS, MOST_FINDINGS = 30, 100, 50
"""Rows of tables; a model of thousands of classes does not make a page of thousands of rows."""

_ADDRESS = re.compile(r" object at 0x[0-9a-fA-F]+")
"""Where in memory a parameter was; it says nothing."""

SIGNS = {"passed": "✓", "verified": "✓", "failed": "✗", "mismatch": "✗"}

HOW_TO_GET = (
    "This page has pictures only. With the package ipyniivue (pip install ipyniivue; in 3D Slicer "
    "slicer.util.pip_install('--no-deps ipyniivue')) the next one has a viewer that scrolls through image and heat."
)


def write_page(result: Result, shown: Shown, with_viewer: bool = True) -> str:
    """The page.

    Args:
        result: what is told; voxels in it are those of ``shown``.
        shown: what is pictured.
        with_viewer: with the viewer, where its package is installed.
    """
    spots = pictured(shown, result.findings, result.peak)
    rows = [(_spot_words(spot), slices_through(shown, spot.peak if spot else None)) for spot in spots]
    bundle = viewer.find_bundle() if with_viewer else None
    scripts: list[Markup] = []
    allowed: list[str] = []
    seen = el("p", HOW_TO_GET, class_="soft") if with_viewer else None
    if bundle is not None:
        seen, scripts, allowed = _viewer(shown, spots, bundle)
    body = [
        _heading(result, shown),
        _warnings(result),
        _summary(result),
        _pictures(rows, shown),
        el("section", el("h2", "Scroll through it"), seen, class_="viewer") if seen else None,
        _prediction(result.prediction),
        _findings(result),
        _channels(result),
        _checks(result.checks),
        _further(result, shown, spots[0]),
        _alignment(result),
        _steps(result.steps),
        _provenance(result, bundle),
        _repeat(result),
    ]
    title = f"Evidence for {result.target.name} in {shown.name}"
    inside = el("main", *(part for part in body if part is not None))
    # The viewer gives its canvas a size by style attributes, and takes its font out of data: addresses.
    style = read_file("page.css") + _columns(rows[0][1])
    return document(title, inside, style, scripts, allowed, free_style=bool(allowed))


# What stands on top -------------------------------------------------------------------------------------------------


def _heading(result: Result, shown: Shown) -> Markup:
    model = " ".join(filter(None, (result.bundle_name, result.bundle_version)))
    return el(
        "header",
        el("h1", f"Evidence for “{result.target.name}”"),
        el("p", f"{shown.name} · {model}", class_="soft"),
        el("p", "Heat shows what this network weighed, not what is there. Not for diagnosis.", class_="soft"),
    )


def _warnings(result: Result) -> Markup | None:
    words: list[Any] = list(result.warnings)
    if result.placement.verdict != "verified":
        words.insert(0, result.placement.words)
    words += [f"{check.name}: {check.words}" for check in result.checks if check.verdict == "failed"]
    if not words:
        return None
    inside = el("ul", *(el("li", one) for one in words))
    return el("section", el("h2", "To be kept in mind"), inside, class_="warnings", role="note")


def _summary(result: Result) -> Markup:
    peak = None
    if result.peak is not None and result.peak_ras is not None:
        peak = f"{_place(result.peak_ras)} mm, voxel {_numbers(result.peak)}"
    size = " × ".join(f"{mm:.1f}" for mm in result.activation_spacing)
    return listed(
        [
            ("Prediction", _said(result.prediction)),
            ("Explained", result.target.description[:1].upper() + result.target.description[1:]),
            ("Method", f"{result.method} at {result.layer}"),
            ("Peak", peak or "none: the heatmap is 0 everywhere"),
            ("Resolution", f"one activation covers {size} mm"),
            ("Seen", f"{result.field_of_view.share:.1%} of the volume's voxels"),
            ("Applied", result.applied or None),
            ("Alignment", _judged(result.placement.verdict, _without_verdict(result))),
            *(
                (check.name[:1].upper() + check.name[1:], _judged(check.verdict, f": {check.words}"))
                for check in result.checks
            ),
        ]
    )


def _without_verdict(result: Result) -> str:
    """``Alignment verified to within 2 mm: …`` without its first two words, which stand before it with their sign."""
    return result.placement.words.removeprefix("Alignment ").removeprefix(result.placement.verdict)


def _judged(verdict: str, words: str) -> Markup:
    return markup(_verdict(verdict), words if words[:1] in (":", " ", ",", ";") else f" {words}")


def _verdict(verdict: str) -> Markup:
    look = verdict if verdict in ("passed", "failed", "undecided", "verified", "inconclusive", "mismatch") else ""
    return el("span", f"{SIGNS.get(verdict, '?')} {verdict}", class_=f"verdict {look}")


def _said(prediction: Prediction) -> str:
    name = prediction.name
    if prediction.activation == "none":
        pairs = list(zip(prediction.classes, prediction.outputs, strict=True))[:6]
        return ", ".join(f"{one} {value:.4g}" for one, value in pairs)
    if prediction.voxels:
        most = sorted(range(len(prediction.classes)), key=lambda n: -prediction.voxels[n])[:4]
        said = [f"{prediction.classes[n]} in {prediction.voxels[n]:,} voxels" for n in most if prediction.voxels[n]]
        return ", ".join(said) or "no voxel is predicted as any class"
    return f"{name} ({prediction.probabilities[prediction.index]:.1%})"


# Pictures -----------------------------------------------------------------------------------------------------------


def _spot_words(spot: Any) -> str:
    if spot is None:
        return "No heat anywhere: the slices go through the middle"
    words = f"Hot spot {spot.region}: peak {spot.maximum:.2f} at {_place(spot.peak_ras)} mm"
    if spot.volume_mm3:
        words += f", {spot.volume_mm3 / 1000:.2f} ml with {spot.share:.1%} of all heat"
    return words + (f", in {spot.structure}" if spot.structure else "")


def _pictures(rows: list[tuple[str, list[Slice]]], shown: Shown) -> Markup:
    scale = scale_of([one for _, slices in rows for one in slices])
    parts = []
    for words, slices in rows:
        parts += [el("h3", words), _row(slices, shown, scale, f"the heat over the image. {words}.")]
    return el("section", el("h2", "Where the heat is"), *parts, _color_bar(shown))


def _row(slices: list[Slice], shown: Shown, scale: float, what: str) -> Markup:
    """Slices side by side.

    Args:
        what: a sentence of what is on them, as it goes on after "slice with".
    """
    figures = []
    for one in slices:
        image, alt = draw_slice(one, shown, scale), f"{one.plane} slice with {what} {one.caption}."
        figures.append(el("figure", image_of(as_jpeg(image), "jpeg", alt, image.size), el("figcaption", one.caption)))
    return el("div", *figures, class_="row")


def _columns(slices: list[Slice]) -> str:
    """A rule of style: slices side by side have one scale, as their columns are as wide as they are in mm."""
    wide = " ".join(f"{max(one.heat.shape[1] * one.spacing[1], 1e-3):.4g}fr" for one in slices)
    return f"@media (min-width: 561px), print {{ .row {{ grid-template-columns: {wide}; }} }}\n"


def _color_bar(shown: Shown) -> Markup:
    words = f"Heat from 0 to 1; below {shown.shown[0]:.2g} it is not drawn"
    return _bar(shown.colors, shown.shown[0], f"Colour bar. {words}.", f"1 · {words}")


def _bar(colors: np.ndarray, least: float, alt: str, words: str) -> Markup:
    """A colour bar from 0 on.

    Args:
        least: share of the scale below which nothing is drawn.
        words: at its end.
    """
    values = (np.arange(256) + 0.5) / 256
    shown = np.concatenate([colors[(values * len(colors)).astype(int)], (values >= least)[:, None]], 1)
    strip = np.repeat((shown * 255).astype(np.uint8)[None], 14, axis=0)
    return el("div", el("span", "0"), _png(Image.fromarray(strip), alt), el("span", words), class_="bar")


def _png(image: Image.Image, alt: str) -> Markup:
    file = io.BytesIO()
    image.save(file, "PNG")
    return image_of(file.getvalue(), "png", alt, image.size)


def _viewer(shown: Shown, spots: list[Any], bundle: viewer.Bundle) -> tuple[Markup, list[Markup], list[str]]:
    """What is seen of the viewer, the scripts at the end of the page, and the hashes of those that may run."""
    data, made = viewer.data_of(shown, spots)
    code = read_file("viewer.js")
    if made.factors == (1, 1, 1):
        coarse = "Every voxel is here"
    else:
        coarse = f"Voxels are averages of {_numbers(made.factors, ' × ')}, so that the page fits a mail"
    low, high = shown.grey_range
    words = f"{coarse}; grey in 256 steps from {low:.4g} to {high:.4g}. Scroll or drag to move; orientation as above."
    slider = el("input", id="viewer-opacity", type="range", min="0", max="1", step="0.05", value=f"{shown.opacity}")
    seen = markup(
        el("div", el("p", "The viewer starts …", class_="soft"), id="viewer"),
        el("p", id="viewer-state", class_="soft", role="status"),
        el("div", el("span", id="viewer-spots"), el("label", "Heat ", slider), id="viewer-controls", hidden=True),
        el("p", words, class_="soft"),
    )
    scripts = [
        el("script", Markup(viewer.json_in_html(data)), type="application/json", id="viewer-data"),
        el("script", Markup(base64.b64encode(bundle.packed).decode()), type="text/plain", id="viewer-code"),
        el("script", Markup(code)),
    ]
    return seen, scripts, [viewer.script_hash(code), bundle.allowed]


# Figures ------------------------------------------------------------------------------------------------------------


def _prediction(said: Prediction) -> Markup:
    shares = said.activation != "none"
    values = said.probabilities if shares else said.outputs
    order = sorted(range(len(said.classes)), key=lambda n: -values[n])[:MOST_CLASSES]
    title = ("Mean probability" if said.voxels else "Probability") if shares else "Output"

    def row(n: int) -> list[Any]:
        value: Any = f"{values[n]:.4g}"
        if shares:
            share = min(max(values[n], 0.0), 1.0)
            value = markup(el("meter", min="0", max="1", value=f"{share:.4f}"), f" {values[n]:.1%}")
        return [said.classes[n], value, *([f"{said.voxels[n]:,}"] if said.voxels else [])]

    headings = ["Class", title, *(["Voxels"] if said.voxels else [])]
    left = len(said.classes) - len(order)
    words = "What the network said" + (f"; {left} classes with less are left out" if left else "")
    rows = map(row, order)
    return el("section", el("h2", "Prediction"), table(headings, rows, words, (2,) if shares else (1, 2)))


def _findings(result: Result) -> Markup:
    headings = ("", "Peak, RAS mm", "Voxel", "Volume, ml", "Mean", "Maximum", "Of all heat", "Next, mm", "Structure")
    rows = (
        (
            spot.region,
            ", ".join(f"{mm:.1f}" for mm in spot.peak_ras),
            _numbers(spot.peak),
            f"{spot.volume_mm3 / 1000:.2f}",
            f"{spot.mean:.2f}",
            f"{spot.maximum:.2f}",
            f"{spot.share:.1%}",
            "–" if spot.next_mm is None else f"{spot.next_mm:.1f}",
            spot.structure or "–",
        )
        for spot in result.findings[:MOST_FINDINGS]
    )
    parts: list[Any] = [el("h2", "Findings")]
    if result.findings:
        words = f"Hot spots: connected regions with heat from {result.threshold} on, the hottest peak first"
        parts.append(table(headings, rows, words, range(1, 8)))
    else:
        parts.append(el("p", f"No hot spot: no heat reaches {result.threshold}."))
    if result.structures:
        parts.append(_structures(result))
    return el("section", *parts)


def _structures(result: Result) -> Markup:
    headings = ("Structure", "Volume, ml", "Of all heat", "× chance", "p", "Mean inside", "outside", "Peak", "AUPRC")
    rows = (
        (
            one.name,
            f"{one.volume_mm3 / 1000:.2f}",
            f"{one.share:.1%}",
            f"{one.enrichment:.1f}",
            f"{one.p_value:.3f}",
            f"{one.mean_inside:.3f}",
            f"{one.mean_outside:.3f}",
            "inside" if one.holds_peak else "–",
            f"{one.average_precision:.2f}",
        )
        for one in result.structures
    )
    return table(headings, rows, "How much of the heat lies in which structure", range(1, 9))


def _channels(result: Result) -> Markup | None:
    if not result.channels:
        return None
    plot = el("figure", Markup(channels_svg(_cleaned(result.channels))))
    return el("section", el("h2", "Input channels"), el("p", "Share of the evidence."), el("div", plot, class_="plots"))


def _cleaned(values: dict[str, Any]) -> dict[str, Any]:
    return {clean(name): value for name, value in values.items()}


def _checks(checks: Iterable[Check]) -> Markup | None:
    parts = []
    for check in checks:
        head = el("h3", f"{check.name[:1].upper()}{check.name[1:]} ", _verdict(check.verdict))
        parts += [head, el("p", check.words)]
        plots = plots_of(Check(clean(check.name), check.verdict, "", curves=_cleaned(check.curves)))
        if plots:
            words = {title: CAPTIONS.get(f"{check.name} {title}", title) for title in plots}
            drawn = [el("figure", el("figcaption", words[title]), Markup(svg)) for title, svg in plots.items()]
            parts.append(el("div", *drawn, class_="plots"))
        figures = [(name, f"{value:.4g}") for name, value in check.figures.items()]
        if figures:
            inside = table(("Figure", "Value"), figures, f"Measured for “{check.name}”", (1,))
            parts.append(el("details", el("summary", "Figures"), inside))
    return el("section", el("h2", "Can it be believed?"), *parts) if parts else None


def _further(result: Result, shown: Shown, spot: Any) -> Markup | None:
    """What else the run says of every voxel, with the slices through the first hot spot."""
    if not result.further:
        return None
    rows = ((one.name, one.words, ", ".join(one.classes[:MOST_CLASSES]) or "–") for one in result.further)
    inside = table(("File", "What it shows", "Classes"), rows, "What else the same run said of every voxel")
    through = spot.peak if spot else None
    drawn = [part for one in shown.further for part in _further_pictures(one, shown, through)]
    return el("section", el("h2", "Further volumes"), inside, *drawn)


def _further_pictures(one: FurtherMap, shown: Shown, through: tuple[int, int, int] | None) -> list[Markup]:
    over = one.over(shown)
    slices = slices_through(over, through)
    name = one.name.replace("_", " ")
    drawn = _row(slices, over, scale_of(slices), f"the {name} over the image.")
    if one.classes:
        legend = _classes_seen(one, slices)
    else:
        words = f"{one.highest:.3g} · nothing is drawn below {LEAST * one.highest:.2g}"
        legend = _bar(one.colors, LEAST, f"Colour bar from 0 to {one.highest:.3g}.", words)
    return [el("h3", name[:1].upper() + name[1:]), drawn, legend]


def _classes_seen(one: FurtherMap, slices: list[Slice]) -> Markup:
    """The classes that are in the pictures, each with its colour."""
    count = len(one.classes)
    seen = sorted({int(n * count) for cut in slices for n in np.unique(cut.heat) if n > 0})
    parts = []
    for number in seen[:MOST_CLASSES]:
        color = tuple(round(255 * part) for part in one.colors[number])
        parts.append(el("span", _png(Image.new("RGB", (14, 14), color), ""), f" {one.classes[number]}"))
    return el("div", *(parts or [el("span", "None of the classes is in these slices.")]), class_="classes")


# How it came about --------------------------------------------------------------------------------------------------


def _alignment(result: Result) -> Markup:
    found = result.placement
    sees = [
        f"{value:.3g} {unit}"
        for value, unit in (
            (found.shift_mm, "mm of shift"),
            (found.turn_degrees, "degrees of turn"),
            (found.zoom_percent, "% of zoom"),
            (found.parts_mm, "mm of shift of a part"),
        )
        if value is not None
    ]
    both = None
    if found.difference is not None:
        both = f"differ by {found.difference:.3f} at most, their peaks lie {found.peak_distance or 0:.1f} mm apart"
    return el(
        "section",
        el("h2", "Alignment"),
        el("p", _judged(found.verdict, _without_verdict(result))),
        listed(
            [
                ("Mutual information", f"{found.score:.3f} nats"),
                ("Best alternative", f"{found.candidate or 'none'}: {found.candidate_score:.3f} nats"),
                ("Would have betrayed", ", ".join(sees) or None),
                ("Way back", "one resampling" if found.inverse == "affine" else "the saved operations, replayed"),
                ("Both ways back", both),
            ]
        ),
    )


def _steps(steps: tuple[TransformStep, ...]) -> Markup | None:
    if not steps:
        return None
    headings = ("Transform", "Parameters", "Shape", "Spacing, mm", "Axes", "What the voxels say", "Undone by")
    rows = (
        (
            step.name,
            _ADDRESS.sub("", ", ".join(f"{key}={value}" for key, value in step.parameters.items())) or "–",
            _numbers(step.shape_after, " × "),
            " × ".join(f"{mm:.2f}" for mm in step.spacing_after),
            step.orientation,
            step.evidence or "–",
            step.inverse or "–",
        )
        for step in steps[:MOST_STEPS]
    )
    words = "Each transform on the way to the network, and what undid it for the heatmap"
    inside = table(headings, rows, words, tight=(2, 3), wide=(1, 5, 6))
    return el("section", el("h2", "Preprocessing"), inside)


def _provenance(result: Result, bundle: viewer.Bundle | None) -> Markup:
    asked = result.provenance
    source = asked.model.path or result.bundle or "in memory"
    rows: list[tuple[str, Any]] = [
        ("Model", " ".join(filter(None, (result.bundle_name, result.bundle_version)))),
        ("Read from", " ".join(asked.network_arguments) or source),
        ("Content, SHA-256", asked.content_hash or None),
        ("Configurations", ", ".join(asked.model.configs) or None),
        ("Volumes", ", ".join(path or name for name, path in zip(result.inputs, [*asked.volumes, *[""] * 99]))),
        ("Target", _asked_words(asked.target)),
        ("Layer", result.layer),
        ("Network's input", _numbers(result.network_input_shape, " × ")),
        ("Activations", _numbers(result.activation_shape, " × ")),
        ("1.0 stands for", f"{result.magnitude:.6g}"),
        ("Device", result.device),
        ("Versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
    ]
    options = ((one.name, str(getattr(asked.options, one.name))) for one in option_fields())
    seconds = ((STAGES.get(name, name), f"{value:.2f}") for name, value in result.timings.items())
    parts = [
        listed(rows),
        el("details", el("summary", "Every option"), table(("Option", "Value"), options, "As they were set")),
        el("details", el("summary", "Seconds"), table(("Stage", "Seconds"), seconds, "What each stage took", (1,))),
    ]
    if bundle is not None:
        words = el("p", f"The viewer is niivue, as ipyniivue {bundle.version} brings it, under this licence:")
        licence = el("details", el("summary", "Licence of the viewer"), words, el("pre", bundle.licence))
        parts.append(licence)
    return el("section", el("h2", "Provenance"), *parts)


def _asked_words(target: Any) -> str:
    if target is None:
        return "the predicted class"
    if not isinstance(target, TargetSpec):
        return str(target)
    given = [(one.name, getattr(target, one.name)) for one in fields(target)]
    return ", ".join(f"{name} {getattr(value, 'name', value)}" for name, value in given if value is not None)


def _repeat(result: Result) -> Markup:
    return el(
        "section",
        el("h2", "Compute it again"),
        el("h3", "In a terminal"),
        el("pre", el("code", as_command(result)), tabindex="0"),
        el("h3", "In Python"),
        el("pre", el("code", as_python(result)), tabindex="0"),
    )


def _numbers(values: Iterable[Any], between: str = ", ") -> str:
    return between.join(map(str, values))


def _place(ras: Iterable[float]) -> str:
    """``L 12.5, A 3.0, S 40.1``."""
    rounded = [round(float(mm), 1) for mm in ras]
    return ", ".join(f"{('RAS' if mm >= 0 else 'LPI')[axis]} {abs(mm):.1f}" for axis, mm in enumerate(rounded))
