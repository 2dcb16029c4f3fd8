"""The kinds of models there are, and what each says of itself before anything of it runs.

A kind is a function here that recognises and reads it, and a class in ``engine/bundle`` that evaluates it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import auto3dseg_files, bundle_files, nnunet_folder, nnunet_plans, totalsegmentator
from .errors import BundleError
from .model import THERE, ModelSource, ModelSummary


@dataclass(frozen=True)
class Kind:
    """One kind of model.

    Attributes:
        name: as a user reads it.
        evaluated_by: ``module:class``, seen from ``engine/bundle``, that reads it once it is trusted.
        recognises: whether a folder or file is one, told from names alone.
        summarise: what it says of itself.
        narrow: of a kind that shares its classes among several networks, the configurations' names with which the
            network is opened that has the named classes.
    """

    name: str
    evaluated_by: str
    recognises: Callable[[Path], bool]
    summarise: Callable[[Path, tuple[str, ...]], ModelSummary]
    narrow: Callable[[Path, tuple[str, ...], Sequence[str]], tuple[str, ...]] | None = None


KINDS = (
    Kind(
        totalsegmentator.KIND,
        ".nnunet.totalsegmentator:TotalSegmentatorModel",
        totalsegmentator.recognises,
        totalsegmentator.summarise,
        totalsegmentator.narrow,
    ),
    Kind(nnunet_plans.KIND, ".nnunet.model:NnunetModel", nnunet_folder.is_nnunet, nnunet_plans.summarise),
    Kind(
        auto3dseg_files.KIND,
        "auto3dseg:Auto3DSegModel",
        auto3dseg_files.recognises,
        auto3dseg_files.summarise,
    ),
    Kind(
        auto3dseg_files.FOLD_KIND,
        "auto3dseg:Auto3DSegFold",
        auto3dseg_files.recognises_fold,
        auto3dseg_files.summarise_fold,
    ),
    Kind(bundle_files.KIND, "bundle:Bundle", lambda path: True, bundle_files.summarise),
)
"""In the order in which they are asked. The last one is what everything else is tried as, and says best what is
missing."""


def model_path(path: str | os.PathLike[str]) -> Path:
    """The folder or file that a user named, links followed.

    Raises:
        BundleError: it cannot be a path.
    """
    if str(path).startswith(THERE):
        raise BundleError(
            f"'{str(path)[:200]}' is a model on another machine, and this one computes. Name a Python of that machine, "
            "ssh://user@host/path/to/environment, or a model that lies here."
        )
    try:
        return Path(path).expanduser().resolve()
    except (OSError, ValueError, RuntimeError) as error:  # too long, NUL, or the home of nobody
        raise BundleError(
            f"'{str(path)[:200]}' is not a folder: {error}. Give the root of a MONAI bundle, or another model."
        ) from error


def kind_of(path: Path) -> Kind:
    """What kind of model lies there."""
    return next(kind for kind in KINDS if kind.recognises(path))


def summarise(source: ModelSource) -> ModelSummary:
    """What a model says of itself.

    Raises:
        BundleError: there is no model that can be read.
    """
    path = model_path(source.path)
    return kind_of(path).summarise(path, source.configs)
