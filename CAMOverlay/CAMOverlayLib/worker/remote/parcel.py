"""What a run on another machine needs of this one: its arguments in names that both know, and the files behind them."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...contract.bundle_content import ContentHash, Signature, entries
from ...contract.errors import BundleError, CAMOverlayError, TargetError, VolumeError
from ...contract.model import ModelSource
from ...contract.pieces import Pieces
from ...contract.records import absolute
from ...contract.request import Request
from ...contract.target import StructureFile, TargetSpec, VolumeFile
from .names import IN_RUN, MODELS, OUT, STEPS, replaced


@dataclass
class Parcel:
    """A call's arguments and files.

    Attributes:
        payload: the arguments; that of the model is filled in by :meth:`look`.
        files: name on the way, and path here.
        folders: the same of the folders into which files come back.
        model: where it lies, and in what it is trusted.
        model_files: as ``files``, once :meth:`look` has looked; sent only where the model is not there yet.
    """

    payload: dict[str, Any] = field(default_factory=dict)
    files: list[tuple[str, str]] = field(default_factory=list)
    folders: dict[str, str] = field(default_factory=dict)
    model: ModelSource | None = None
    model_files: list[tuple[str, str]] = field(default_factory=list)
    _words: dict[str, str] = field(default_factory=dict)  # what is said over there, and what it is called here

    @classmethod
    def of_request(cls, request: Request) -> Parcel:
        """A request, whose paths are absolute."""
        parcel = cls(model=request.model)
        parcel.folders[OUT] = request.output_folder
        if request.intermediates_folder is not None:
            parcel.folders[STEPS] = request.intermediates_folder
        for name, folder in parcel.folders.items():
            parcel._words[f"{IN_RUN}/{name}"] = folder
        parcel.payload = dataclasses.replace(
            request,
            volumes=tuple(map(parcel._volume, request.volumes)),
            structures=tuple(map(parcel._structure, map(StructureFile.of, request.structures))),
            target=parcel._target(request.target),
            sketch=False,  # it would be on the way for longer than the map takes
            unchecked=False,  # its files come at the end
            output_folder=f"{IN_RUN}/{OUT}",
            intermediates_folder=f"{IN_RUN}/{STEPS}" if STEPS in parcel.folders else None,
        ).to_dict()
        return parcel

    @classmethod
    def of_model(cls, source: ModelSource) -> Parcel:
        """A model alone, whose path is absolute."""
        return cls({"model": source.to_dict()}, model=source)

    def _file(self, path: str) -> str:
        """A file by its name on the way. A NIfTI pair is two files."""
        number = len(self.files)
        stem, ending = os.path.splitext(path)
        pair = {".hdr": ".img", ".img": ".hdr"}.get(ending)
        for one in (path, *([stem + pair] if pair and os.path.exists(stem + pair) else [])):
            self.files.append((f"in/{number}/{os.path.basename(one)}", one))
        name = f"{IN_RUN}/in/{number}/{os.path.basename(path)}"
        self._words[name] = path
        return name

    def _volume(self, file: VolumeFile) -> VolumeFile:
        return dataclasses.replace(file, path=self._file(file.path))

    def _structure(self, one: StructureFile) -> StructureFile:
        file = self._file(one.file) if isinstance(one.file, str) else self._volume(one.file)
        return dataclasses.replace(one, file=file)

    def _target(self, target: Any) -> Any:
        if isinstance(target, TargetSpec) and target.mask is not None:
            mask = self._file(target.mask) if isinstance(target.mask, str) else self._volume(target.mask)
            return dataclasses.replace(target, mask=mask)
        if isinstance(target, str) and "@" in target:
            words, _, where = target.rpartition("@")
            kind, _, path = where.partition("=")
            if kind.strip().casefold() == "mask" and path.strip():
                return f"{words}@mask={self._file(absolute(path.strip()))}"
        return target

    def look(self, known: dict[Signature, str], host: str) -> Pieces[None]:
        """See what is to be sent, and name the model by its content; in pieces, since that is read for it.

        Args:
            known: hashes from before.

        Raises:
            CAMOverlayError: a file is not there, or is none.
        """
        for _name, file in self.files:
            if not os.path.isfile(file):
                kind = VolumeError if file.endswith(".npy") else TargetError
                raise kind(f"'{file}' is no file, and only files can be sent to {host}. Correct its path.")
            yield
        if self.model is None or self.model.lies_there:
            return
        path = Path(self.model.path)
        if not self.model.path or not path.exists():
            raise BundleError(
                f"'{path}' does not exist. Give the root of a MONAI bundle or another model, or as ssh:/path one that "
                f"lies on {host}."
            )
        try:
            own, copy = ContentHash(path, known), ContentHash(path, known, copied=True)
            yield from own.steps()
            yield from copy.steps()
            root = Path(os.path.realpath(path))
            files = [(e.text, e.kind) for e in entries(root)]
        except OSError as error:
            raise BundleError(
                f"'{path}' cannot be read: {error.strerror or error}. Make its files readable."
            ) from error
        above = root if root.is_dir() else root.parent
        inside = f"model/{root.name}/" if root.is_dir() else "model/"
        self.model_files = [
            (inside + text.replace(os.sep, "/"), str(above / text)) for text, kind in files if kind == "file"
        ]
        self._name_model(f"{MODELS}/{copy.value}/{root.name}", own.value, copy.value)

    def _name_model(self, name: str, own: str, copy: str) -> None:
        """Say which model it is. Trust is in a content, and follows it where links became files in the copy."""
        assert self.model is not None
        trusted = copy if self.model.trusted_hash == own else self.model.trusted_hash
        self.payload["model"] = dataclasses.replace(self.model, path=name, trusted_hash=trusted).to_dict()
        self._words |= {name: str(Path(self.model.path)), copy: own}

    def back(self, value: Any) -> Any:
        """An answer, or a sentence, in the words of this side."""

        def words(text: str) -> str:
            for there, here in sorted(self._words.items(), key=lambda pair: -len(pair[0])):
                text = text.replace(there, here)
            return text

        return replaced(value, words)


def size_of(files: list[tuple[str, str]]) -> int:
    """Bytes of files.

    Raises:
        CAMOverlayError: one is gone.
    """
    try:
        return sum(os.path.getsize(path) for _name, path in files)
    except OSError as error:
        raise CAMOverlayError(f"'{error.filename}' cannot be read: {error.strerror}. Try again.") from error
