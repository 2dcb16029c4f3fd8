"""What a bundle needs or gives other than "an image in, classes out", and what to say of it.

A bundle that cannot be explained is refused before anything of it is computed, in a sentence that says what it would
take; a step that fails for want of something that the user could give says what that is.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

IMAGE_FORMATS = ("magnitude", "hounsfield", "image", "rgb", "grayscale", "greyscale")
NOISE = ("noise", "latent")
DETECTORS = ("retinanet", "detector", "detection")
CLICKS = re.compile(r"click|guidance|seedpoint|prompt", re.IGNORECASE)


def refusal(name: str, config: dict[str, Any], metadata: dict[str, Any]) -> str:
    """Why this bundle cannot be explained at all; empty where it can, as far as its files say."""
    inputs, outputs = (_described(metadata, kind) for kind in ("inputs", "outputs"))
    takes = [word for entry in inputs[:1] for word in _said(entry)]
    if any(word in NOISE for word in takes) or _generates(config):
        return (
            f"Bundle '{name}' generates images, it takes none: there is no volume that a heatmap could be put on. "
            "Choose a bundle that classifies or segments an image."
        )
    applied = [
        config.get("inferer"),
        (config.get("evaluator") or {}).get("inferer") if isinstance(config.get("evaluator"), dict) else None,
    ]
    if any(word in " ".join(_targets(applied)).casefold() for word in DETECTORS):
        return (
            f"Bundle '{name}' detects objects: its network answers with boxes, and an inferer of its own makes them "
            "from "
            "several maps, so there is no class score to explain. Choose a bundle that classifies or segments, or "
            "write a "
            "configuration whose network_def returns one score per class."
        )
    if any(word in ("points", "landmarks", "keypoints") for entry in outputs[:1] for word in _said(entry)):
        return (
            f"Bundle '{name}' finds points: its network answers with coordinates, not with classes, so there is no "
            "class "
            "score to explain. Choose a bundle that classifies or segments an image."
        )
    return ""


def answers_with_image(metadata: dict[str, Any]) -> bool:
    """The network makes an image (registration, denoising, synthesis): its outputs are values, not a yes or no."""
    return any(
        str(entry.get("type", "")).casefold() == "image" and str(entry.get("format", "")).casefold() in IMAGE_FORMATS
        for entry in _described(metadata, "outputs")[:1]
    )


LONGEST = 20_000
"""Characters at either end of an exception's message that are looked through."""


def what_went_wrong(cause: BaseException) -> str:
    """The kind of an error and the line of its message that says most, without the colours of a terminal."""
    if isinstance(cause, ModuleNotFoundError) and cause.name:
        return _install(cause.name)
    try:
        text = str(cause)
    except Exception:  # a bundle's exception may fail while it is printed  # noqa: BLE001
        text = ""
    # What is wrong stands at the beginning or at the end; a message of megabytes takes seconds to look through.
    text = without_colours(text if len(text) <= 2 * LONGEST else f"{text[:LONGEST]}\n{text[-LONGEST:]}")
    if named := re.search(
        r"No module named '([\w.]+)'|[Pp]ackage '?(\w+)'? is not installed|[Pp]lease install (\w+)", text
    ):
        return _install(named[1] or named[2] or named[3])
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if isinstance(cause, OSError) and re.search(r"urlopen|getaddrinfo|Name or service|HTTP", text):
        return f"it wants to download something, and there is no connection ({lines[0]})."
    # An expression's failure is told by its last line; torch's hints on files begin with what is wrong.
    said = next(
        (line for line in lines if re.search(r"\b(Error|Exception)\b|WeightsUnpickler", line)),
        lines[0] if lines else "",
    )
    said = re.split(r"(?<=[.!?])\s", said)[0] if len(said) > 300 else said
    return f"{type(cause).__name__}: {said}" if said else f"{type(cause).__name__}, without a reason."


def _install(module: str) -> str:
    package = module.partition(".")[0]
    return f"it needs the Python package '{package}', which is not installed here. Install it into the Python that computes."  # noqa: E501


def without_colours(text: str) -> str:
    """A message without the escape sequences that colour a terminal, and without other control characters."""
    text = re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07]*(?:\x07|\x1b\\\\)", "", text)
    return "".join(c for c in text if c == "\n" or c.isprintable())


def advice(transform: Any, cause: BaseException, image: Any, keys: Sequence[str], given: Sequence[str]) -> str:
    """What to do about a step of the preprocessing that failed.

    Args:
        image: what it was given, or None.
        keys: of the images that the chain loads, and ``given`` those that there are files for.
    """
    name = type(transform).__name__
    wanted = cause.args[0] if isinstance(cause, KeyError) and cause.args else None
    if isinstance(wanted, str) and wanted in keys and wanted not in given:
        number = list(keys).index(wanted) + 1
        what = (
            "a label mask on the same grid"
            if re.search("label|mask|seg", str(wanted))
            else "another volume on the same grid"
        )
        return f"The chain needs '{wanted}' as well: give {what} as file {number} of {len(keys)} ({', '.join(keys)})."
    if CLICKS.search(name):
        return (
            f"{name} needs the user's clicks or prompts, which an explanation has not. Give a configuration whose "
            "chain works without them."
        )
    if wanted is not None:
        return f"The chain needs '{wanted}', which none of its steps makes and no file stands for ({', '.join(map(str, keys)) or 'one image'})."  # noqa: E501
    if image is None and not _loads(transform):
        return (
            "The chain has no step that loads the image: the program around this bundle does that. Write a "
            "configuration "
            "that begins with LoadImaged."
        )
    indices = getattr(transform, "indices", None)
    if image is not None and isinstance(indices, (list, tuple)) and len(indices) > image.ndim:
        return (
            f"It takes images of {len(indices)} dimensions, as a series over time has them, and the volume has "
            f"{image.ndim}: "
            "one volume of such a series cannot be explained by itself."
        )
    return "Check that the volume is of the kind the bundle was trained on."


def needs_more(inferer: Any) -> tuple[str, ...]:
    """Names of what an inferer must be given besides an image and a network."""
    try:
        parameters = list(inspect.signature(type(inferer).__call__).parameters.values())[3:]
    except (TypeError, ValueError):
        return ()
    plain = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return tuple(p.name for p in parameters if p.kind in plain and p.default is inspect.Parameter.empty)


def _loads(transform: Any) -> bool:
    return "load" in type(transform).__name__.casefold()


def _described(metadata: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    data_format = metadata.get("network_data_format")
    entries = data_format.get(kind) if isinstance(data_format, dict) else None
    return [entry for entry in entries.values() if isinstance(entry, dict)] if isinstance(entries, dict) else []


def _said(entry: dict[str, Any]) -> list[str]:
    return [str(entry.get(key, "")).casefold() for key in ("type", "format")]


def _generates(config: dict[str, Any]) -> bool:
    """No image goes in, and what there is samples: a diffusion's scheduler and noise, or a decoder's latent code."""
    takes = any(key in config for key in ("preprocessing", "transforms_infer", "validate", "inference"))
    words = " ".join([*map(str, config), *_targets(config)]).casefold()
    return not takes and any(word in words for word in ("noise", "latent", "diffusion", "generator"))


def _targets(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in _targets(value)]
    return [target for value in node for target in _targets(value)] if isinstance(node, list) else []
