"""The rooms of the engine, counted: ``python Testing/rooms.py`` prints rooms, levels and arrows of imports between
them.

A room is a folder of ``engine/``, or a module that stands beside them. Imports for type checking alone do not count.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[1] / "CAMOverlay" / "CAMOverlayLib" / "engine"


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(ENGINE.rglob("*.py")):
        inside = path.relative_to(ENGINE)
        if inside.name == "__init__.py" and len(inside.parts) == 1:
            continue
        room = inside.parts[0].removesuffix(".py")
        found[room] |= _imported(path, inside) - {room}
    return dict(found)


def _imported(path: Path, inside: Path) -> set[str]:
    names: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = {
        id(n)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for n in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or id(node) in hidden:
            continue
        up = len(inside.parts) - node.level  # folders below engine/ from where the name counts
        if up < 0:
            continue
        module = [*inside.parts[:up], *(node.module or "").split(".")]
        module = [part for part in module if part]
        names |= {module[0]} if module else {alias.name for alias in node.names}
    return names


def levels(found: dict[str, set[str]]) -> dict[str, int]:
    """How many arrows lie one behind the other below each room.

    Raises:
        ValueError: rooms import each other in a circle.
    """
    known: dict[str, int] = {}

    def level(room: str, above: tuple[str, ...]) -> int:
        if room in above:
            raise ValueError(" → ".join([*above[above.index(room) :], room]))
        if room not in known:
            known[room] = 1 + max((level(other, (*above, room)) for other in found.get(room, ())), default=-1)
        return known[room]

    for room in found:
        level(room, ())
    return known


def main() -> None:
    found = arrows()
    height = levels(found)
    for room in sorted(found, key=lambda room: (-height[room], room)):
        print(f"{height[room]}  {room:14s} → {', '.join(sorted(found[room]))}")
    print(f"{len(found)} rooms, {max(height.values()) + 1} levels, {sum(map(len, found.values()))} arrows")


if __name__ == "__main__":
    main()
