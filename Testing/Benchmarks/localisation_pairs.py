"""Two lesions of different classes in one volume: the map of each class should lie in its own.

The networks never saw two at once, and what they predict does not matter here: each of both classes is asked for.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor, nn

from Benchmarks.localisation_networks import CLASSES
from Benchmarks.localisation_volumes import Volume
from CAMOverlayLib.engine.methods import METHODS, Case
from CAMOverlayLib.engine.network.forward import forward_to_layers
from CAMOverlayLib.engine.network.layers import LayerTable, list_layers
from CAMOverlayLib.engine.restore.affine import place_by_affine
from CAMOverlayLib.engine.target.objective import build_objective
from CAMOverlayLib.engine.target.prediction import predict

ASKED = ("gradcam", "refined", "refinecam")

Maps = Mapping[str, tuple[tuple[str, ...], Callable[[Case], Tensor]]]
"""By name: the layers that a map needs, and the map."""

Owned = dict[str, dict[str, list[float]]]
"""By method's title and class: of the heat in both lesions, the share in its own, a volume each."""

ENOUGH = 0.95


def asked_methods(table: LayerTable) -> Maps:
    """The methods that are asked about both lesions."""
    return {
        METHODS[name].title: (METHODS[name].layers(table, table.find(None)), METHODS[name].compute) for name in ASKED
    }


def measure_pairs(
    network: nn.Module, volumes: Sequence[Volume], maps: Callable[[LayerTable], Maps] = asked_methods
) -> Owned:
    """Explain both classes of every volume."""
    table = list_layers(network, volumes[0].image[None], receptive=False)
    asked = maps(table)
    every = sorted({name for names, _ in asked.values() for name in names})
    found: Owned = {}
    for volume in volumes:
        assert volume.other is not None
        (other,) = {1, 2} - {volume.label}
        forward = forward_to_layers(network, volume.image[None], every)
        prediction = predict(forward.output, tuple(CLASSES), False)
        for label, own, rest in ((volume.label, volume.truth, volume.other), (other, volume.other, volume.truth)):
            objective = build_objective(forward.output, label, prediction)
            for title, (layers, compute) in asked.items():
                case = Case(network, volume.image[None], forward, layers, prediction, objective)
                placed = place_by_affine(compute(case).detach().float(), volume.trace).array
                kinds = found.setdefault(title, {})
                kinds.setdefault(list(CLASSES)[label], []).append(share_of_own(placed, own.mask, rest.mask))
    return found


def share_of_own(heat: np.ndarray, own: np.ndarray, other: np.ndarray) -> float:
    """Of the heat in two masks the share in the first; 0 where there is none in either."""
    held, lost = (float(heat[mask].sum(dtype=np.float64)) for mask in (own, other))
    return held / (held + lost) if held + lost > 0 else 0.0


def summary(shares: Sequence[float]) -> dict[str, float | int]:
    return {
        "volumes": len(shares),
        "mean": statistics.fmean(shares),
        "median": statistics.median(shares),
        "enough": statistics.fmean(share >= ENOUGH for share in shares),
    }


def of_pairs(found: Owned) -> dict[str, dict[str, dict[str, float | int]]]:
    return {name: {kind: summary(shares) for kind, shares in kinds.items()} for name, kinds in found.items()}


def report_pairs(title: str, found: Owned) -> None:
    print(f"\n{title}: of the heat in both lesions, the share in its own (mean, median; volumes with {ENOUGH:.0%})")
    for name, kinds in found.items():
        cells = []
        for kind, shares in kinds.items():
            s = summary(shares)
            cells.append(f"{kind:14s} {s['mean']:6.1%} {s['median']:6.1%} {s['enough']:5.0%} of {s['volumes']:3d}")
        print(f"  {name:54s}" + "    ".join(cells))


def merged(all_of_them: Sequence[Owned]) -> Owned:
    """Over several networks."""
    found: Owned = {}
    for one in all_of_them:
        for name, kinds in one.items():
            for kind, shares in kinds.items():
                found.setdefault(name, {}).setdefault(kind, []).extend(shares)
    return found
