"""Where the answer comes from: a map for every piece of the volume, and the share of every input channel."""

from __future__ import annotations

from collections.abc import Sequence

from .inference import AttributionMap, Explained
from .methods import Method
from .methods.channel_evidence import ChannelEvidence
from .progress import Step, sketched, sub_progress


def attribute(method: Method, explained: Explained, nearest: bool, step: Step) -> list[AttributionMap | None]:
    """One map per piece; None where a piece holds nothing of the target.

    Args:
        nearest: one block per activation instead of interpolating between them.
        step: is told of the map before it is finished.
    """
    count = len(explained.inferences)
    maps = [
        one.attribute(method, explained.layers, explained.prediction, objective, sub_progress(step, n, count), nearest)
        if objective
        else None
        for n, (one, objective) in enumerate(zip(explained.inferences, explained.objectives, strict=True))
    ]
    if count == 1 and (only := maps[0]) is not None:
        sketched(step, lambda: only.values, only.steps)
    return maps


def channel_shares(explained: Explained, names: Sequence[Sequence[str]], step: Step) -> dict[str, float]:
    """Share of the evidence of every input channel, adding up to 1; nothing of a network with one channel.

    One more forward and backward pass down to the input of every piece, which is why it has to be asked for.

    Args:
        names: what the channels may be called; the first list that has a name of its own for each is taken.

    Raises:
        MethodError, NetworkError: there is no gradient at the input.
    """
    channels = explained.inferences[0].image.shape[1]
    if channels < 2:
        return {}
    evidence = ChannelEvidence()
    attribute(evidence.method, explained, False, step)
    numbered = [f"channel {n + 1}" for n in range(channels)]
    return evidence.shares(next((one for one in names if len(set(one)) == len(one) == channels), numbered))
