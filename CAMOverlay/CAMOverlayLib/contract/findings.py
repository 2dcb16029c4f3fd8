"""What can be read off a heatmap: hot spots, what lies in which structure, and whether it can be believed.

All of it is measured, and none of it claims more than was measured. Positions are voxels (I, J, K) of the volume,
and RAS in mm of its own space.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import MethodError
from .records import JsonRecord

THRESHOLDS = ("absolute", "percentile", "share")
VERDICTS = ("passed", "failed", "undecided")
CHECKS = ("class", "network", "answer", "stability")


@dataclass(frozen=True)
class Threshold(JsonRecord):
    """From where on heat counts as hot.

    Attributes:
        kind: ``absolute`` (of the heatmap, 0 to 1), ``percentile`` (of the voxels that the network saw), or ``share``:
            the hottest voxels that together hold this share of all heat.
        value: 0 to 1 of ``absolute`` and ``share``, 0 to 100 of ``percentile``.
    """

    kind: str = "absolute"
    value: float = 0.5

    @classmethod
    def of(cls, text: str | float) -> Threshold:
        """A threshold as it is typed: ``0.5`` of the heatmap, ``95%`` for a percentile, ``share=0.5``.

        Raises:
            MethodError: not of that form, or out of range.

        >>> Threshold.of("95%"), Threshold.of("share=0.5"), Threshold.of(0.4).value
        (Threshold(kind='percentile', value=95.0), Threshold(kind='share', value=0.5), 0.4)
        """
        words = str(text).strip()
        kind, number = "absolute", words
        if words.endswith("%"):
            kind, number = "percentile", words[:-1]
        elif words.casefold().startswith("share="):
            kind, number = "share", words[len("share=") :]
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if not 0 <= value <= (100 if kind == "percentile" else 1):
            raise MethodError(
                f"The threshold '{words[:60]}' is none. Give heat from 0 to 1 (0.5), a percentile (95%) or a share of "
                "all heat (share=0.5).",
                setting="findings_threshold",
            )
        return cls(kind, value)

    def __str__(self) -> str:
        """As it is typed."""
        return {"percentile": f"{self.value:g}%", "share": f"share={self.value:g}"}.get(self.kind, f"{self.value:g}")


@dataclass(frozen=True)
class HotSpot(JsonRecord):
    """A connected region (by faces) of hot voxels.

    Attributes:
        region: number from 1, the hottest peak first.
        peak: voxel of the largest value, and ``peak_ras`` where that is.
        volume_mm3, mean, maximum: of the region.
        share: of all heat of the volume.
        next_mm: from this peak to the nearest other one; None of a single region.
        structure: name of the segment that holds the peak; empty where there is none, or none was asked for.
    """

    region: int
    peak: tuple[int, int, int]
    peak_ras: tuple[float, float, float]
    volume_mm3: float
    mean: float
    maximum: float
    share: float
    next_mm: float | None = None
    structure: str = ""


@dataclass(frozen=True)
class StructureFigures(JsonRecord):
    """How much of the heat lies in one structure.

    Attributes:
        name: of the segment or label.
        volume_mm3: of the structure, as far as the network saw it.
        share: of all heat that the network could give, inside (relevance mass accuracy).
        enrichment: share ÷ the structure's share of what the network saw; 1 is what chance gives.
        p_value: share of random turns and shifts of the map inside the body that put as much heat into it.
        mean_inside, mean_outside: mean heat.
        holds_peak: the hottest voxel lies in it (pointing game).
        rank_accuracy: of as many hottest voxels as the structure has, the share that lies in it.
        average_precision: area under the precision–recall curve, voxel by voxel (AUPRC, VxAP).
        best_f1: over all thresholds.
        best_box_iou: over all thresholds, of the largest hot region's box with the structure's (Max3DBoxAcc).
    """

    name: str
    volume_mm3: float
    share: float
    enrichment: float
    p_value: float
    mean_inside: float
    mean_outside: float
    holds_peak: bool
    rank_accuracy: float
    average_precision: float
    best_f1: float
    best_box_iou: float


@dataclass(frozen=True)
class StructureFall(JsonRecord):
    """How much of the answer goes when one structure is taken out of the image, its voxels replaced by their
    surroundings.

    Attributes:
        name: of the segment or label.
        volume_mm3: that was replaced in the network's input.
        before, after: the number that is explained, with and without the structure; of a region its mean instead of
            its sum.
        fall: ``before`` − ``after``; negative where the answer rose.
        log_odds_before, log_odds_after: of the class against all others, in nats, the mean over the region; None where
            there are none: of a regression, and of a difference of two classes.
        probability_before, probability_after: the same as probabilities.
    """

    name: str
    volume_mm3: float
    before: float
    after: float
    fall: float
    log_odds_before: float | None = None
    log_odds_after: float | None = None
    probability_before: float | None = None
    probability_after: float | None = None

    @property
    def shown(self) -> tuple[float, float]:
        """What is told and plotted: log-odds before and after where there are any, else the number itself."""
        if self.log_odds_before is None or self.log_odds_after is None:
            return self.before, self.after
        return self.log_odds_before, self.log_odds_after

    @property
    def drop(self) -> float:
        """By how much that fell."""
        before, after = self.shown
        return before - after


@dataclass(frozen=True)
class Check(JsonRecord):
    """One answer to whether a map can be believed.

    Attributes:
        name: one of :data:`CHECKS`.
        verdict: one of :data:`VERDICTS`.
        words: the sentence that a user reads.
        figures: what was measured, by name.
        curves: what a plot shows, by name: values in their order; ``x`` is the axis.
        seconds: what it took.
    """

    name: str
    verdict: str
    words: str
    figures: dict[str, float] = field(default_factory=dict)
    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    seconds: float = 0.0
