"""What was found of the networks, and how it is told."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from Benchmarks.localisation_metrics import Score, summary
from Benchmarks.localisation_networks import RECIPES
from Benchmarks.localisation_pairs import Owned, merged, of_pairs, report_pairs
from CAMOverlayLib.engine.methods import METHODS

LEAST_ACCURACY = 0.95


@dataclass
class Measured:
    """What was found of one network: its accuracy, the activations' size in mm, scores by map and by class, and of two
    lesions in one volume the shares in its own."""

    name: str
    seed: int
    accuracy: float
    rounds: int
    layer: str = ""
    activation_mm: float = 0.0
    scores: dict[str, dict[str, list[Score]]] = dataclasses.field(default_factory=dict)
    pairs: Owned = dataclasses.field(default_factory=dict)

    @property
    def left_out(self) -> bool:
        return self.accuracy < LEAST_ACCURACY

    def add(self, name: str, kind: str, one: Score) -> None:
        self.scores.setdefault(name, {}).setdefault(kind, []).append(one)


def report(found: Sequence[Measured]) -> None:
    measured = [one for one in found if not one.left_out]
    print("\nNetworks (family/total stride; right: on fresh volumes of all classes, in eval mode)")
    for one in found:
        size = f"{one.activation_mm:.0f} mm an activation"
        verdict = f"LEFT OUT: less than {LEAST_ACCURACY:.0%} right" if one.left_out else size
        print(
            f"  {one.name:12s} seed {one.seed}  {one.accuracy:6.1%} right, {one.rounds} round(s) of training; {verdict}"
        )
    if not measured:
        return
    plain = [m for m in measured if RECIPES[m.name].task == "lesions"]
    groups = {"all networks": plain}
    groups |= {f"total stride {s}": [m for m in plain if RECIPES[m.name].stride == s] for s in (8, 16, 32)}
    groups |= {f"{m.name}, lesions of texture": [m] for m in measured if m not in plain}
    for title, members in groups.items():
        if members:
            print(
                f"\n{title}: peak to lesion's centre (median), hits, near hits, heat inside; VxAP, MaxF1, Max3DBoxAcc"
            )
            report_maps(members)
    report_gains(measured)
    if any(one.pairs for one in measured):
        report_pairs("Two lesions, all networks", merged([one.pairs for one in measured]))
    for one in measured:
        if one.pairs:
            report_pairs(f"Two lesions, {one.name} seed {one.seed}", one.pairs)


def report_gains(measured: Sequence[Measured]) -> None:
    base, refined = METHODS["gradcam"].title, METHODS["refined"].title
    both = [one for one in measured if {base, refined} <= one.scores.keys()]
    if both:
        print(f"\n{refined} against {base}, network by network")
    for one in both:
        b, r = (summary(pooled([one], name)) for name in (base, refined))
        times = f"{r['share'] / b['share']:.0f}×" if b["share"] else "from nothing"
        print(
            f"  {one.name:12s} seed {one.seed}  hits {b['hits']:4.0%} → {r['hits']:4.0%}   "
            f"share {b['share']:6.2%} → {r['share']:6.2%} ({times})"
        )


def report_maps(members: Sequence[Measured]) -> None:
    kinds = [name for name, kind in RECIPES[members[0].name].classes.items() if kind]
    print(f"  {'':54s}{'':>6s}" + f"{'all':^56s}" + "".join(f"{k:^34s}" for k in kinds))
    most_first = sorted(members, key=lambda one: -len(one.scores))  # a deep network has maps of more stages
    for name in dict.fromkeys(name for one in most_first for name in one.scores):
        cells = [where(pooled(members, name, wanted)) for wanted in (kinds, *([k] for k in kinds))]
        s = summary(pooled(members, name, kinds))
        cells[0] += f"  {s['VxAP']:6.1%} {s['MaxF1']:6.1%} {s['Max3DBoxAcc']:5.0%}"
        print(f"  {name:54s}{s['volumes']:6d}  " + "      ".join(cells))


def where(scores: Sequence[Score]) -> str:
    if not scores:  # of a class of which no volume was told right
        return f"{'–':>31s}"
    s = summary(scores)
    median = "   –" if s["median_mm"] is None else f"{s['median_mm']:5.1f}"
    return f"{median} mm {s['hits']:5.0%} {s['near']:5.0%} {s['share']:7.2%}"


def pooled(members: Sequence[Measured], name: str, kinds: Iterable[str] | None = None) -> list[Score]:
    """The scores of one map over several networks, of some classes or all."""
    return [
        one
        for member in members
        for kind, scores in member.scores.get(name, {}).items()
        if kinds is None or kind in kinds
        for one in scores
    ]


def as_json(found: Sequence[Measured]) -> dict[str, Any]:
    plain = [one for one in found if RECIPES[one.name].task == "lesions"]
    return {
        "networks": [
            {
                "network": one.name,
                "seed": one.seed,
                "accuracy": one.accuracy,
                "rounds": one.rounds,
                "left_out": one.left_out,
                "layer": one.layer,
                "activation_mm": one.activation_mm,
                "maps": {n: {k: summary(s) for k, s in kinds.items()} for n, kinds in one.scores.items()},
                "two lesions": of_pairs(one.pairs),
            }
            for one in found
        ],
        "all": {n: summary(pooled(plain, n)) for n in dict.fromkeys(n for one in plain for n in one.scores)},
    }


def as_markdown(found: Sequence[Measured]) -> str:
    """The tables of the documentation: all networks that learned brightness, one by one, and textures."""
    measured = [one for one in found if not one.left_out]
    plain = [one for one in measured if RECIPES[one.name].task == "lesions"]
    lines = _table("all networks", plain) if plain else []
    for one in measured:
        wanted = (METHODS["gradcam"].title, METHODS["refined"].title) if one in plain else tuple(one.scores)
        lines += _table(f"{one.name}, seed {one.seed}, {one.accuracy:.1%} right", [one], wanted)
    for name, kinds in merged([one.pairs for one in measured]).items():
        for kind, shares in kinds.items():
            s = of_pairs({name: {kind: shares}})[name][kind]
            lines.append(
                f"| {name} | {kind} | {s['volumes']} | {s['mean']:.0%} | {s['median']:.0%} | {s['enough']:.0%} |"
            )
    return "\n".join(lines) + "\n"


def _table(title: str, members: Sequence[Measured], wanted: Sequence[str] = ()) -> list[str]:
    names = wanted or tuple(dict.fromkeys(name for one in members for name in one.scores))
    names = [name for name in names if pooled(members, name)]
    head = [f"| {title} | volumes | median | hits | heat inside | VxAP | MaxF1 | Max3DBoxAcc |", "|---" * 8 + "|"]
    return [*head, *(_row(name, summary(pooled(members, name))) for name in names), ""]


def _row(name: str, s: dict[str, float | int | None]) -> str:
    median = "–" if s["median_mm"] is None else f"{s['median_mm']:.1f} mm"
    rest = " | ".join(f"{s[one]:.0%}" for one in ("VxAP", "MaxF1", "Max3DBoxAcc"))
    return f"| {name} | {s['volumes']} | {median} | {s['hits']:.0%} | {s['share']:.2%} | {rest} |"
