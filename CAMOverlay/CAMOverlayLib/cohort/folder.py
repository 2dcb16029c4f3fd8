"""A case on disk: written in a hidden folder beside its place, brought safely to the disk, and moved there in one step.

What is there is therefore whole, whenever a process or the machine was ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from ..contract.errors import CohortError, OutputError
from ..contract.whole_files import PREFIX
from .cases import Case
from .plan import Plan

CASES = "cases"
CASE, REPORT, ERROR, SCENE = "case.json", "report.json", "error.json", "scene.mrb"
SCHEMA = 1

FULL = (errno.ENOSPC, errno.EDQUOT)

ABANDONED = 24 * 3600
"""Seconds after which what another machine left half written is taken for left over."""

ROW = (
    "prediction",
    "probability",
    "peak_r",
    "peak_a",
    "peak_s",
    "placement",
    "share",
    "enrichment",
    "hit",
    "seconds",
    "error",
)
"""What is known of a case only once it was computed."""


@dataclass(frozen=True)
class Found:
    """What lies on disk of a case.

    Attributes:
        state: ``done``, ``failed``, ``missing``, or ``changed``: computed of other files, or otherwise.
        row: by :data:`ROW`.
    """

    state: str
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def is_done(self) -> bool:
        return self.state == "done"


MISSING = Found("missing")


def place_of(plan: Plan, case_id: str) -> Path:
    return plan.folder / CASES / case_id


def names_there(plan: Plan) -> frozenset[str]:
    """The cases that have a folder, of whatever state."""
    with contextlib.suppress(OSError):
        return frozenset(name for name in os.listdir(plan.folder / CASES) if not name.startswith("."))
    return frozenset()


def look(plan: Plan, case: Case) -> Found:
    """What lies there of a case. Nothing but what was computed as it is asked for now is done or failed."""
    place = place_of(plan, case.id)
    try:
        told = json.loads((place / CASE).read_text(encoding="utf-8"))
        there = (place / (ERROR if told["state"] == "failed" else REPORT)).is_file()
        same = told["fingerprint"] == plan.fingerprint and asked_of(case) == {
            name: told[name] for name in asked_of(case)
        }
        row = {name: told["row"].get(name) for name in ROW}
        inputs = told["inputs"]
        state = str(told["state"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Found("changed") if place.exists() else MISSING
    if not there or not same or state not in ("done", "failed") or any(map(_is_another, inputs)):
        return Found("changed")
    return Found(state, row)


def asked_of(case: Case) -> dict[str, Any]:
    """What a case is computed from, as its file says it."""
    return {"volumes": list(case.volumes), "mask": case.mask or None, "target": case.target or None}


def stamps_of(case: Case) -> list[dict[str, Any]]:
    """The files of a case as they are now: size and time. Of a folder (a DICOM series) its own time."""
    found = []
    for path in (*case.volumes, *([case.mask] if case.mask else [])):
        with contextlib.suppress(OSError):
            there = os.stat(path)
            found.append({"path": path, "size": there.st_size, "mtime_ns": there.st_mtime_ns})
    return found


def _is_another(stamp: dict[str, Any]) -> bool:
    """Whether a file has changed since. One that cannot be seen from here may lie where the workers are."""
    try:
        there = os.stat(stamp["path"])
    except OSError:
        return False
    return (there.st_size, there.st_mtime_ns) != (stamp["size"], stamp["mtime_ns"])


# Writing ------------------------------------------------------------------------------------------------------------


@contextmanager
def being_made(plan: Plan) -> Iterator[Path]:
    """A hidden folder for a case, gone afterwards unless it was published.

    Raises:
        OutputError: nothing can be written there.
    """
    parent = plan.folder / CASES
    with told_of_disk(plan):
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / _hidden_name()
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hidden_name() -> str:
    """A name that says whose it is, so that what was left by those who are no more can be told."""
    return f"{PREFIX}{host()}-{os.getpid()}-{os.urandom(6).hex()}"


def host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname())[:40]


def publish(plan: Plan, case: Case, made: Path, state: str, row: dict[str, Any], inputs: list[dict[str, Any]]) -> bool:
    """Move a finished case into its place; False where another one has done the same meanwhile, whose case stays.

    Args:
        made: from :func:`being_made`, with everything in it but :data:`CASE`.
        inputs: from :func:`stamps_of`, taken before the files were read.

    Raises:
        OutputError: it cannot be written.
    """
    told = {"schema": SCHEMA, "id": case.id, "state": state, "fingerprint": plan.fingerprint, **asked_of(case)}
    told |= {"inputs": inputs, "row": {name: row.get(name) for name in ROW}}
    place = place_of(plan, case.id)
    with told_of_disk(plan):
        text = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        (made / CASE).write_text(text, encoding="utf-8")
        _to_disk(made)
        try:
            os.rename(made, place)
        except OSError as error:
            if not place.is_dir() or error.errno in FULL:
                raise
            if look(plan, case).is_done:
                return False
            aside = place.with_name(_hidden_name())
            os.rename(place, aside)
            os.rename(made, place)
            shutil.rmtree(aside, ignore_errors=True)
        _sync(place.parent)
    return True


def write_failed(plan: Plan, case: Case, sentence: str, kind: str, seconds: float | None) -> None:
    """Write a case that has no result: its sentence. Raises OutputError where that cannot be."""
    with being_made(plan) as folder:
        with told_of_disk(plan):
            told = json.dumps({"error": sentence, "kind": kind}, indent=1, ensure_ascii=False)
            (folder / ERROR).write_text(told + "\n", encoding="utf-8")
        publish(plan, case, folder, "failed", {"error": sentence, "seconds": seconds}, stamps_of(case))


def _to_disk(folder: Path) -> None:
    """Have the system write a folder's files out, so that a name never stands for less than its content."""
    for path in folder.iterdir():
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    with contextlib.suppress(OSError):  # a system that cannot open folders
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextmanager
def told_of_disk(plan: Plan) -> Iterator[None]:
    """An error of the system as a sentence. Raises OutputError."""
    try:
        yield
    except OSError as error:
        remedy = "Free some disk space" if error.errno in FULL else "Correct that, or choose another folder"
        raise OutputError(
            f"The results cannot be written to '{plan.output}': {error.strerror or error}. {remedy}, and run the same "
            "again: what is done stays done."
        ) from error


# Cleaning up --------------------------------------------------------------------------------------------------------


def sweep(plan: Plan) -> None:
    """Remove what was left half written by processes that are no more."""
    for parent in (plan.folder, plan.folder / CASES):
        for path in parent.glob(f"{PREFIX}*"):
            if _is_left_over(path):
                shutil.rmtree(path, ignore_errors=True)


def _is_left_over(path: Path) -> bool:
    machine, _, rest = path.name.removeprefix(PREFIX).partition("-")
    number = rest.partition("-")[0]
    if machine == host() and number.isdecimal() and os.name != "nt":
        return not _is_running(int(number))
    with contextlib.suppress(OSError):
        return time.time() - path.stat().st_mtime > ABANDONED
    return False


def _is_running(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return not _waits_to_be_reaped(number)


def _waits_to_be_reaped(number: int) -> bool:
    """Whether a process has ended, and only its number is still there until its parent asks how it ended: seconds, or
    for ever where that is the first process of a container that asks for none."""
    try:
        told = Path(f"/proc/{number}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return told[0] in "ZX" and int(told[17]) <= 1  # its threads, of which one may outlive the first for a moment
    except (OSError, ValueError, IndexError):  # a system without /proc
        return False


def begin_anew(plan: Plan) -> None:
    """Remove a cohort from its folder: in one step out of sight, so that no half of it is taken for a whole one."""
    with told_of_disk(plan):
        aside = plan.folder / _hidden_name()
        if (plan.folder / CASES).exists():
            os.rename(plan.folder / CASES, aside)
        for name in ("cohort.json", "cohort.csv"):
            (plan.folder / name).unlink(missing_ok=True)
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def alone(plan: Plan) -> Iterator[None]:
    """Hold the cohort's folder, so that no second command works in it.

    Raises:
        CohortError: one does.
        OutputError: nothing can be written there.
    """
    with told_of_disk(plan):
        plan.folder.mkdir(parents=True, exist_ok=True)
        file = open(plan.folder / ".lock", "ab")  # noqa: SIM115
    with file:
        _lock(file, plan)
        yield


def _lock(file: IO[bytes], plan: Plan) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise CohortError(
            f"Another command is at work in '{plan.output}'. Wait for it, end it, or choose another folder."
        ) from None
    except OSError:  # a file system without locks
        return
