"""One volume explained several times: here or by the warm process, into the scene all together or not at all.

:class:`OverlayLogic` is the face of it. Every choice is one ordinary request, so that nothing is computed in another
way than alone; the process (or the cache) keeps what they have in common.
"""

from __future__ import annotations

import shutil
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contract.comparison import OPTION, NotExplained, distinct, name_of, one_kind, why_not_comparable
from .contract.errors import CAMOverlayError, Cancelled, ComparisonError, OutputError, WorkerError
from .contract.pieces import TURN, Pieces, Stepper, at_once
from .contract.request import Progress, Request, Result
from .scene.comparison.scale import setOneScale
from .scene.comparison.sequence import Comparison, Explained, addComparison
from .scene.io.exported import ExportedVolumes
from .scene.io.volumes import readHeatmap
from .scene.overlay import node as overlay
from .worker.client import Run, Worker

Report = Callable[[Progress], None]
Compute = Callable[[Request, Report], Result]

SHOWING = 0.97
"""Share of the whole at which everything is computed."""


@dataclass
class Planned:
    """What is to be explained, and where it goes.

    Attributes:
        kind: what the explanations differ in.
        labels: what each choice is called before its result says its name.
        requests: one each; their output folders lie in ``folder``.
        folder: holds all files, and is removed at the end.
    """

    inputVolume: Any
    exported: ExportedVolumes
    folder: str
    kind: str
    labels: tuple[str, ...]
    requests: tuple[Request, ...]
    opacity: float | None
    oneScale: bool

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def overall(self, number: int, progress: Progress) -> Progress:
        """One explanation's progress as that of all."""
        count = len(self.labels)
        words = f"{self.labels[number]}, {number + 1} of {count}"
        message = f"{words}: {progress.message}" if progress.message else words
        return Progress(progress.stage, SHOWING * (number + progress.fraction) / count, message)

    def showing(
        self, results: Sequence[tuple[int, Result]], failed: Sequence[tuple[int, BaseException]]
    ) -> Pieces[Any]:
        """Bring what was explained into the scene, in pieces; it changes in the last one only.

        Raises:
            PlacementError: the volume was changed meanwhile.
            CAMOverlayError: nothing was explained: the first reason.
        """
        if not results:
            raise failed[0][1]
        told = [result for _number, result in results]
        if self.oneScale and (problem := why_not_comparable(told)):
            raise ComparisonError(problem)
        self.exported.requireInPlace()
        items = []
        for name, result in zip(distinct([name_of(self.kind, one) for one in told]), told, strict=True):
            image = yield from readHeatmap(result.heatmap, self.inputVolume, result.peak)
            items.append(Explained(name, result, image))
            yield TURN
        yield from self.exported.comparing()
        reasons = [NotExplained(self.labels[number], " ".join(str(error).split())) for number, error in failed]
        comparison = addComparison(items, self.kind, self.inputVolume, reasons, self.opacity)
        if self.oneScale:
            setOneScale(comparison.nodes)
            comparison.refresh()
        return comparison


def planned(
    inputVolume: Any,
    modelPath: str | Path | None,
    requestOf: Callable[..., Request],
    *,
    channels: Sequence[Any] = (),
    opacity: float | None = overlay.OPACITY,
    oneScale: bool = False,
    **choices: Any,
) -> Planned:
    """What a comparison will ask for. Nothing is computed yet, and the scene is not touched.

    Args:
        requestOf: makes a request of exported volumes, a model's path, a folder and options.
        choices: one of ``targets``, ``methods``, ``layers``, ``models``, and options.

    Raises:
        CAMOverlayError: it cannot be asked so, or the volume cannot be exported.
    """
    asked = {name: choices.pop(name, None) for name in ("targets", "methods", "layers", "models")}
    kind, values = one_kind(asked)
    if oneScale and kind != "class":
        raise ComparisonError(
            f"Several {kind}s have raw magnitudes of different units, so they have no colour scale in common. Leave "
            "oneScale out, and compare their normalised heat."
        )
    if kind == "model" and modelPath is not None:
        raise ComparisonError(f"A model ('{modelPath}') and several models were given. Name all of them in models.")
    folder = tempfile.mkdtemp(prefix="CAMOverlay-")
    try:
        exported = ExportedVolumes.planned((inputVolume, *channels), folder)
        requests = []
        for number, value in enumerate(values):
            place = Path(folder) / f"item-{number}"
            place.mkdir()
            path = value if kind == "model" else modelPath
            own = {} if kind == "model" else {OPTION[kind]: value}
            requests.append(requestOf(exported, path, str(place), **{**choices, **own}))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    labels = tuple(_label(kind, value) for value in values)
    return Planned(inputVolume, exported, folder, kind, distinct(labels), tuple(requests), opacity, oneScale)


def _label(kind: str, value: Any) -> str:
    if value is None:
        return "predicted class" if kind == "class" else "automatic"
    if kind == "model":
        return Path(str(value)).name or str(value)
    return f"class {value}" if isinstance(value, int) else str(value)[:80]


def concernsAll(error: BaseException) -> bool:
    """Whether an error ends the whole comparison, not the one explanation that met it."""
    return not isinstance(error, CAMOverlayError) or isinstance(error, OutputError)


# Here ----------------------------------------------------------------------------------------------------------------


def withCache() -> Compute:
    """Computing in this process, with one cache for all that is asked: what the explanations share is computed once."""
    caches: list[Any] = []

    def compute(request: Request, report: Report) -> Result:
        report(Progress("import", 0.0, "Loading the libraries"))
        from .engine.cache import Cache
        from .engine.pipeline import explain

        if not caches:
            caches.append(Cache())
        return explain(request, report, caches[0])

    return compute


def compareHere(plan: Planned, compute: Compute, report: Report) -> Comparison:
    """Explain everything in this process and show it."""
    try:
        at_once(plan.exported.writing())
        results: list[tuple[int, Result]] = []
        failed: list[tuple[int, BaseException]] = []
        for number, request in enumerate(plan.requests):

            def tell(progress: Progress, number: int = number) -> None:
                report(plan.overall(number, progress))

            try:
                results.append((number, compute(request, tell)))
            except CAMOverlayError as error:
                if concernsAll(error):
                    raise
                failed.append((number, error))
        return at_once(plan.showing(results, failed))
    finally:
        plan.remove()


# In a process of its own ---------------------------------------------------------------------------------------------


class ComparisonRun:
    """A comparison on its way: ``running``, and in the end ``done``, ``failed`` or ``cancelled``.

    Attributes:
        state: one of these words.
        progress: the last that was heard, over all explanations.
        value: the comparison, once done.
        error: why it failed, once failed or cancelled.
    """

    def __init__(
        self,
        plan: Planned,
        worker: Worker,
        onProgress: Report = lambda progress: None,
        onResult: Callable[[Comparison], None] = lambda comparison: None,
        onError: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self.state, self.value, self.error = "running", None, None
        self.progress = Progress("import", 0.0)
        self._plan, self._worker = plan, worker
        self._onProgress, self._onResult, self._onError = onProgress, onResult, onError
        self._results: list[tuple[int, Result]] = []
        self._failed: list[tuple[int, BaseException]] = []
        self._run: Run | None = None
        self._work: Stepper | None = None
        self._cancelled = False
        try:
            self._next()
        except BaseException:
            plan.remove()
            raise

    @property
    def ended(self) -> bool:
        return self.state != "running"

    def cancel(self) -> None:
        """Stop it; within a second it has ended as cancelled, and the scene is as it was. No effect once it ended."""
        if self.ended:
            return
        self._cancelled = True
        if self._run is not None:
            self._run.cancel()
        elif self._work is not None and self._work.busy:
            self._worker.later(self.cancel)  # it was called by that work itself
        elif self._work is not None:
            self._end(None, _wasCancelled())

    def wait(self, timeout: float | None = None) -> Comparison:
        """Wait until it has ended, with Slicer alive meanwhile, and return the comparison.

        Raises:
            CAMOverlayError: why it failed; ``Cancelled`` if it was cancelled. What ``onProgress`` raised.
            TimeoutError: it goes on after so many seconds.
        """
        self._worker.wait_for(self, "comparison", timeout)
        if self.error is not None:
            raise self.error
        return self.value

    def _next(self) -> None:
        """Ask for the next explanation; after the last one show all."""
        number = len(self._results) + len(self._failed)
        if number == len(self._plan.requests):
            self._show()
            return
        first = number == 0
        self._run = self._worker.explain(
            self._plan.requests[number],
            prepare=self._plan.exported.writing() if first else None,
            on_progress=lambda progress: self._report(number, progress),
            on_result=lambda result: self._explained(number, result),
            on_error=lambda error: self._notExplained(number, error),
        )
        if self.ended or self._cancelled:  # a callback was faster
            self._run = None

    def _report(self, number: int, progress: Progress) -> None:
        self.progress = self._plan.overall(number, progress)
        self._onProgress(self.progress)

    def _explained(self, number: int, result: Result) -> None:
        self._run = None
        self._results.append((number, result))
        self._goOn()

    def _notExplained(self, number: int, error: BaseException) -> None:
        notPrepared = self._run is not None and not self._run.prepared
        self._run = None
        again = isinstance(error, WorkerError) and any(isinstance(one, WorkerError) for _n, one in self._failed)
        if self._cancelled or concernsAll(error) or notPrepared or again:
            self._end(None, error)
            return
        self._failed.append((number, error))
        self._goOn()

    def _goOn(self) -> None:
        if self._cancelled:
            self._end(None, _wasCancelled())
            return
        try:
            if self._results:
                self._plan.exported.requireInPlace()  # rather now than after the other explanations
            self._next()
        except CAMOverlayError as error:
            self._end(None, error)

    def _show(self) -> None:
        self.progress = Progress("write", SHOWING, "")
        try:
            self._onProgress(self.progress)
        except (Exception, Cancelled) as error:  # the caller's way to end it  # noqa: BLE001
            self._end(None, error)
            return

        def ended(value: Any, error: BaseException | None) -> None:
            self._work = None
            self._end(value, error)

        self._work = Stepper(self._plan.showing(self._results, self._failed), ended, self._worker.later)
        self._work.step()

    def _end(self, value: Comparison | None, error: BaseException | None) -> None:
        if self.ended:
            return
        if self._work is not None:
            self._work.stop()
            self._work = None
        self._plan.remove()
        self.value, self.error = value, error
        self.state = "done" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
        try:
            self._onError(error) if error is not None else self._onResult(value)
        except Exception:  # the caller's; the comparison has ended all the same  # noqa: BLE001
            traceback.print_exc()


def _wasCancelled() -> Cancelled:
    return Cancelled("The comparison was cancelled; nothing was changed.")
