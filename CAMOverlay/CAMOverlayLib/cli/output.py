"""Folders that a command fills: their files appear all together or not at all, and replace no input.

What is written lies in a hidden folder beside the output until all of it is there. That folder is locked for as long
as its process lives, so what a process left that was killed is known, and removed by the next one.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from ..contract.errors import CAMOverlayError, OutputError, VolumeError, reason
from ..contract.whole_files import PREFIX, hidden_folder, move_all

SCRATCH = "CAMOverlay-command-"
"""How the folder that holds a command's temporary files is called."""

LOCK = ".lock"

FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system says where there is no space left."""

NEW = 60
"""Seconds in which a folder without a lock may belong to a process that is about to lock it."""


@dataclass(frozen=True)
class Output:
    """A folder to fill, and the names (or patterns of names) of the files that will come to lie in it."""

    folder: Path
    names: tuple[str, ...]


@contextmanager
def finished_folders(outputs: Sequence[Output], inputs: Sequence[str | os.PathLike[str]] = ()) -> Iterator[list[Path]]:
    """Folders to fill, one for each output; the files of all of them move into place once all are written.

    Args:
        inputs: files and folders that are read, and must stay as they are.

    Raises:
        OutputError: nothing can be written there, or an input would be replaced. Found out before anything is computed,
            and the outputs are then as they were.
        CAMOverlayError: a file could not be read meanwhile.
    """
    for output in outputs:
        _require_replaceable(output, inputs)
    with contextlib.ExitStack() as stack:
        folders = [stack.enter_context(_beside(output.folder)) for output in outputs]
        with told_of_files(outputs[0].folder):
            yield folders
        for output, folder in zip(outputs, folders):
            written = Output(output.folder, tuple(path.name for path in _files(folder)))
            _require_replaceable(written, inputs)  # what was asked for may not be all that was written
        _move(
            [(path, output.folder / path.name) for output, folder in zip(outputs, folders) for path in _files(folder)]
        )


@contextmanager
def scratch_folder() -> Iterator[None]:
    """One folder for all temporary files of a command, so that what was killed leaves one thing that is found again."""
    before = tempfile.tempdir
    try:
        parent = Path(tempfile.gettempdir())
        folder = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=parent))
    except OSError:  # whoever needs one says so
        yield
        return
    with _locked(folder):
        _sweep(parent, SCRATCH)
        tempfile.tempdir = str(folder)
        try:
            yield
        finally:
            tempfile.tempdir = before
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def told_of_files(output: Path | None = None) -> Iterator[None]:
    """An error of the system in words: which file it was, and "disk" only where the disk is full.

    Raises:
        OutputError: no space is left.
        CAMOverlayError: any other error of the system, with the file it names.
    """
    try:
        yield
    except OSError as error:
        raise told(error, output) from error


def told(error: OSError, output: Path | None = None) -> CAMOverlayError:
    """An error of the system as one of this package."""
    where = f"'{output}'" if output is not None else "the output"
    what = error.strerror or reason(error)
    if error.errno in FULL:
        return OutputError(
            f"The results cannot be written to {where}: {what}. Free some disk space or choose another folder."
        )
    if isinstance(error, FileNotFoundError) and "temporary directory" in str(error):
        return OutputError("There is not a folder for temporary files. Set TMPDIR to a folder that can be written to.")
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes, os.PathLike)) else ""
    if name and PREFIX in name:
        return OutputError(f"The results cannot be written to {where}: {what}. Choose another folder.")
    if name:
        return VolumeError(f"'{name}' cannot be used: {what}. Check that it is there, and its permissions.")
    return CAMOverlayError(f"A file cannot be read or written: {what}. Check the inputs, and the output {where}.")


def _require_replaceable(output: Output, inputs: Sequence[str | os.PathLike[str]]) -> None:
    folder = output.folder
    if os.path.lexists(folder) and not folder.is_dir():
        kind = "a file" if folder.exists() else "a link to nothing"
        raise OutputError(f"The output '{folder}' is {kind}. Give a folder.")
    try:
        there = [Path(entry.path) for entry in os.scandir(folder)] if folder.exists() else []
    except OSError as error:
        raise OutputError(
            f"The output folder '{folder}' cannot be read: {error.strerror}. Choose another one."
        ) from None
    sources = [Path(source).expanduser() for source in inputs]
    for path in there:
        if not any(fnmatch.fnmatchcase(path.name, name) for name in output.names):
            continue
        if path.is_dir():
            raise OutputError(f"'{path}' is a folder where a result is to be written. Choose another output folder.")
        if not path.exists():
            raise OutputError(
                f"'{path}' is a link to nothing where a result is to be written. Remove it, or choose another folder."
            )
        if (source := _read_from(path, sources)) is not None:
            raise OutputError(
                f"The input '{source}' would be replaced by the result '{path.name}'. Choose another output folder."
            )


def _read_from(path: Path, sources: Sequence[Path]) -> Path | None:
    """The input that a file is, or lies in."""
    whole = path.resolve()
    for source in sources:
        with contextlib.suppress(OSError):
            if os.path.samefile(path, source) or (source.is_dir() and source.resolve() in whole.parents):
                return source
    return None


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name != LOCK and not path.name.startswith(PREFIX))


@contextmanager
def _beside(output: Path) -> Iterator[Path]:
    """A hidden folder on the disk of the output, gone afterwards."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(hidden_folder(output))
        except OSError as error:
            remedy = "Free some disk space, or choose another one." if error.errno in FULL else "Choose another one."
            raise OutputError(
                f"The output folder '{output}' cannot be written to: {error.strerror}. {remedy}"
            ) from error
        with _locked(folder):
            _sweep(folder.parent, PREFIX)
            yield folder


def _move(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files into place, all or none.

    Raises:
        OutputError: one cannot be moved; everything is then as it was.
    """
    try:
        move_all(moves)
    except OSError as error:
        place = error.filename2 or error.filename or moves[0][1].parent
        raise OutputError(
            f"The results cannot be written to '{place}': {error.strerror or error}. Nothing was replaced; choose "
            "another folder."
        ) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    file = _lock(folder)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def _lock(folder: Path) -> IO[bytes] | None:
    """The lock of a folder, or None where another process has it, or there are no locks."""
    try:
        import fcntl

        file = (folder / LOCK).open("ab")
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


def _sweep(parent: Path, prefix: str) -> None:
    """Remove what processes left that are no more. Only what has a lock that is free: all else may be in use."""
    try:
        found = [
            Path(entry.path)
            for entry in os.scandir(parent)
            if entry.name.startswith(prefix) and entry.is_dir(follow_symlinks=False)
        ]
    except OSError:
        return
    for folder in found:
        with contextlib.suppress(OSError):
            if (folder / LOCK).is_file() and time.time() - (folder / LOCK).stat().st_mtime > NEW:
                file = _lock(folder)
                if file is not None:
                    shutil.rmtree(folder, ignore_errors=True)
                    file.close()
