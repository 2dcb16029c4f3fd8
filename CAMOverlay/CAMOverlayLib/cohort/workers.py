"""Those who compute the cases: this process, worker processes of this machine, or a cluster that its users have.

Each yields what came of the cases in whatever order they end, and None in between, so that whoever shows progress hears
from it. The scheduling is Dask's.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.util
import logging
import os
import queue
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from ..contract.errors import CohortError, reason
from .cases import Case
from .checks import check_case
from .compute import compute_case
from .plan import Plan

WAITING = 64
"""Cases at the scheduler at least: enough for a cluster that grows with its queue, and few to take back."""

TICK = 0.5
"""Seconds between two looks at whether everything is still there."""

GONE = 30.0
"""Seconds for which a scheduler may not be heard."""

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""How many threads a worker process computes with, in the words of the libraries that torch and NumPy are built on."""

INSTALL = "pip install 'cam-overlay[cohort]', or: pip install dask distributed"

Outcome = dict[str, Any]
"""As of :func:`compute_case`; or with ``ended``, that the process that computed it ended each time."""


class Workers(Protocol):
    """Those who compute.

    Attributes:
        words: who they are, for the terminal.
    """

    words: str

    def check(self, plan: Plan, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """Look at the files of cases where they would be computed."""

    def compute(self, plan: Plan, cases: Sequence[Case]) -> Iterator[Outcome | None]:
        """Compute the cases. Raises CohortError where those who compute are gone."""


class Here:
    """This process, one case after the other."""

    words = "this process"

    def check(self, plan: Plan, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """What :func:`check_case` says of each."""
        return [check_case(case.to_dict(), plan.keep) for case in cases]

    def compute(self, plan: Plan, cases: Sequence[Case]) -> Iterator[Outcome | None]:
        """What came of each case."""
        told = plan.to_dict()
        for case in cases:
            yield None
            yield compute_case(told, case.to_dict())


class OnDask:
    """The workers of a scheduler.

    Args:
        client: connected.
        words: who they are, for the terminal.
    """

    def __init__(self, client: Any, words: str) -> None:
        self._client, self.words = client, words
        self._ended: queue.SimpleQueue[tuple[Case, Any]] = queue.SimpleQueue()

    def compute(self, plan: Plan, cases: Sequence[Case]) -> Iterator[Outcome | None]:
        """What came of each case, and None at least every :data:`TICK` seconds.

        Raises:
            CohortError: the scheduler is gone, or a worker cannot run the task.
        """
        told, run = plan.to_dict(), uuid.uuid4().hex[:8]
        waiting, under_way = iter(cases), 0
        futures: dict[str, Any] = {}
        heard = time.monotonic()
        while True:
            while under_way < max(WAITING, 4 * self._count()) and (case := next(waiting, None)) is not None:
                futures[case.id] = self._submit(told, case, run)
                under_way += 1
            if not under_way:
                return
            try:
                case, future = self._ended.get(timeout=TICK)
            except queue.Empty:
                heard = self._heard(heard)
                yield None
                continue
            del futures[case.id]
            under_way -= 1
            yield self._outcome(case, future)

    def check(self, plan: Plan, cases: Sequence[Case]) -> list[dict[str, Any]]:
        """What :func:`check_case` says of each, where it would be computed.

        Raises:
            CohortError: nobody there can tell.
        """
        try:
            told = [case.to_dict() for case in cases]
            futures = self._client.map(check_case, told, keep=plan.keep, pure=False)
            found: list[dict[str, Any]] = self._client.gather(futures)
        except Exception as error:
            words = f"The workers cannot look at the files ({reason(error)}). Is CAMOverlay there?"
            raise CohortError(words) from error
        return found

    def _submit(self, told: dict[str, Any], case: Case, run: str) -> Any:
        key = f"cam-overlay-{run}-{case.id}"
        try:
            future = self._client.submit(compute_case, told, case.to_dict(), key=key, pure=False)
        except Exception as error:
            raise CohortError(_gone(reason(error))) from error
        future.add_done_callback(lambda one, case=case: self._ended.put((case, one)))
        return future

    def _count(self) -> int:
        with contextlib.suppress(Exception):
            return sum(one["nthreads"] for one in self._client.scheduler_info(n_workers=-1)["workers"].values())
        return 0

    def _heard(self, heard: float) -> float:
        """When the scheduler was heard last. Raises CohortError where it has been silent for too long."""
        if self._client.status == "running":
            return time.monotonic()
        if self._client.status == "closed" or time.monotonic() - heard > GONE:
            raise CohortError(_gone("the connection was lost"))
        return heard

    def _outcome(self, case: Case, future: Any) -> Outcome:
        """What came of a case.

        Raises:
            CohortError: not what is wrong with the case, but with those who compute.
        """
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise CohortError(_gone("the connection was lost"))
        try:
            if future.status == "finished":
                outcome: Outcome = future.result()
                return outcome
            error = future.exception()
        except Exception as lost:  # what a task raised is a value here; this is of the way to the scheduler
            raise CohortError(_gone("the connection was lost")) from lost
        if isinstance(error, KilledWorker):
            return {"id": case.id, "ended": True}
        if isinstance(error, ImportError) or "CAMOverlayLib" in str(error):
            raise CohortError(
                f"The workers cannot run the task ({reason(error)}). Install the same version of CAMOverlay, with its "
                "libraries, where they run."
            )
        raise CohortError(f"A worker failed at its task, and not at a volume: {reason(error)}.")


def _gone(why: str) -> str:
    return (
        f"The scheduler cannot be reached any more ({why}). What is done is on disk: start a scheduler, and run the "
        "same again."
    )


# Making them ----------------------------------------------------------------------------------------------------------


def _require_dask() -> None:
    """Raise CohortError where Dask is not installed."""
    missing = [name for name in ("dask", "distributed") if importlib.util.find_spec(name) is None]
    if missing:
        raise CohortError(f"Several processes, and other machines, need the package {missing[0]}: {INSTALL}.")


@contextlib.contextmanager
def of_scheduler(address: str | None = None, file: str | None = None) -> Iterator[OnDask]:
    """The workers of a scheduler that is running.

    Args:
        address: ``tcp://HOST:PORT`` or ``tls://HOST:PORT``; certificates are those of Dask's configuration.
        file: instead of it the file that the scheduler wrote.

    Raises:
        CohortError: nobody answers there.
    """
    _require_dask()
    from distributed import Client

    where = address or file
    try:
        client = Client(address, timeout=10, set_as_default=False) if address else _client_of(file)
    except Exception as error:
        raise CohortError(
            f"No scheduler answers at '{where}' ({reason(error)}). Start one (dask scheduler), and workers (dask "
            "worker)."
        ) from error
    try:
        yield OnDask(client, f"the workers of {where}{_dashboard(client)}")
    finally:
        with contextlib.suppress(Exception):
            client.close(timeout=0.5)


def _client_of(file: str | None) -> Any:
    from distributed import Client

    if file is None or not os.path.isfile(file):
        raise FileNotFoundError(f"there is no file '{file}'")
    return Client(scheduler_file=file, timeout=10, set_as_default=False)


def _dashboard(client: Any) -> str:
    with contextlib.suppress(Exception):
        if link := client.dashboard_link:
            return f"; dashboard {link}"
    return ""


@contextlib.contextmanager
def of_this_machine(count: int) -> Iterator[OnDask]:
    """Worker processes of this machine, which share its cores; gone with the context, at once where it is left by an
    exception.

    Raises:
        CohortError: Dask is not installed, or they cannot be started.
    """
    _require_dask()
    import dask
    from distributed import Client

    settings = {
        "distributed.scheduler.worker-saturation": 1.0,  # a case waits at the scheduler, not at a worker that may end
        "distributed.scheduler.allowed-failures": 1,  # what ended two processes would end a third one
        "distributed.worker.memory.terminate": False,
        "distributed.worker.memory.pause": False,
        "distributed.worker.profile.enabled": False,  # what it notes a hundred times a second is kept
        "distributed.admin.log-format": "%(message)s",
    }
    with dask.config.set(settings):
        cluster = _cluster(count)
        client = Client(cluster, set_as_default=False)
        plural = "es" if count > 1 else ""
        dashboard = _dashboard(client) if importlib.util.find_spec("bokeh") else ""
        try:
            yield OnDask(client, f"{count} worker process{plural}{dashboard}")
        except KeyboardInterrupt:
            _end(client, cluster, by_force=True)
            raise
        except BaseException:
            _end(client, cluster)
            raise
        _end(client, cluster)


def _cluster(count: int) -> Any:
    """Worker processes that do not hear Ctrl-C, which the terminal sends to all: the command ends them.

    Raises:
        CohortError: they cannot be started.
    """
    from multiprocessing import resource_tracker

    from distributed import LocalCluster
    from distributed.utils import LoopRunner

    share = os.environ.get("OMP_NUM_THREADS", str(max(1, cores() // count)))
    # Dask's own starter says 1 for all of them, and torch takes the number of the MKL that it was built with.
    threads = {name: os.environ.get(name, share) for name in THREADS}
    with _in_environment("PYTHONWARNINGS", "ignore:resource_tracker"):  # what it says of a process that was ended
        resource_tracker.ensure_running()  # started later, it would let Ctrl-C through to what its thread starts
    runner = LoopRunner(asynchronous=False)
    with _interrupts_held():
        runner.start()  # what this thread starts, now and later, inherits that
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            silence_logs=logging.CRITICAL,
            local_directory=tempfile.gettempdir(),
            loop=runner.loop,
            env={
                **threads,
                "TMPDIR": tempfile.gettempdir(),
                "DASK_LOGGING__DISTRIBUTED": "critical",
            },
        )
    except BaseException as error:
        atexit.unregister(_close_clusters())  # it would wait for what never began
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        if not isinstance(error, Exception):
            raise
        raise CohortError(f"The worker processes cannot be started: {reason(error)}.") from error


@contextlib.contextmanager
def _in_environment(name: str, value: str) -> Iterator[None]:
    """Add a value to a variable with commas, for what is started in here."""
    before = os.environ.get(name)
    os.environ[name] = ",".join(filter(None, [before, value]))
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _close_clusters() -> Any:
    """What Dask does at the end of the process."""
    from distributed.deploy import spec

    return spec.close_clusters


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C does not reach threads that are started in here, and the processes that they start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(client: Any, cluster: Any, by_force: bool = False) -> None:
    """End the workers: what they have under way is lost or was published, and there is nothing to wait for.

    Args:
        by_force: somebody waits for the end; the scheduler, which is a thread of this process, goes with it.
    """
    import psutil

    ended = []
    for nanny in list(cluster.workers.values()):
        nanny.auto_restart = False
        with contextlib.suppress(Exception):
            ended.append(psutil.Process(nanny.pid))
            ended[-1].kill()
    if by_force:
        with contextlib.suppress(Exception):
            psutil.wait_procs(ended, timeout=0.5)  # so that what they leave half written is known as left
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # of what ends before it began
        atexit.unregister(_close_clusters())
        return
    with contextlib.suppress(Exception):
        client.close(timeout=0.5)
    with contextlib.suppress(Exception):
        cluster.close(timeout=3)
