"""Where the network runs."""

from __future__ import annotations

import torch
from torch import nn

from ...contract.errors import DeviceError


def choose_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` as a device that exists; ``auto`` prefers a GPU.

    Raises:
        DeviceError: the name is unknown, or this computer has no such device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"Unknown device '{name}'. Use auto, cpu, cuda or mps.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise DeviceError(
            f"Device '{name}' does not exist: PyTorch {torch.__version__} finds {found} CUDA devices here. "
            "Use cpu, or install a CUDA build of PyTorch.",
            setting="device",
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"Device '{name}' does not exist on this computer. Use cpu.", setting="device")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"Device '{name}' is not supported. Use auto, cpu, cuda or mps.")
    return device


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are; the CPU for one without any."""
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
