"""The table of all cases: a row each, with a thumbnail that opens the case."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from ...report.document import image_of
from ...report.markup import Markup, el, markup
from ..cases import FILES
from ..folder import SCENE
from .cases import CASES, Case
from .gathered import Gathered
from .thumbnails import Picture, thumbnail

MOST_ROWS = 2000
"""Of the table; ``cohort.csv`` has all of them."""

MOST_CARRIED = 6
"""Columns of the list that are shown."""

MOST_WORDS = 160

SIDES = ((150, 240), (600, 170), (MOST_ROWS, 120))
"""Up to so many cases a thumbnail is so many pixels wide: the page stays below some megabytes."""

OPENED = ("report.html", "picture.png", "report.json", "error.json")
"""What of a case a click opens: the first that is there."""


def cases_table(found: Gathered) -> Markup:
    """Sorted and filtered by the page's script."""
    cases = found.cases
    groups = group_names(found)
    shown = _chosen(found, groups)
    width = next((side for most, side in SIDES if len(shown) <= most), SIDES[-1][1])
    # What names a file says nothing to a reader, and would make every row high.
    names = dict.fromkeys(name for case in cases for name in case.carried if name not in FILES)
    carried = list(names)[:MOST_CARRIED]
    columns = [name for name, wanted in _columns(found, groups, carried) if wanted]
    head = [el("th", _button(name) if name else el("span", "Picture", class_="soft"), scope="col") for name in columns]
    rows = [_row(cases[number], columns, groups.get(number, ""), width) for number in shown]
    inside = el("table", el("thead", el("tr", *head)), el("tbody", *rows), aria_label="All cases")
    words = "A click on a picture opens the case; one on a heading sorts."
    if len(shown) < len(cases):
        words += (
            f" {len(shown)} of {len(cases)} are here: failed and wrong ones and small groups first; cohort.csv has all."
        )
    return el(
        "section",
        el("h2", "All cases", id="cases"),
        el("p", words, class_="soft"),
        _filters(found, shown, groups),
        el("p", f"{len(shown)} cases", class_="soft", id="count", role="status"),
        el("div", inside, class_="scroll cases", role="region", aria_label="All cases", tabindex="0"),
    )


def _button(name: str) -> Markup:
    return el("button", name, type="button", disabled=True)


def _columns(found: Gathered, groups: dict[int, str], carried: list[str]) -> list[tuple[str, bool]]:
    """Headings, and whether any case has something to say under them. The first is that of the pictures."""
    cases = found.cases
    return [
        ("", any(case.done for case in cases)),
        ("Case", True),
        ("Scene", any(case.file(SCENE) is not None for case in cases)),
        ("State", True),
        ("Explained", True),
        ("Label", any(case.label for case in cases)),
        ("Prediction", True),
        ("Probability", any(case.probability is not None for case in cases)),
        ("Answer", any(case.right is not None for case in cases)),
        ("Group", bool(groups)),
        ("Peak in mask", any(case.hit is not None for case in cases)),
        ("Heat in mask", any(case.share is not None for case in cases)),
        ("× chance", any(case.enrichment is not None for case in cases)),
        ("Alignment", any(case.placement for case in cases)),
        ("Peak, RAS mm", any(case.peak is not None for case in cases)),
        *((f"{name} ", any(case.carried.get(name) for case in cases)) for name in carried),
        ("Seconds", any(case.seconds is not None for case in cases)),
        ("Error", any(case.error for case in cases)),
    ]


def _row(case: Case, columns: list[str], group: str, width: int) -> Markup:
    answer = {True: "right", False: "wrong", None: ""}[case.right]
    cells = [_cell(case, name, group, width) for name in columns]
    return el("tr", *cells, data_state=case.state, data_explained=case.explained, data_answer=answer, data_group=group)


def _cell(case: Case, name: str, group: str, width: int) -> Markup:
    if name == "":
        picture = picture_of(case, width)
        return el("td", linked(case, picture) if picture is not None else None, class_="picture")
    if name == "Case":
        return el("th", linked(case, case.id or "(no id)"), scope="row", data_v=case.id)
    if name == "Scene":
        return el("td", scene_link(case), class_="tight")
    if name == "State":
        return el("td", el("span", case.state, class_=f"state-{'failed' if case.failed else case.state}"))
    if name == "Answer":
        look, words = {True: ("good", "✓ right"), False: ("wrong", "✗ wrong"), None: ("", "")}[case.right]
        return el("td", el("span", words, class_=look), class_="tight")
    if name == "Peak in mask":
        words = {True: "✓ inside", False: "✗ outside", None: ""}[case.hit]
        return el("td", words, class_="tight", data_v="" if case.hit is None else int(case.hit))
    numbers = {
        "Probability": (case.probability, ".1%"),
        "Heat in mask": (case.share, ".1%"),
        "× chance": (case.enrichment, ".1f"),
        "Seconds": (case.seconds, ".1f"),
    }
    if name in numbers:
        value, form = numbers[name]
        words = "" if value is None else format(value, form)
        return el("td", words, class_="number", data_v="" if value is None else f"{value:.6g}")
    return _words(case, name, group)


def _words(case: Case, name: str, group: str) -> Markup:
    peak = "" if case.peak is None else ", ".join(f"{mm:.0f}" for mm in case.peak)
    texts = {
        "Explained": case.explained,
        "Label": case.label,
        "Prediction": case.prediction,
        "Group": group,
        "Alignment": case.placement,
        "Peak, RAS mm": peak,
        "Error": case.error,
    }
    text = texts[name] if name in texts else case.carried.get(name[:-1], "")
    short = text if len(text) <= MOST_WORDS else text[: MOST_WORDS - 1] + "…"
    look = {"Peak, RAS mm": "tight", "Error": "error"}.get(name, "text")
    if name == "Alignment":
        look = f"verdict {text}" if text in ("verified", "inconclusive", "mismatch") else "text"
    return el("td", short, class_=look, title=text if short != text else None)


def picture_of(case: Case, width: int, eager: bool = False) -> Markup | None:
    """A case's picture, this wide at most; None where it has none."""
    path = case.file("picture.png")
    made: Picture | None = thumbnail(path, width, 2 * width) if path is not None else None
    if made is None:
        return None
    alt = f"Slices through the heat of {case.id}, evidence for {case.explained}"
    return image_of(*made[:2], alt, made[2], loading=None if eager else "lazy", decoding="async")


def linked(case: Case, inside: Any, **attributes: Any) -> Markup:
    """Something that opens the case, where there is a file of it to open."""
    name = next((name for name in OPENED if case.file(name) is not None), None)
    if name is None:
        return markup(inside)
    return el("a", inside, href=_address(case, name), **attributes)


def scene_link(case: Case) -> Markup | None:
    """What opens the case's scene, where one was kept. It says with what: a browser cannot show it."""
    if case.file(SCENE) is None:
        return None
    words = f"scene of {case.id}"  # a list of the page's links would have nothing but "scene"
    return el("a", "scene", href=_address(case, SCENE), title="Opens in 3D Slicer", aria_label=words)


def _address(case: Case, name: str) -> str:
    """A file of a case as the page, which lies beside all of them, calls it."""
    return f"{CASES}/{quote(case.id, safe='')}/{name}"


def card(case: Case, words: str, width: int = 240) -> Markup:
    """A picture with the case's name and some words, for rows of several."""
    return linked(case, markup(picture_of(case, width), el("b", case.id), el("span", words)), class_="card")


def group_names(found: Gathered) -> dict[int, str]:
    """What each case's group is called, by its position; only of classes that have several."""
    names: dict[int, str] = {}
    for name, (numbers, made) in found.grouped.items():
        if len(made.groups) < 2:
            continue
        for place, group in enumerate(made.groups):
            names |= {numbers[member]: f"{name} · {letter(place)}" for member in group.members}
        names |= {numbers[member]: f"{name} · none" for member in made.apart}
    return names


def letter(place: int) -> str:
    return "ABCDEFGHIJ"[place]


def _chosen(found: Gathered, groups: dict[int, str]) -> list[int]:
    """The cases that the table has, in the order of the list: of very many those that somebody looks for."""
    count = len(found.cases)
    if count <= MOST_ROWS:
        return list(range(count))
    sizes = {name: list(groups.values()).count(name) for name in set(groups.values())}

    def urgency(number: int) -> tuple[Any, ...]:
        case = found.cases[number]
        return (
            not case.failed,
            case.right is not False,
            case.hit is not False,
            sizes.get(groups.get(number, ""), count),
        )

    return sorted(sorted(range(count), key=urgency)[:MOST_ROWS])


def _filters(found: Gathered, shown: list[int], groups: dict[int, str]) -> Markup:
    cases = [found.cases[number] for number in shown]
    choices = [
        ("State", "state", (case.state for case in cases)),
        ("Explained", "explained", (case.explained for case in cases)),
        ("Answer", "answer", ({True: "right", False: "wrong", None: ""}[case.right] for case in cases)),
        ("Group", "group", (groups.get(number, "") for number in shown)),
    ]
    search = el("label", "Search", el("input", type="search", id="search", autocomplete="off"))
    return el("div", search, *(_choice(*one) for one in choices), class_="filters", hidden=True)


def _choice(words: str, key: str, values: Iterable[str]) -> Markup | None:
    names = sorted({value for value in values if value})[:200]
    if len(names) < 2:
        return None
    options = [el("option", name if len(name) <= 60 else name[:59] + "…", value=name) for name in names]
    return el("label", words, el("select", el("option", "all", value=""), *options, data_key=key))
