"""Everything that the page says of the cases, measured: each heatmap is read once, and none is kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...contract.errors import CAMOverlayError
from ..cases import IDENTITY
from .anatomy import Segmentations, labels_on, shares_in
from .cases import Case
from .groups import Groups, group_maps
from .maps import SIDE, Template, as_heat, in_cube, read_volume, rebinned
from .transforms import read_transform

TO_TEMPLATE = "to_template"
"""Column with the transform of a case."""

Report = Callable[[float, str], None]


@dataclass
class MeanMap:
    """The sum of the maps of a class on the template, and how many volumes reach each voxel."""

    total: np.ndarray
    reached: np.ndarray
    count: int = 0

    @property
    def mean(self) -> np.ndarray:
        """Over the volumes that reach a voxel; 0 where fewer than half of them do."""
        enough = self.reached >= max(1, self.count / 2)
        return np.where(enough, self.total / np.maximum(self.reached, 1), 0)


@dataclass
class Gathered:
    """What was measured.

    Attributes:
        cases: all of them.
        grouped: by class, the cases whose maps were grouped (positions in ``cases``), and what came of it.
        means: by class, where a template was given.
        structures: by class and label value, share and enrichment of each case.
        names: of the label values.
        notes: what could not be done, as sentences.
        on_template: the maps were grouped on the template's grid.
    """

    cases: Sequence[Case]
    grouped: dict[str, tuple[list[int], Groups]] = field(default_factory=dict)
    means: dict[str, MeanMap] = field(default_factory=dict)
    structures: dict[str, dict[int, list[tuple[float, float]]]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    on_template: bool = False


class Gathering:
    """Reads the heatmaps one after the other.

    Args:
        template: what mean maps and groups are on; None has no mean maps, and groups on what the network saw.
        segmentations: where the structures are; None measures none.
        base: what paths in the table are relative to.
    """

    def __init__(self, template: Template | None, segmentations: Segmentations | None, base: Path) -> None:
        self._template, self._segmentations, self._base = template, segmentations, base
        self._maps: dict[str, list[tuple[int, np.ndarray]]] = defaultdict(list)
        self._problems: dict[str, list[str]] = defaultdict(list)

    def gather(self, cases: Sequence[Case], seed: int, report: Report) -> Gathered:
        """Measure all of it.

        Args:
            report: called with the share that is done and some words; what it raises ends the work.

        Raises:
            CAMOverlayError: there are no such segmentations.
        """
        found = Gathered(cases, on_template=self._template is not None)
        if self._segmentations is not None:
            self._segmentations.check(cases)
            found.names = self._segmentations.names()
        done = [number for number, case in enumerate(cases) if case.done]
        for place, number in enumerate(done):
            report(0.9 * place / len(done), f"Reading heatmap {place + 1} of {len(done)}")
            try:
                self._read(found, number, cases[number])
            except CAMOverlayError as error:
                self._problems[str(error).replace(str(cases[number].heatmap), "…")].append(cases[number].id)
        for place, (name, maps) in enumerate(self._maps.items()):
            share = 0.9 + 0.1 * place / len(self._maps)
            words = f"Grouping the maps of {name}"
            groups = group_maps([one for _, one in maps], seed, lambda: report(share, words))  # noqa: B023
            found.grouped[name] = ([number for number, _ in maps], groups)
        found.notes += [_said(problem, ids) for problem, ids in self._problems.items()]
        return found

    def _read(self, found: Gathered, number: int, case: Case) -> None:
        """One case: its map for the groups, its part of the mean map, and its structures."""
        assert case.heatmap is not None
        array, grid = read_volume(case.heatmap)
        heat, name = as_heat(array), case.explained
        if not heat.any():
            self._problems["There is no heat anywhere"].append(case.id)
            return
        if self._template is None:
            self._maps[name].append((number, in_cube(heat, grid, case.planes)))
        else:
            self._place(found, number, case, heat, grid)
        if self._segmentations is not None:
            path = self._segmentations.of(case)
            if path is None:
                self._problems["There is no segmentation"].append(case.id)
                return
            shares = shares_in(heat, grid, case.planes, labels_on(grid, path))
            for value, figures in shares.items():
                found.structures.setdefault(name, {}).setdefault(value, []).append(figures)

    def _place(self, found: Gathered, number: int, case: Case, heat: np.ndarray, grid: object) -> None:
        said = case.carried.get(TO_TEMPLATE, "").strip()
        if not said:
            self._problems[f"The column {TO_TEMPLATE} has no transform, so they are not on the template"].append(
                case.id
            )
            return
        where = said if said.casefold() == IDENTITY else str(self._base / Path(said).expanduser())
        assert self._template is not None
        placed, reached = self._template.place(heat, grid, read_transform(where))  # type: ignore[arg-type]
        if not placed.any():
            self._problems["Their heat lies outside of the template; check the transform"].append(case.id)
            return
        mean = found.means.setdefault(
            case.explained, MeanMap(np.zeros(placed.shape, np.float64), np.zeros(placed.shape, np.int32))
        )
        mean.total += placed
        mean.reached += reached
        mean.count += 1
        self._maps[case.explained].append((number, rebinned(placed.astype(float), (SIDE,) * 3)))


def _said(problem: str, ids: Sequence[str]) -> str:
    listed = ", ".join(ids[:5]) + (" …" if len(ids) > 5 else "")
    return f"{problem.rstrip('.')}: {len(ids)} {'case' if len(ids) == 1 else 'cases'} ({listed})."
