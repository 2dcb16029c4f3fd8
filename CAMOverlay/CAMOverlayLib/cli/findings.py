"""What was read off a heatmap, as a terminal shows it."""

from __future__ import annotations

from ..contract.findings import StructureFall
from ..contract.request import Result

SHOWN = 3
"""Hot spots that are printed; the file has them all."""


def print_findings(result: Result) -> None:
    """The hottest spots, the structures, and the shares of the channels, a line each."""
    spots = result.findings
    for spot in spots[:SHOWN]:
        where = f", in {spot.structure}" if spot.structure else ""
        print(
            f"hot spot {spot.region:<3d} {spot.volume_mm3 / 1000:.2f} ml with {spot.share:.1%} of all heat, peak "
            f"{spot.maximum:.2f} at voxel {spot.peak}{where}"
        )
    if len(spots) > SHOWN:
        print(f"             and {len(spots) - SHOWN} more above {result.threshold}, see findings.csv")
    for one in result.structures:
        print(
            f"structure    {one.name}: {one.share:.1%} of all heat, {one.enrichment:.1f} × what chance gives "
            f"(p = {one.p_value:.3f}){', holds the peak' if one.holds_peak else ''}"
        )
    for fall in sorted(result.occluded, key=lambda one: -one.drop):
        print(f"without      {fall.name}: {_fallen(fall)}")
    if result.channels:
        print("channels     " + ", ".join(f"{name} {share:.1%}" for name, share in result.channels.items()))


def _fallen(fall: StructureFall) -> str:
    before, after = fall.shown
    moved = f"{'falls' if fall.drop >= 0 else 'rises'} by {abs(fall.drop):.3g}, from {before:.3g} to {after:.3g}"
    if fall.probability_before is None or fall.probability_after is None:
        return f"the answer {moved}"
    return f"log-odds of the answer {moved} ({fall.probability_before:.1%} to {fall.probability_after:.1%})"
