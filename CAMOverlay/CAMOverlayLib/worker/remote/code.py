"""The package's own files, as they are sent to a machine that does not have them, named by their content."""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from functools import cache
from pathlib import Path

from ..interpreter import HEAP, LIBRARY

ROOMS = ("contract", "engine", "reading", "worker")
"""All that computes: none of them imports anything of the others (``Testing/Python/test_borders.py``)."""


@cache
def code(library: Path = LIBRARY) -> tuple[str, bytes]:
    """The hash of the files, and the files as they are sent: compressed, after a line that says how many bytes."""
    package = library / "CAMOverlayLib"
    files = [package / "__init__.py", *(path for room in ROOMS for path in sorted((package / room).rglob("*.py")))]
    texts = {path.relative_to(library).as_posix(): path.read_text(encoding="utf-8") for path in files}
    content = json.dumps(texts, sort_keys=True).encode("ascii")
    packed = zlib.compress(content)
    return hashlib.sha256(content).hexdigest(), b"%d\n%s" % (len(packed), packed)


def first_lines(hang_after: float) -> bytes:
    """What the Python over there reads first: the program ``boot``, and what that is to know."""
    program = base64.b64encode(zlib.compress(Path(__file__).with_name("boot.py").read_bytes()))
    settings = json.dumps({"code": code()[0], "hang_after": hang_after, "heap": HEAP})
    return program + b"\n" + settings.encode("ascii") + b"\n"
