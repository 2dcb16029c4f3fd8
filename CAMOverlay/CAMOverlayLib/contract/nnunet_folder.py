"""Where an nnU-Net v2 model lies: a trained folder, the dataset's folder above it, or an exported archive of that.

nnU-Net writes ``DatasetNNN_Name/Trainer__Plans__configuration/`` with ``plans.json``, ``dataset.json`` and
``fold_K/checkpoint_final.pth``. Nothing in them is run to find that out, and nothing in them can run code later:
configurations are JSON, weights are read as tensors and numbers alone.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from .bundle_content import stamp
from .errors import BundleError, WeightsError

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
"""Names of a fold's weights, the one that nnU-Net predicts with first."""
PREFERRED = ("3d_fullres", "3d_lowres", "2d")
"""Which configuration is taken of several, best first."""
ALL_FOLDS, MIRRORING = "all_folds", "mirroring"
"""Words that, like the name of a configuration or a fold, say how a folder is to be read."""
MOST_BYTES = 16 << 30
"""Of an archive's content: five folds of the largest published models have about 5 GB."""


@dataclass(frozen=True)
class TrainedFolder:
    """One configuration of one trainer, and what of it was asked for.

    Attributes:
        folder: with ``plans.json`` and ``dataset.json``.
        configuration: as the folder's name says it; empty where it has another name.
        folds: names of the folds that are to be run, such as ``fold_0``.
        all_folds: names of those that are there.
        mirroring: average over mirrored inputs, where the training allows it.
    """

    folder: Path
    configuration: str
    folds: tuple[str, ...]
    all_folds: tuple[str, ...]
    mirroring: bool

    @property
    def checkpoints(self) -> tuple[Path, ...]:
        return tuple(_checkpoint(self.folder / fold) or self.folder / fold / CHECKPOINTS[0] for fold in self.folds)


def _whole(path: Path) -> tuple[Path, str]:
    """The model's folder where a file or a fold in it was named, and that fold."""
    if path.name in ("plans.json", "dataset.json") and _is_trained(path.parent):
        return path.parent, ""
    fold = path.parent if path.name in CHECKPOINTS else path
    return (fold.parent, fold.name) if fold.name.startswith("fold_") and _is_trained(fold.parent) else (path, "")


def is_nnunet(path: Path) -> bool:
    """Whether a folder, an archive, or a file of a model is one of nnU-Net's, told from names alone."""
    try:
        path, _fold = _whole(path)
        if path.is_dir():
            return _is_trained(path) or any(_is_trained(child) for child in path.iterdir() if child.is_dir())
        return path.suffix.lower() == ".zip" and any(_wanted(name) == "plans.json" for name in _names(path))
    except (OSError, zipfile.BadZipFile):
        return False


def dataset_name(path: Path) -> str:
    """The name of the dataset that a trained folder, a dataset's folder or an archive is of; an archive's own name
    where nothing in it says more.

    Raises:
        OSError, BadZipFile: the archive cannot be read.
    """
    if path.is_dir():
        return path.parent.name if _is_trained(path) else path.name
    above = [PurePosixPath(name).parts for name in _names(path) if _wanted(name) == "plans.json"]
    return next((parts[-3] for parts in above if len(parts) > 2), path.stem)


def find_trained(path: Path, chosen: Sequence[str] = ()) -> TrainedFolder:
    """The trained folder that is meant.

    Args:
        chosen: names of a configuration (``2d``) or of its folder, of a fold (``fold_1``), ``all_folds`` for the
            average of them, ``mirroring``. Without a fold the first one is meant.

    Raises:
        BundleError: there is none, several could be meant, or what was chosen is not there.
        WeightsError: it has no fold with weights.
    """
    path, fold = _whole(path)
    root = unpacked(path) if path.is_file() else path
    words = [word.strip() for word in (*chosen, fold) if word.strip()]
    trained = [root] if _is_trained(root) else sorted(child for child in root.iterdir() if _is_trained(child))
    if not trained:
        found = ", ".join(sorted(child.name for child in root.iterdir())[:8]) or "nothing"
        raise BundleError(
            f"'{path}' holds no nnU-Net model: no folder in it has plans.json and dataset.json (found: {found}). Give "
            "a folder named Trainer__Plans__configuration, or the one above it."
        )
    folder = _choose(path, trained, words)
    there = tuple(sorted(child.name for child in folder.glob("fold_*") if _checkpoint(child)))
    if not there:
        found = ", ".join(sorted(child.name for child in folder.iterdir())[:8]) or "nothing"
        raise WeightsError(
            f"'{folder}' has no fold_K/{CHECKPOINTS[0]} (found: {found}). Copy the folder with its weights."
        )
    folds = there if ALL_FOLDS in words else tuple(word for word in there if word in words) or there[:1]
    known = {folder.name, _configuration(folder), ALL_FOLDS, MIRRORING, *there}
    if unknown := [word for word in words if word not in known]:
        others = ", ".join(sorted({_configuration(one) for one in trained} | set(there)))
        raise BundleError(
            f"'{path}' has no '{unknown[0]}'; there are {others}. Name one of them, {ALL_FOLDS}, or {MIRRORING}.",
            setting="configs",
        )
    return TrainedFolder(folder, _configuration(folder), folds, there, MIRRORING in words)


def _choose(path: Path, trained: list[Path], words: list[str]) -> Path:
    named = [one for one in trained if one.name in words] or [one for one in trained if _configuration(one) in words]
    ranked = named or sorted(trained, key=_rank)
    best = [one for one in ranked if _rank(one) == _rank(ranked[0])]
    if len(best) > 1:
        names = ", ".join(one.name for one in best)
        raise BundleError(
            f"'{path}' holds {len(best)} models of configuration '{_configuration(best[0])}': {names}. Name one of "
            "them, or give its folder.",
            setting="configs",
        )
    return best[0]


def _rank(folder: Path) -> int:
    configuration = _configuration(folder)
    if configuration in PREFERRED:
        return PREFERRED.index(configuration)
    return len(PREFERRED) + ("cascade" in configuration)


def _configuration(folder: Path) -> str:
    parts = folder.name.split("__")
    return parts[2] if len(parts) == 3 else ""


def _is_trained(folder: Path) -> bool:
    return (folder / "plans.json").is_file() and (folder / "dataset.json").is_file()


def _checkpoint(fold: Path) -> Path | None:
    return next((fold / name for name in CHECKPOINTS if (fold / name).is_file()), None)


# An archive -----------------------------------------------------------------------------------------------------------


def unpacked(archive: Path) -> Path:
    """The dataset's folder of an exported archive, unpacked as far as it is read, once as long as this process lives.

    Raises:
        BundleError: it is damaged, holds more than a model does, or no disk has room for it.
    """
    try:
        return _unpacked(archive, str(stamp(archive)))
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError) as error:  # the latter two: encrypted
        raise BundleError(f"The archive '{archive}' cannot be unpacked: {error}. Export the model again.") from error


@cache
def _unpacked(archive: Path, _stamp: str) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="CAMOverlay-nnUNet-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    left = MOST_BYTES
    with zipfile.ZipFile(archive) as opened:
        for entry in opened.infolist():
            if not _wanted(entry.filename):
                continue
            # Of the name only its last parts are taken, so that no entry can be written anywhere else.
            target = folder.joinpath(*_kept(entry.filename))
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened.open(entry) as source, target.open("wb") as written:
                while block := source.read(1 << 20):
                    left -= len(block)
                    if left < 0:
                        raise BundleError(f"'{archive}' holds more than {MOST_BYTES >> 30} GB. Give a model alone.")
                    written.write(block)
    return folder


def _names(archive: Path) -> list[str]:
    with zipfile.ZipFile(archive) as opened:
        return opened.namelist()


def _wanted(name: str) -> str:
    """The last part of an entry's name, if it is a file that is read; else an empty text."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.endswith("/"):
        return ""
    last = parts[-1] if parts else ""
    if last in ("plans.json", "dataset.json") and len(parts) > 1:
        return last
    return last if last in CHECKPOINTS and len(parts) > 2 and parts[-2].startswith("fold_") else ""


def _kept(name: str) -> tuple[str, ...]:
    """Trained folder, perhaps fold, and file."""
    parts = PurePosixPath(name).parts
    return parts[-3:] if parts[-1] in CHECKPOINTS else parts[-2:]
