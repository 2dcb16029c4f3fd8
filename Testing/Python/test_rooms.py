"""The rooms of the engine lie one above the other: nothing runs up, and no two import each other."""

from __future__ import annotations

import re
from pathlib import Path

import rooms

REPOSITORY = Path(__file__).resolve().parents[2]


def test_no_circles_and_the_leaves_stay_leaves():
    height = rooms.levels(rooms.arrows())  # raises on a circle
    assert {room for room, level in height.items() if level == 0} >= {"geometry", "network", "progress"}
    assert max(height, key=lambda room: height[room]) == "api"


def test_the_documentation_counts_as_the_code_does():
    found = rooms.arrows()
    counted = (len(found), max(rooms.levels(found).values()) + 1, sum(map(len, found.values())))
    said = re.search(
        r"\| now \| (\d+) \| (\d+) \| (\d+) \|", (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    )
    assert said is not None and tuple(map(int, said.groups())) == counted


def test_the_story_is_short():
    lines = (rooms.ENGINE / "pipeline.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 150
