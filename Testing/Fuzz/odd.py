"""Odd values, odd texts and damaged bytes, the same for the same seed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Sequence
from typing import Any

TEXTS = (
    "",
    " ",
    "a",
    "image",
    "pred",
    "lesion",
    "-",
    "a-b",
    "@",
    "%",
    "$",
    "$1/0",
    "@a::b#0",
    "@network_def",
    "%a.json",
    "%../x.yaml::k",
    "%configs/inference.json::network_def",
    "\n",
    "a\nb",
    "\x00",
    "\x1b[2K",
    "\ud800",
    "é",
    "日本語",
    "😀",
    "\u202e",
    "../../etc/passwd",
    "/dev/zero",
    "/dev/stdin",
    "~nobody/x",
    "~",
    "C:\\x",
    "1e400",
    "NaN",
    "inf",
    "-1",
    "007",
    "٣",
    "²",
    "9" * 5000,
    "x" * 5000,
    "None",
    "true",
    "16*n",
    "os.system",
    "LoadImaged",
    "_target_",
    "__class__",
    "@voxel=1,2,3",
    "@ras=nan,0,0",
    "@mask=",
    "0@voxel=1,2",
    "1-0",
    "--5",
    "1-1",
    "<b>x</b>",
    "{",
    "[",
    "]",
    "&a [*a]",
    "!!python/object/apply:os.system [x]",
    "%s%s%n",
    "{0.__class__}",
)
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    4,
    255,
    2**31,
    -(2**31),
    2**63,
    2**64,
    10**30,
    10**400,
    0.0,
    -0.0,
    0.5,
    1.5,
    1e-300,
    1e300,
    1e38,
    float("nan"),
    float("inf"),
    float("-inf"),
    True,
    False,
)
KEYS = (
    "_target_",
    "_requires_",
    "_mode_",
    "_disabled_",
    "_desc_",
    "transforms",
    "keys",
    "name",
    "0",
    "1",
    "id",
    "label",
    "channel_def",
)


class Odd(random.Random):
    """A source of random oddities."""

    def chance(self, share: float) -> bool:
        return self.random() < share

    def text(self) -> str:
        kind = self.random()
        if kind < 0.6:
            return self.choice(TEXTS)
        if kind < 0.8:
            return self.choice(TEXTS)[:80] + self.choice(TEXTS)[:80]
        return "".join(
            chr(self.choice((self.randrange(128), self.randrange(0x3000)))) for _ in range(self.randrange(30))
        )

    def number(self) -> Any:
        return self.choice(NUMBERS) if self.chance(0.7) else self.randrange(-300, 300)

    def value(self, depth: int = 3) -> Any:
        """Any value that JSON has, and NaN."""
        kind = self.random()
        if kind < 0.1:
            return None
        if kind < 0.4 or depth <= 0:
            return self.number() if self.chance(0.5) else self.text()
        if kind < 0.6:
            return self.text()
        if kind < 0.8:
            return [self.value(depth - 1) for _ in range(self.randrange(5))]
        return {self.key(): self.value(depth - 1) for _ in range(self.randrange(5))}

    def key(self) -> str:
        return self.choice(KEYS) if self.chance(0.5) else self.text()

    def deep(self) -> Any:
        """Nested further than anything should be."""
        value: Any = self.number()
        for _ in range(self.choice((50, 99, 150, 400))):
            value = [value] if self.chance(0.5) else {"a": value}
        return value

    def mutated(self, value: Any, changes: int | None = None) -> Any:
        """A copy of a JSON value in which some places hold something else."""
        value = copy.deepcopy(value)
        for _ in range(self.randrange(4) if changes is None else changes):
            places = list(_places(value))
            if not places:
                return self.value()
            holder, key = self.choice(places)
            change = self.random()
            if change < 0.2:
                del holder[key]
            elif change < 0.3 and isinstance(holder, dict):
                holder[self.key()] = holder[key]
            elif change < 0.35:
                holder[key] = self.deep()
            elif change < 0.4:
                holder[key] = [holder[key]] * self.choice((0, 2, 5, 300))
            else:
                holder[key] = self.value()
        return value

    def json(self, value: Any) -> bytes:
        """As a file may have it: mostly valid, in some encoding, at times damaged."""
        text = json.dumps(value, ensure_ascii=self.chance(0.5), indent=self.choice((None, 1)))
        if self.chance(0.02):
            depth = self.choice((200, 5000, 100_000))
            text = "[" * depth + self.choice(("", "]" * depth))
        encoding = "utf-8" if self.chance(0.9) else self.choice(("utf-16", "latin-1", "utf-8-sig"))
        data = text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")
        return self.damaged(data) if self.chance(0.2) else data

    def damaged(self, data: bytes, within: int | None = None) -> bytes:
        """Bytes changed, cut off, doubled or put in; ``within`` is how far from the beginning most changes are."""
        bytes_ = bytearray(data)
        for _ in range(self.choice((1, 1, 1, 2, 3, 10))):
            end = max(1, min(len(bytes_), within or len(bytes_)) if self.chance(0.8) else len(bytes_))
            at = self.randrange(end)
            change = self.random()
            if change < 0.5 and bytes_:
                bytes_[at : at + 1] = bytes([self.choice((0, 1, 127, 128, 255, self.randrange(256)))])
            elif change < 0.65:
                del bytes_[at:]
            elif change < 0.75:
                del bytes_[at : at + self.randrange(1, 9)]
            elif change < 0.9:
                bytes_[at : at + self.choice((2, 4, 8))] = self.randbytes(self.choice((2, 4, 8)))
            else:
                bytes_[at:at] = self.randbytes(self.randrange(1, 20))
        return bytes(bytes_)

    def some(self, things: Sequence[Any], most: int) -> list[Any]:
        return [self.choice(things) for _ in range(self.randrange(most + 1))]


def _places(value: Any):
    """Every holder and key in a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _places(inner)
