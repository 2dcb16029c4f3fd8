"""The sections of the page, in their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ... import __version__
from ...report.document import image_of
from ...report.markup import Markup, el, listed, markup, table
from .cases import Case
from .forest import forest
from .gathered import TO_TEMPLATE, Gathered
from .groups import Group, Groups
from .intervals import FEW, LEVEL, RESAMPLES, Interval, mean_of
from .maps import Template
from .table import card, letter, linked, picture_of, scene_link
from .thumbnails import on_template, projections

MOST_CLASSES, MOST_STRUCTURES, MOST_REASONS = 40, 60, 30
"""Rows and columns; a list of thousands of classes does not make a page of thousands of rows."""

MOST_SIDE = 9
"""Cases on each side of right and wrong."""

UNKNOWN = "not known"


def by_class(cases: Iterable[Case]) -> dict[str, list[Case]]:
    """Cases by the class that was explained, the class with the most first."""
    found: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        found[case.explained or UNKNOWN].append(case)
    return dict(sorted(found.items(), key=lambda one: (-len(one[1]), one[0])))


def heading(folder: Path, account: dict[str, Any], found: Gathered) -> Markup:
    model = " · ".join(_listed(account[key])[:200] for key in ("model_name", "list") if account.get(key))
    return el(
        "header",
        el("h1", f"Where the network looked in {len(found.cases)} volumes"),
        el("p", f"{folder.resolve().name}{' · ' if model else ''}{model}", class_="soft"),
        el("p", "Heat shows what this network weighed, not what is there. Not for diagnosis.", class_="soft"),
    )


def warnings(found: Gathered) -> Markup | None:
    cases = found.cases
    failed = sum(case.failed for case in cases)
    missing = sum(case.state == "missing" and not case.failed for case in cases)
    open_ = sum(case.done and case.placement not in ("verified", "") for case in cases)
    words = [
        f"{failed} of {len(cases)} cases failed; what is below is of the others." if failed else None,
        f"{missing} of {len(cases)} cases are not computed yet; the same command does them." if missing else None,
        f"The alignment of {open_} maps is not verified: they may lie at the wrong place." if open_ else None,
        *found.notes,
    ]
    said = [el("li", one) for one in words if one]
    if not said:
        return None
    return el("section", el("h2", "To be kept in mind"), el("ul", *said), class_="warnings", role="note")


def figures(found: Gathered) -> Markup:
    cases = found.cases
    answers = [case.right for case in cases if case.right is not None]
    hits = [case.hit for case in cases if case.hit is not None and not case.failed]
    failed = sum(case.failed for case in cases)
    told = [
        (str(len(cases)), "cases", ""),
        (str(sum(case.state == "done" for case in cases)), "done", ""),
        (str(failed), "failed", "bad" if failed else ""),
        (f"{np.mean(answers):.0%}", f"right of {len(answers)} with a label", "") if answers else None,
        (f"{np.mean(hits):.0%}", f"peak in the mask of {len(hits)}", "") if hits else None,
    ]
    return el(
        "div", *(el("div", el("b", a), el("span", b), class_=c) for a, b, c in filter(None, told)), class_="figures"
    )


def classes(found: Gathered, seed: int) -> Markup:
    """A row for each class: counts, and what was measured."""
    shown = list(by_class(found.cases).items())
    headings = ("Explained", "Cases", "Failed", "Right", "Peak in mask", "Heat in mask", "× chance", "Not verified")
    rows = [_class_row(name, cases, seed) for name, cases in shown[:MOST_CLASSES]]
    words = "A row for each class that was explained, with 95% intervals; failed cases count under their label."
    words += f"; {len(shown) - MOST_CLASSES} classes with fewer cases are left out" if len(shown) > MOST_CLASSES else ""
    return el("section", el("h2", "Class by class"), table(headings, rows, words, range(1, 8)))


def _class_row(name: str, cases: Sequence[Case], seed: int) -> list[Any]:
    ok = [case for case in cases if not case.failed]
    return [
        name,
        len(cases),
        len(cases) - len(ok),
        said(_answers(ok, seed)),
        said(_hits(ok, seed)),
        said(_shares(ok, seed)),
        said(_times(ok, seed), percent=False),
        sum(case.done and case.placement not in ("verified", "") for case in ok),
    ]


def said(one: Interval | None, percent: bool = True) -> str:
    """``83% (71–92)``, and of few per cent ``3.1% (2.6–3.5)``."""
    if one is None:
        return "–"
    fine = not percent or 0 < max(one.mean, one.high or 0) < FEW
    form, scale = "{:.1f}" if fine else "{:.0f}", 100 if percent else 1
    words = form.format(one.mean * scale) + ("%" if percent else "")
    if one.low is None or one.high is None:
        return words
    return f"{words} ({form.format(one.low * scale)}–{form.format(one.high * scale)})"


def _answers(cases: Iterable[Case], seed: int) -> Interval | None:
    return mean_of([float(case.right) for case in cases if case.right is not None], seed)


def _hits(cases: Iterable[Case], seed: int) -> Interval | None:
    return mean_of([float(case.hit) for case in cases if case.hit is not None], seed)


def _shares(cases: Iterable[Case], seed: int) -> Interval | None:
    return mean_of([case.share for case in cases if case.share is not None], seed)


def _times(cases: Iterable[Case], seed: int) -> Interval | None:
    return mean_of([case.enrichment for case in cases if case.enrichment is not None], seed)


def failures(found: Gathered) -> Markup | None:
    """Why cases failed, the most frequent reason first."""
    reasons: dict[str, list[Case]] = defaultdict(list)
    for case in found.cases:
        if case.failed:
            reasons[_reason(case)].append(case)
    if not reasons:
        return None
    order = sorted(reasons.items(), key=lambda one: -len(one[1]))
    rows = [(words, len(cases), _links(cases)) for words, cases in order[:MOST_REASONS]]
    caption = "What was said of cases that failed" + (
        f"; {len(order) - MOST_REASONS} more reasons are in the table" if len(order) > MOST_REASONS else ""
    )
    return el("section", el("h2", "Failed"), table(("Reason", "Cases", "Which"), rows, caption, (1,), wide=(0, 2)))


def _reason(case: Case) -> str:
    """The sentence without what names the case, so that equal reasons come together."""
    words = case.error or "No reason was written."
    names = [case.volume, Path(case.volume).name, *([case.id] if len(case.id) > 3 else [])]
    for name in filter(None, names):
        words = words.replace(name, "…")
    return words[:400]


def _links(cases: Sequence[Case], most: int = 8) -> Markup:
    parts: list[Any] = []
    for case in cases[:most]:
        parts += [", " if parts else None, linked(case, case.id)]
    return markup(*parts, " …" if len(cases) > most else None)


# Where the heat lies --------------------------------------------------------------------------------------------------


def mean_maps(found: Gathered, template: Template | None) -> Markup | None:
    """The mean map of each class on the template, all on one scale."""
    if template is None:
        return None
    highest = max((float(one.mean.max()) for one in found.means.values()), default=0.0)
    if not highest > 0:
        words = f"No case is on the template: the column {TO_TEMPLATE} says how each volume lies on it."
        return el("section", el("h2", "Mean map of each class"), el("p", words))
    words = (
        f"The mean of the heat of all cases of a class, on the template; its colours end at {highest:.2f}, the largest"
    )
    words += " mean of all, and nothing is drawn below a quarter of that. Where fewer than half of the volumes reach, "
    words += "nothing is shown."
    parts: list[Any] = [el("h2", "Mean map of each class"), el("p", words, class_="soft")]
    for name, one in sorted(found.means.items(), key=lambda item: -item[1].count)[:MOST_CLASSES]:
        parts.append(el("h3", f"{name}: {one.count} {'case' if one.count == 1 else 'cases'}"))
        pictures = on_template(template.image, (one.mean / highest).astype(np.float32), template.grid.affine, 0.25)
        alt = f"Mean heat of {name} on the template"
        shown = [
            el("figure", image_of(data, kind, f"{alt}. {caption}", size), el("figcaption", caption))
            for (data, kind, size), caption in pictures
        ]
        parts.append(el("div", *shown, class_="row three"))
    return el("section", *parts)


def groups(found: Gathered) -> Markup | None:
    """Cases that differ: the groups of each class, with the case in the middle of each."""
    if not found.grouped:
        return None
    where = "on the template" if found.on_template else "in the box that the network saw of each volume"
    words = (
        f"Maps of one class, grouped by where their heat lies {where}. A small group may be a shortcut: open its cases."
    )
    words += (
        " Shown are the case in the middle of each group, and the mean of the group summed from below, from the front"
    )
    words += " and from the left (the patient’s right on the left of the first two)."
    parts: list[Any] = [el("h2", "Cases that differ"), el("p", words, class_="soft")]
    order = sorted(found.grouped.items(), key=lambda one: (len(one[1][1].groups) < 2, -len(one[1][0])))
    for name, (numbers, made) in order[:MOST_CLASSES]:
        parts += [el("h3", name), el("p", made.words)]
        shown = [_group(found.cases, numbers, made, name, place) for place in range(len(made.groups))]
        parts.append(el("div", *shown, class_="groups") if shown else None)
    return el("section", *parts)


def _group(cases: Sequence[Case], numbers: list[int], made: Groups, name: str, place: int) -> Markup:
    group: Group = made.groups[place]
    members = [cases[numbers[member]] for member in group.members]
    middle = cases[numbers[group.medoid]]
    share = len(members) / len(numbers)
    single = len(made.groups) == 1
    title = f"{'All' if single else f'Group {letter(place)}'}: {len(members)} cases ({share:.0%})"
    data, kind, size = projections(group.mean)
    lines = [
        ("right", _answers(members, 0)),
        ("peak in mask", _hits(members, 0)),
        ("heat in mask", _shares(members, 0)),
    ]
    facts = "; ".join(f"{words} {said(one)}" for words, one in lines if one is not None)
    link = None
    if not single:
        link = el("a", "show in the table", href="#cases", data_filter="group", data_value=f"{name} · {letter(place)}")
    scene = scene_link(middle)
    return el(
        "div",
        el("h4", title),
        linked(middle, picture_of(middle, 300), aria_label=f"Open {middle.id}, the middle of this group"),
        el("p", "In the middle: ", linked(middle, middle.id), scene and markup(" · ", scene)),
        image_of(data, kind, f"Mean of {title}, three sums through it", size),
        el("p", facts) if facts else None,
        el("p", _links(members), link and markup(" · ", link)),
        class_="group small" if not single and share <= 0.25 else "group",
    )


# Masks, labels, structures --------------------------------------------------------------------------------------------


def in_masks(found: Gathered, seed: int) -> Markup | None:
    """Whether peak and heat lie in the masks, class by class."""
    cases = [case for case in found.cases if not case.failed and case.hit is not None]
    if not cases:
        return None
    named = [*by_class(cases).items()][:MOST_CLASSES]
    rows = [*([("All", cases)] if len(named) > 1 else []), *named]
    plots = [
        ("The peak lies in the mask", [(name, _hits(some, seed)) for name, some in rows], True, None),
        ("Share of the heat in the mask", [(name, _shares(some, seed)) for name, some in rows], True, None),
        ("Heat in the mask, times what chance gives", [(name, _times(some, seed)) for name, some in rows], False, 1.0),
    ]
    figures_ = [
        el("figure", el("h3", title), forest(title, [(a, b) for a, b in made if b is not None], percent, chance))
        for title, made, percent, chance in plots
        if any(b is not None for _, b in made)
    ]
    exact = any(one is not None and one.wilson for _, made, _, _ in plots for _, one in made)
    words = f"Means with {LEVEL:.0%} intervals of {RESAMPLES} bootstrap samples of the cases."
    words += " Where all or none hit, Wilson’s interval, as every sample is alike." if exact else ""
    inside = el("div", *figures_, class_="forests")
    return el("section", el("h2", "In the masks"), el("p", words, class_="soft"), inside)


def right_and_wrong(found: Gathered, seed: int) -> Markup | None:
    """Of each class what is right beside what is wrong, the surest first."""
    cases = [case for case in found.cases if case.right is not None]
    if not cases:
        return None
    words = "Under the class that was explained; the answers that the network was surest of first."
    parts: list[Any] = [el("h2", "Right and wrong"), el("p", words, class_="soft")]
    for name, some in [*by_class(cases).items()][:MOST_CLASSES]:
        right = [case for case in some if case.right]
        wrong = [case for case in some if not case.right]
        parts.append(el("h3", name))
        sides = [_side("✓ Right", "good", right, seed), _side("✗ Wrong", "wrong", wrong, seed)]
        parts.append(el("div", *sides, class_="sides"))
    return el("section", *parts)


def _side(title: str, look: str, cases: Sequence[Case], seed: int) -> Markup:
    facts = [("peak in mask", _hits(cases, seed)), ("heat in mask", _shares(cases, seed))]
    words = "; ".join(f"{what} {said(one)}" for what, one in facts if one is not None)
    surest = sorted(cases, key=lambda case: -(case.probability or 0.0))
    cards = [card(case, _answer_words(case)) for case in surest[:MOST_SIDE]]
    left = len(cases) - len(cards)
    return el(
        "div",
        el("h4", el("span", title, class_=look), f": {len(cases)}"),
        el("p", words, class_="soft") if words else None,
        el("div", *cards, class_="cards"),
        el("p", f"and {left} more in the table", class_="soft") if left > 0 else None,
    )


def _answer_words(case: Case) -> str:
    sure = "" if case.probability is None else f" {case.probability:.0%}"
    return f"{case.prediction}{sure}" + ("" if case.right else f", is {case.label}")


def structures(found: Gathered) -> Markup | None:
    """Class × structure: mean share of the heat, and by how much that is more than chance."""
    if not found.structures:
        return None
    values = sorted({value for some in found.structures.values() for value in some})
    weight = {
        value: max(float(np.mean([s for s, _ in some[value]])) for some in found.structures.values() if value in some)
        for value in values
    }
    shown = sorted(sorted(values, key=lambda value: -weight[value])[:MOST_STRUCTURES])
    names = list(found.structures)[:MOST_CLASSES]
    rows = [
        el(
            "tr",
            el("th", found.names.get(value, f"label {value}"), scope="row"),
            *(_entry(found, n, value) for n in names),
        )
        for value in shown
    ]
    head = el("tr", el("th", "Structure", scope="col"), *(el("th", name, scope="col") for name in names))
    words = (
        "Mean share of a map’s heat in each structure, × how many times what chance gives (mean), and of how many cases"
    )
    words += "; the darker, the larger the share"
    left = len(values) - len(shown)
    words += f". {left} structures with less heat are left out" if left else ""
    inside = el("table", el("thead", head), el("tbody", *rows), class_="matrix", aria_label="Heat in structures")
    return el(
        "section",
        el("h2", "In which structures"),
        el("p", words + ".", class_="soft"),
        el("div", inside, class_="scroll", role="region", aria_label="Heat in structures", tabindex="0"),
    )


def _entry(found: Gathered, name: str, value: int) -> Markup:
    figures_ = found.structures[name].get(value)
    if not figures_:
        return el("td", "–")
    share, times = (float(one) for one in np.mean(figures_, axis=0))
    tint = sum(share >= edge for edge in (0.02, 0.1, 0.25, 0.5))
    words = f"{share:.1%} × {times:.1f} ({len(figures_)})"
    return el("td", words, class_=f"t{tint}" if tint else None)


# How it came about ----------------------------------------------------------------------------------------------------


def provenance(account: dict[str, Any], found: Gathered, seed: int) -> Markup:
    model = account.get("model")
    model = model if isinstance(model, dict) else {}
    options = account.get("options")
    options = options if isinstance(options, dict) else {}
    rows = [
        ("Model", account.get("model_name")),
        ("Read from", account.get("model_path")),
        ("Content, SHA-256", model.get("content_hash")),
        ("List", _listed(account.get("list") or "")),
        ("Computed with", f"CAMOverlay {account['version']}" if account.get("version") else None),
        ("Fingerprint", account.get("fingerprint")),
        ("This page", f"CAMOverlay {__version__}, seed {seed}"),
    ]
    parts: list[Any] = [el("h2", "Provenance"), listed((name, _short(value)) for name, value in rows if value)]
    if options:
        said_ = ((str(name), _short(value)) for name, value in list(options.items())[:200])
        parts.append(
            el("details", el("summary", "Every option"), table(("Option", "Value"), said_, "As they were set"))
        )
    return el("section", *parts)


def _listed(value: Any) -> str:
    """A text, or several with commas between."""
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 400 else text[:399] + "…"
