"""The time that a network runs: fast, in mixed precision if asked for, and what is raised around it in words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from ...contract.errors import CAMOverlayError, Cancelled, DeviceError, MethodError, root_cause
from .device import device_of
from .forward import is_out_of_memory
from .malloc import freed_memory_kept


@contextmanager
def running(network: nn.Module, amp: bool, doing: str) -> Iterator[None]:
    """For the time that the network runs: fast, in mixed precision if asked for, and what is raised around it in words.

    What the network itself raises comes with its own words (:func:`run_network`).

    Args:
        doing: who works with the network meanwhile, as the subject of a sentence.

    Raises:
        DeviceError: too little memory.
        MethodError: whatever works with the network failed.
    """
    device = device_of(network)
    try:
        with (
            freed_memory_kept(),
            torch.autocast(device.type, torch.float16 if device.type == "cuda" else torch.bfloat16, enabled=amp),
        ):
            yield
    except (CAMOverlayError, Cancelled):
        raise
    except Exception as error:
        cause = root_cause(error)
        if is_out_of_memory(cause):
            raise DeviceError(f"{str(device).upper()} has too little memory for this network on this input.") from error
        reason = (str(cause).strip().splitlines() or ["no reason given"])[0][:300].rstrip(". ")
        raise MethodError(
            f"{doing} failed on the network {type(network).__name__}: {type(cause).__name__}: {reason}. Choose another "
            "method or layer; the network alone runs."
        ) from error
