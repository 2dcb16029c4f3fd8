"""The rooms of the engine, counted: ``python Testing/rooms.py`` prints rooms, levels and arrows of imports between
them.

A room is a folder of ``engine/``, or a module that stands beside them.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "CAMOverlay" / "CAMOverlayLib"
ENGINE = LIBRARY / "engine"


def imports(path: Path) -> set[str]:
    """Every module that a file imports anywhere in it, in full: ``CAMOverlayLib.engine.geometry.grid``."""
    inside = path.is_relative_to(LIBRARY)
    package = ["CAMOverlayLib", *path.relative_to(LIBRARY).parent.parts] if inside else ["CAMOverlayLib", "room"]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")] if node.module else base
            # ``from .. import engine`` names the room only behind the import.
            behind = node.module is None or len(module) == 1
            names |= {".".join([*module, alias.name]) for alias in node.names} if behind else {".".join(module)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"__import__", "importlib.import_module"}:
            names |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return names


def arrows() -> dict[str, set[str]]:
    """Which rooms each room imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted(ENGINE.rglob("*.py")):
        if path.parent == ENGINE and path.name == "__init__.py":
            continue
        room = path.relative_to(ENGINE).parts[0].removesuffix(".py")
        within = {name.split(".")[2] for name in imports(path) if name.startswith("CAMOverlayLib.engine.")}
        found[room] |= within - {room}
    return dict(found)


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
