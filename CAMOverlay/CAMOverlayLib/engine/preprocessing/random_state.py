"""Transforms that draw at random: drawn the same way each time, and left as they were found.

An explanation is an answer to one question, so asking twice must give the same one. A bundle's draws begin at a fixed
seed; those of a chain in memory go on from the state that the caller left them in, on a copy. The global generators
begin at a fixed seed, and go on afterwards from where they were.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.transforms import Compose, Randomizable
from monai.transforms.traits import RandomizableTrait


def random_transforms(transforms: Sequence[Any]) -> list[Any]:
    """Those that draw, inner chains looked into. A plain ``Compose`` draws nothing itself; ``OneOf`` and its kind
    do."""
    found = []
    for transform in transforms:
        inner = random_transforms(transform.transforms) if isinstance(transform, Compose) else []
        draws = isinstance(transform, RandomizableTrait) and type(transform) is not Compose
        found += [*([transform] if draws else []), *inner]
    return found


def same_draws(chain: Compose, seed: int | None) -> Compose:
    """The chain, or a copy of one that draws: with its present state, or from a seed on."""
    if not random_transforms(chain.transforms):
        return chain
    copied = copy.deepcopy(chain)
    if seed is not None:
        copied.set_random_state(seed=seed)
    for transform in random_transforms(copied.transforms):
        # Without a state of its own a transform shares one with all others of the process.
        if isinstance(transform, Randomizable) and "R" not in vars(transform):
            transform.set_random_state(seed=0)
    return copied


@contextmanager
def generators_restored(seed: int) -> Iterator[None]:
    """The global generators from a seed on, and afterwards as they were."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            random.seed(seed)
            np.random.seed(seed)
            torch.default_generator.manual_seed(seed)  # the CPU's, which is the one that is restored
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def note(transforms: Sequence[Any]) -> tuple[str, ...]:
    """What the user should know of a chain that draws; nothing of one that does not."""
    names = dict.fromkeys(type(t).__name__ for t in random_transforms(transforms))
    if not names:
        return ()
    return (
        f"The preprocessing draws at random ({', '.join(names)}); the draws were fixed, so that asking again gives the "
        "same heatmap. Another draw may give another one: leave such transforms out for an explanation.",
    )
