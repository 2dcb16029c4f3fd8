"""Many volumes from Python: ``from CAMOverlayLib import explain_many``."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..contract.model import ModelSource
from ..contract.model_kinds import summarise
from ..contract.options import current_names
from ..contract.records import absolute
from ..contract.target import TargetSpec
from .cases import cases_of
from .plan import USUAL, options_of, planned
from .run import Tally, opened, run
from .table import as_table
from .workers import Here, OnDask, Workers, of_this_machine


def explain_many(
    volumes: Any,
    model: str | os.PathLike[str] | ModelSource,
    output: str | os.PathLike[str],
    *,
    target: int | str | TargetSpec | None = None,
    keep: Sequence[str] = USUAL,
    anew: bool = False,
    report: Callable[[Tally], None] = lambda tally: None,
    **settings: Any,
) -> Any:
    """Explain many volumes, each into a folder of its own; what is there already is not computed again.

    ::

        table = explain_many("volumes.csv", "bundle", "cohort", trust=True, method="layercam", client=Client(...))
        table[table.state == "done"].groupby("label").hit.mean()

    Args:
        volumes: path of a CSV file, of a folder or an image, or a pattern; several of these; records by column name, or
            a pandas table: ``volume``, or one column per channel, and perhaps ``id``, ``mask``, ``label``, ``target``.
        model: a model's folder or file.
        output: the cohort's folder; made if it is not there.
        target: what to explain where the list does not say it; None is the predicted class.
        keep: of ``heatmap``, ``picture``, ``report``, ``scene``.
        anew: what lies in ``output`` is removed first.
        report: called with how far it is; raising from it ends the run.
        settings: ``trust=True`` or ``trusted_hash`` where the model can run code, and ``configs``; ``client``, a Dask
            client whose workers compute, or ``workers``, how many processes to start here (a script that does needs
            ``if __name__ == "__main__":``), else this process computes; and how to explain
            (:class:`CAMOverlayLib.contract.options.Options`).

    Returns:
        a pandas table where pandas is installed, else a list of records: the columns of ``cohort.csv``.

    Raises:
        CAMOverlayError: one of its kinds, where the list, the model or the folder is wrong. What is wrong with one
            volume stands in its row.
    """
    client, count = settings.pop("client", None), settings.pop("workers", None)
    given = {name: settings.pop(name) for name in ("trust", "trusted_hash", "configs") if name in settings}
    source = model if isinstance(model, ModelSource) else ModelSource(os.fspath(model), **given)
    options = options_of_call(settings)
    cases = cases_of(volumes, summarise(source.absolute()).info.channel_names, Path(absolute(output)))
    plan = planned(output, source, options=options, target=target, keep=tuple(keep))
    with opened(plan, cases, anew) as cohort:

        def computed_by(workers: Workers) -> None:
            run(cohort, workers, report, listed_words(volumes))

        if client is not None:
            computed_by(OnDask(client, "the client's workers"))
        elif count is not None:
            with of_this_machine(count) as workers:
                computed_by(workers)
        else:
            computed_by(Here())
        return as_table(cohort.records())


def options_of_call(settings: dict[str, Any]) -> Any:
    """The options of a call; raises TypeError where one is unknown, as a function does."""
    named = current_names(settings)
    options = options_of(named)
    if unknown := [name for name in named if not hasattr(options, name)]:
        raise TypeError(f"explain_many() got an unexpected keyword argument '{unknown[0]}'")
    return options


def listed_words(volumes: Any) -> tuple[str, ...]:
    """What said which cases, as ``cohort.json`` tells it; empty of what was in memory."""
    several = [volumes] if isinstance(volumes, (str, os.PathLike)) else volumes
    if isinstance(several, (list, tuple)) and all(isinstance(one, (str, os.PathLike)) for one in several):
        return tuple(absolute(one) for one in several)
    return ()
