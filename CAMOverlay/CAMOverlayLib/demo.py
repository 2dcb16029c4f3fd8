"""The demo that ships with the module: a bundle trained in this project and a brain with a lesion at a known place."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

RESOURCES = Path(__file__).resolve().parents[1] / "Resources"
DEMO_BUNDLE = RESOURCES / "DemoBundle"
DEMO_VOLUME = RESOURCES / "DemoVolume" / "brain_with_lesion.nii.gz"


@dataclass(frozen=True)
class Lesion:
    """Where the demo volume's lesion really is: ``centre`` in RAS mm, ``radius`` in mm, ``kind`` the class's name."""

    centre: tuple[float, float, float]
    radius: float
    kind: str

    def distance(self, point: Sequence[float]) -> float:
        """Mm from the lesion's centre to a point in RAS mm."""
        return math.dist(self.centre, point)


def demo_lesion() -> Lesion:
    truth = json.loads(DEMO_VOLUME.with_name("brain_with_lesion.json").read_text(encoding="utf-8"))
    return Lesion(tuple(truth["centre_ras_mm"]), truth["radius_mm"], truth["class"])
