"""HTML that is escaped by construction: whatever is not made here is text, and can be nothing else in the page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def clean(text: str) -> str:
    """A text in which what a page or a reader would obey (controls, turned writing, half a surrogate) is written out;
    lines stay lines."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape", "replace").decode() for c in str(text)
    )


def markup(*children: Any) -> Markup:
    """Children one after the other; what is no markup is escaped, None is nothing."""
    parts = [c if isinstance(c, Markup) else escape(clean(c)) for c in children if c is not None]
    return Markup("".join(parts))


def el(name: str, /, *children: Any, **attributes: Any) -> Markup:
    """An element. Attributes of the value None are left out, of True they have no value; ``class_`` is ``class``."""
    said = ""
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        said += f" {key}" if value is True else f' {key}="{escape(clean(value))}"'
    end = "" if name in ("meta", "img", "input") else f"</{name}>"
    return Markup(f"<{name}{said}>{markup(*children)}{end}")


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    caption: str,
    numbers: Sequence[int] = (),
    tight: Sequence[int] = (),
    wide: Sequence[int] = (),
) -> Markup:
    """A table that scrolls in itself where the page is narrow; the first cell of a row is its heading.

    Args:
        numbers: columns of numbers, which are set to the right.
        tight, wide: columns that are never broken, and those that need room.
    """
    kinds = {"number": numbers, "tight": tight, "wide": wide}
    looks = [next((kind for kind, columns in kinds.items() if n in columns), None) for n in range(len(headings))]
    head = el("tr", *(el("th", name, scope="col", class_=looks[n]) for n, name in enumerate(headings)))
    body = [
        el("tr", *(_cell(n, value, looks[n]) for n, value in enumerate(row)))
        for row in rows
    ]  # fmt: skip
    inside = el("table", el("thead", head), el("tbody", *body), aria_label=caption)
    # The words stand outside, where they do not scroll away with a wide table.
    return markup(
        el("p", caption, class_="soft"),
        el("div", inside, class_="scroll", role="region", aria_label=caption, tabindex="0"),
    )


def _cell(column: int, value: Any, look: str | None) -> Markup:
    return el("th", value, scope="row", class_=look) if column == 0 else el("td", value, class_=look)


def listed(pairs: Iterable[tuple[str, Any]]) -> Markup:
    """Names with what belongs to them; a value of None is left out."""
    return el("dl", *(markup(el("dt", name), el("dd", value)) for name, value in pairs if value is not None))
