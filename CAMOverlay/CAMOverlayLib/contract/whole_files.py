"""Files and folders that appear complete or not at all: filled beside their place, and moved there in one step."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError

PREFIX = ".cam-overlay-"
"""How every folder in which something is being made is called."""


@contextmanager
def hidden_folder(place: Path) -> Iterator[Path]:
    """A hidden folder on the disk of a folder that is there or is to be made; gone afterwards.

    Raises:
        OSError: nothing can be written there.
    """
    whole = Path(os.path.abspath(place))
    parent = next(path for path in (whole, *whole.parents) if path.exists())
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def gone_where_it_fails(paths: Sequence[str | Path]) -> Iterator[None]:
    """Files that are there already go if the block raises: without what it does they are not whole."""
    try:
        yield
    except BaseException:
        for path in paths:
            Path(path).unlink(missing_ok=True)
        raise


def move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files or folders into place, all or none: what they replace is kept until the last one is there.

    Args:
        moves: from a hidden folder to the place; missing folders above it are made.

    Raises:
        OSError: one cannot be moved; everything is then as it was.
    """
    made: list[Path] = []
    done: list[tuple[Path, Path | None]] = []
    try:
        for path, target in moves:
            for parent in reversed([p for p in (target.parent, *target.parent.parents) if not p.exists()]):
                parent.mkdir()
                made.append(parent)
            kept = path.with_name(f"{PREFIX}before-{path.name}") if os.path.lexists(target) else None
            done.append((target, kept))
            if kept is not None:
                os.replace(target, kept)
            os.replace(path, target)
    except BaseException:
        for target, kept in reversed(done):
            with contextlib.suppress(OSError):
                if kept is None:
                    _remove(target)
                elif os.path.lexists(kept):
                    _remove(target)
                    os.replace(kept, target)
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def save_text(path: Path, text: str) -> Path:
    """Write a text file, complete or not at all; the folder must be there.

    Raises:
        OutputError: it is not, or nothing can be written there.
    """
    if not path.parent.is_dir():
        raise OutputError(f"The folder {path.parent} does not exist; create it or choose another one.")
    try:
        with hidden_folder(path.parent) as folder:
            (folder / path.name).write_text(text, encoding="utf-8")
            os.replace(folder / path.name, path)
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror or error}. Choose another place.") from None
    return path
