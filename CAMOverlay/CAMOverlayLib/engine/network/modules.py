"""The modules of a network, without their names."""

from __future__ import annotations

from torch import nn


def modules_of(network: nn.Module) -> list[nn.Module]:
    """A network's modules, each once, in any order: ``network.modules()`` makes up a name for each as well."""
    found = {network: None}
    left = [network]
    while left:
        for module in left.pop()._modules.values():
            if module is not None and module not in found:
                found[module] = None
                left.append(module)
    return list(found)
