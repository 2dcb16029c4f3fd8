"""The cases that Quantus has answered: 2-D images, maps, masks and one small network. NumPy only, so that Quantus' own
environment and the tests read the same file.

>>> case = inputs()  # doctest: +SKIP
>>> case["image"].shape, case["map"].shape  # doctest: +SKIP
((6, 1, 16, 14), (6, 16, 14))
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

FIXTURES = Path(__file__).resolve().parent / "fixtures"

IMAGES, SHAPE, CLASSES = 6, (16, 14), 3
"""No axis longer than 16: up to there the places of ``removal.py`` are the pixels."""

FEATURES, KERNEL = 5, 3
"""Of the network: one convolution, ReLU, mean over all places, one linear layer."""

PERCENTAGES = (1, 3, 10, 30, 60)
"""Of ROAD."""

BINS = 13
"""Of the histogram whose entropy is taken: what Rice's rule gives for 16 × 14 values."""


def inputs() -> dict[str, np.ndarray]:
    """Everything that Quantus was given, drawn by chance, the same each time.

    ``image`` N×1×H×W (Quantus' ROAD takes one channel); ``map``, ``changed`` (three changed maps each: 3×N×H×W) and
    ``mask`` N×H×W; ``hole`` N×H×W bool (scattered, a block, a block at the border, a ring, a line, all but a few) in
    ``coloured`` N×3×H×W; the network's weights; ``parts`` (N×20×H×W bool) that are taken away for infidelity.
    """
    random = np.random.default_rng(2022)
    convolution, bias = random.normal(size=(FEATURES, 1, KERNEL, KERNEL)), random.normal(size=FEATURES) / 3
    linear = random.normal(size=(CLASSES, FEATURES)) * 3
    across = (IMAGES, *SHAPE)
    image = random.normal(size=(IMAGES, 1, *SHAPE)) + random.normal(size=(IMAGES, 1, *SHAPE)).cumsum(2).cumsum(3) / 5
    heat = np.abs(random.normal(size=across).cumsum(1))
    row, column = np.indices(SHAPE)
    away = np.hypot(row - 8, column - 6)
    hole = np.array(
        [
            random.random(SHAPE) < 0.2,
            (abs(row - 8) < 4) & (abs(column - 6) < 3),
            (row < 5) & (column > 9),
            (away > 3) & (away < 5.5),
            row == 7,
            random.random(SHAPE) > 0.05,
        ]
    )
    # Every other mask lies on the map's peak.
    peaks = [np.unravel_index(int(one.argmax()), SHAPE) for one in heat]
    centres = [peak if number % 2 else random.integers(3, 12, 2) for number, peak in enumerate(peaks)]
    return {
        "image": image,
        "map": heat,
        "changed": heat + random.normal(scale=0.3, size=(3, *across)),
        "mask": np.array([np.hypot(row - r, column - c) < 3.5 for r, c in centres]),
        "hole": hole,
        "coloured": random.normal(size=(IMAGES, 3, *SHAPE)),
        "convolution": convolution,
        "bias": bias,
        "linear": linear,
        "offset": -linear @ _features(image, convolution, bias),
        "parts": random.random((IMAGES, 20, *SHAPE)) < random.random((IMAGES, 20, 1, 1)),
    }


def _features(image: np.ndarray, convolution: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Mean over images and places: what the network's last layer is centred by, so that it sees every class."""
    padded = np.pad(image[:, 0], ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (KERNEL, KERNEL), (1, 2))
    responses = np.einsum("nhwij,fij->nfhw", windows, convolution[:, 0]) + bias[:, None, None]
    return np.maximum(responses, 0).mean((0, 2, 3))


def answers() -> dict[str, Any]:
    """What Quantus said: figures by name, an image each; of ROAD by percentage; the filled images as an array."""
    found = json.loads((FIXTURES / "answers.json").read_text(encoding="utf-8"))
    with np.load(FIXTURES / "imputed.npz") as file:
        return found | {"imputed": file["imputed"]}
