"""The frame of a page that needs nothing but a browser: what it may run, and that it may ask no network for
anything."""

from __future__ import annotations

import base64
from functools import cache
from pathlib import Path
from typing import Any

from .. import __version__
from . import viewer
from .markup import Markup, el


def document(
    title: str, body: Markup, style: str, scripts: list[Markup], allowed: list[str], free_style: bool = False
) -> str:
    """The page.

    Args:
        body: what is seen.
        style: its style sheet.
        scripts: elements at its end.
        allowed: hashes of the scripts that may run, as a content security policy has them; none may without.
        free_style: elements may have styles of their own; else there is the style sheet and no other.
    """
    sources = " ".join(allowed) or "'none'"
    inline = "'unsafe-inline'" if free_style else viewer.script_hash(style)
    policy = (
        f"default-src 'none'; script-src {sources}; style-src {inline}; img-src data: blob:; connect-src data: blob:; "
        "font-src data:; base-uri 'none'; form-action 'none'"
    )
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="referrer", content="no-referrer"),
        el("meta", name="generator", content=f"CAMOverlay {__version__}"),
        el("title", title),
        el("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', body, *scripts), lang='en')}\n"


@cache
def read_file(name: str) -> str:
    """A file of this folder."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def image_of(data: bytes, kind: str, alt: str, size: tuple[int, int], **attributes: Any) -> Markup:
    """A picture in the page itself: ``kind`` is ``jpeg`` or ``png``."""
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return el("img", src=source, alt=alt, width=size[0], height=size[1], **attributes)
