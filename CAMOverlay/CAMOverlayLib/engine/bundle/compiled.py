"""Networks that come as a program: TorchScript (``.ts``) and exported programs (``.pt2``).

Nothing inside them can be reached, neither activations nor gradients at a layer. What needs only what goes in and what
comes out works all the same: saliency, SmoothGrad, integrated gradients, occlusion.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from ...contract.errors import MethodError, WeightsError

SUFFIXES = (".ts", ".pt2")


class Exported(nn.Module):
    """An exported program as a module. It has one mode only, and says so with an error, which nobody is told here."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        self._inside = (program.module(),)  # in a tuple, so that eval() does not descend into it

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._inside[0](image)

    def named_parameters(self, *arguments, **options) -> Iterator[tuple[str, nn.Parameter]]:
        return self._inside[0].named_parameters(*arguments, **options)


def load_compiled(path: Path, device: torch.device) -> nn.Module:
    """The program in a file as a module on a device.

    Raises:
        WeightsError: it cannot be read.
    """
    try:
        if path.suffix == ".ts":
            return torch.jit.load(str(path), map_location=device).eval()
        program = torch.export.load(str(path))
        if device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, device)
        return Exported(program)
    except Exception as error:  # torch raises many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        kind = "TorchScript" if path.suffix == ".ts" else "an exported program"
        raise WeightsError(f"'{path}' cannot be read as {kind}: {reason} Save it again with this torch.") from error


def is_compiled(network: nn.Module) -> bool:
    return isinstance(network, (torch.jit.ScriptModule, Exported))


def refuse_layers(method: str) -> MethodError:
    """The error for a method that looks at layers, of a network that has none to look at."""
    return MethodError(
        f"{method} looks at a layer inside the network, and this one is compiled (TorchScript or an exported program), "
        "so that nothing inside can be reached. Use saliency, smoothgrad, integratedgradients or occlusion, or explain "
        "the network's own code with its state_dict."
    )
