"""What it takes to compute a result again: what was asked of which model, and of which files."""

from __future__ import annotations

from dataclasses import dataclass, field

from .model import ModelSource
from .options import Options
from .records import JsonRecord
from .target import TargetSpec

DOORS = ("command", "scene", "python", "")
"""Who asked: the command line (whose voxels are those of the files), Slicer (those of its nodes), a notebook; empty in
a result of an earlier version."""


@dataclass(frozen=True)
class Provenance(JsonRecord):
    """What was asked for, as it was asked. What came of it, the layer that was chosen say, the result tells.

    Attributes:
        door: one of :data:`DOORS`.
        options: everything that was chosen about the explanation; paths are absolute.
        target: class, words or :class:`TargetSpec`; a mask that came out of a scene has no path, but its name.
        model: where the model lies, and in what it was trusted; without a path it was in memory.
        content_hash: SHA-256 of everything in it (``bundle_content.content_hash``); empty where that is not known.
        network_arguments: of a network without a bundle, the words that said so on the command line.
        volumes: the image file of each input by its absolute path; empty where it has none, or was changed since.
        mask_node, segment, label: name of the node of the scene that the target's mask came from, the segment's ID and
            the label's value.
        structure_nodes: names of the nodes of the scene whose structures the heat was compared with; ``options`` names
            the files alone.
        python: the interpreter or environment that computed, here or on another machine, where one was named.
    """

    door: str = ""
    options: Options = field(default_factory=Options)
    target: int | str | TargetSpec | None = None
    model: ModelSource = ModelSource("")  # noqa: RUF009 (frozen)
    content_hash: str = ""
    network_arguments: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    mask_node: str = ""
    segment: str = ""
    label: int | None = None
    structure_nodes: tuple[str, ...] = ()
    python: str = ""

    def _problem(self) -> str:
        return "" if self.door in DOORS else f"the door is {self.door[:40]!r}"
