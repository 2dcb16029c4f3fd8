"""The far side: where a run's files lie while it computes, and what both machines call them.

On the way every path is a name: ``cam-overlay://run/in/0/volume.npy`` lies in a folder of the run, and
``cam-overlay://models/HASH/NAME`` is a model that was copied, which stays. A model's path that begins with ``ssh:`` is
one of this machine. What the run says of itself goes back in the same names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...contract.bundle_content import content_hash
from ...contract.errors import BundleError, OutputError
from ...contract.model import THERE
from ..protocol import Piece
from .names import IN_RUN, MODELS, OUT, STEPS, replaced
from .stream import Arriving, parts_of, pieces


class Shelf:
    """What was brought here for the run that is under way, one at a time.

    Args:
        folder: of this connection; it is removed when that ends.
        cache: where what is brought once is kept.
    """

    def __init__(self, folder: str, cache: str) -> None:
        self.folder = os.path.realpath(folder)
        self._models = os.path.join(os.path.realpath(cache), "models")
        self._arriving: dict[tuple[str, str], Arriving] = {}

    def _of(self, run: str) -> str:
        return os.path.join(self.folder, "run-" + "".join(parts_of(run)))

    def take(self, piece: Piece, content: bytes) -> None:
        """Write a piece of a file of a run.

        Raises:
            ProtocolError: it is none.
            OutputError: it cannot be written here.
        """
        key = (piece.run, piece.file)
        try:
            if key not in self._arriving:
                self._arriving[key] = Arriving(Path(self._of(piece.run), *parts_of(piece.file)))
            if self._arriving[key].take(piece, content):
                del self._arriving[key]
        except OSError as error:
            self.drop(piece.run)
            raise OutputError(
                f"The other machine cannot keep what it is sent in '{self.folder}': {error.strerror or error}. Make "
                "room there, or set TMPDIR there to another folder."
            ) from error

    def drop(self, run: str) -> None:
        """Remove everything that a run has here."""
        for key in [key for key in self._arriving if key[0] == run]:
            self._arriving.pop(key).close()
        shutil.rmtree(self._of(run), ignore_errors=True)

    def has(self, model: dict[str, Any]) -> bool:
        """Whether a model is here; one whose path is of this machine needs no bringing."""
        path = str(model.get("path", ""))
        return not path.startswith(MODELS) or os.path.lexists(self._here("", path))

    def opened_paths(self, payload: dict[str, Any]) -> dict[str, Any]:
        """Arguments with the paths of this machine, as far as they are of no run."""
        return replaced(payload, lambda text: self._here("", text))

    def opened(self, run: str, payload: dict[str, Any]) -> dict[str, Any]:
        """A call's arguments with the paths of this machine, and all in its place.

        Raises:
            BundleError: the model is not what was sent.
            OutputError: it cannot be kept.
        """
        for name in ("", OUT, STEPS):
            os.makedirs(os.path.join(self._of(run), name), exist_ok=True)
        model = payload.get("model")
        if isinstance(model, dict) and str(model.get("path", "")).startswith(MODELS):
            try:
                self._keep(run, str(model["path"]))
            except OSError as error:
                raise OutputError(
                    f"The other machine cannot keep the model in '{self._models}': {error.strerror or error}. Make "
                    "room there, set XDG_CACHE_HOME there to another folder, or name a model that lies there "
                    "(ssh:/path)."
                ) from error
        return replaced(payload, lambda text: self._here(run, text))

    def _keep(self, run: str, name: str) -> None:
        """Bring a model that has arrived to where it stays: the whole of it or nothing."""
        place = self._here(run, name)
        if os.path.lexists(place):
            return
        expected, last = parts_of(name[len(MODELS) :].lstrip("/"))
        arrived = Path(self._of(run), "model", last)
        if not arrived.exists() or content_hash(arrived) != expected:
            raise BundleError("The model did not arrive as it was sent: it changed meanwhile. Try again.")
        above = os.path.dirname(place)
        hidden = tempfile.mkdtemp(prefix=".new-", dir=self._models)
        try:
            shutil.move(arrived, os.path.join(hidden, last))  # onto the same disk, which takes its time
            os.makedirs(above, exist_ok=True)
            os.rename(os.path.join(hidden, last), place)
        except OSError:
            if not os.path.lexists(place):  # another connection was faster
                with contextlib.suppress(OSError):
                    os.rmdir(above)
                raise
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def _here(self, run: str, text: str) -> str:
        if text.startswith(THERE):
            path = os.path.expanduser(text[len(THERE) :])
            return os.path.join(os.path.expanduser("~"), path)
        text = text.replace(MODELS, self._models)
        return text.replace(IN_RUN, self._of(run)) if run else text

    def told(self, run: str, value: Any, asked: dict[str, Any]) -> Any:
        """An answer, or a sentence, in the names that both machines know.

        Args:
            asked: the call's arguments as they came.
        """
        model = asked.get("model")
        path = str(model.get("path", "")) if isinstance(model, dict) else ""
        names = {self._of(run): IN_RUN, self._models: MODELS}
        if path.startswith(THERE):
            here = self._here(run, path)
            names |= {os.path.realpath(here): path, here: path}

        def name(text: str) -> str:
            for here, there in names.items():
                text = text.replace(here, there)
            return text

        return replaced(value, name)

    def results(self, run: str) -> tuple[int, Iterator[tuple[Piece, bytes, int]]]:
        """How many bytes a run has left in its result folders, and they in pieces."""
        files = [
            (f"{name}/{entry.name}", entry.path)
            for name in (OUT, STEPS)
            for entry in sorted(os.scandir(os.path.join(self._of(run), name)), key=lambda entry: entry.name)
            if entry.is_file(follow_symlinks=False)
        ]
        size = sum(os.path.getsize(path) for _name, path in files)
        return size, (piece for name, path in files for piece in pieces(run, name, path))
