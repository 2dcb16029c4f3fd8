"""What is explained: a network, the chain that prepares its input, and how the one is applied to the other."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from monai.inferers import Inferer
from monai.transforms import Compose
from torch import nn

from ...contract.model import ModelInfo


@dataclass(frozen=True)
class Model:
    """A trusted source that was evaluated, or what somebody has in memory.

    Attributes:
        identity: two models of one identity are the same; what is kept between explanations hangs on it.
        device: where the network is.
        folder: where it came from, for the report.
        home: the folder whose modules its transforms and its network may import, if that is not ``folder``; empty where
            nothing there may be imported.
        info: its name, channels and classes.
        network: in eval mode, on its device.
        chain: from image files to the network's input.
        inferer: how the network is applied to that input; None for all of it at once.
        image_key: under which key the chain leaves the network's input, where the bundle says.
        independent: every output is a yes or no of its own (sigmoid).
        regression: the outputs are numbers in a unit of their own.
        others: further networks of the same layers (folds), whose answers and maps are averaged with the first one's.
        notes: what the user should know of how it was read.
        mirror_axes: spatial axes of the network's input along which its training mirrored images too; None where it
            does not say.
        hashed: waits for the SHA-256 of everything in it; None of what is in memory.
    """

    identity: Hashable
    device: str
    folder: str
    info: ModelInfo
    network: nn.Module
    chain: Compose
    inferer: Inferer | None = None
    image_key: str | None = None
    multilabel: bool = False
    regression: bool = False
    others: tuple[nn.Module, ...] = ()
    notes: tuple[str, ...] = ()
    home: str | None = None
    mirror_axes: tuple[int, ...] | None = None
    hashed: Callable[[], str] | None = None

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything in it; empty of what is in memory, or cannot be read."""
        return self.hashed() if self.hashed is not None else ""

    @property
    def key(self) -> Hashable:
        return (self.identity, self.device)

    @property
    def modules(self) -> str:
        """The folder whose modules it may import; empty where there is none."""
        return self.folder if self.home is None else self.home

    @property
    def runner(self) -> str:
        """Who runs the network, as the subject of a sentence."""
        return f"The inferer {type(self.inferer).__name__}" if self.inferer is not None else "The forward pass"

    @property
    def takes_pictures(self) -> bool:
        """A 2-D network that sees pictures: the volume is cut into slices before the chain. (An inferer that cuts what
        a 3-D chain has prepared is another thing.)"""
        if hasattr(self.inferer, "spatial_dim"):  # as SliceInferer has it
            return False
        return (spatial_ndim(self.network) or len(self.info.spatial_shape) or 3) == 2


def spatial_ndim(network: nn.Module) -> int | None:
    """2 or 3, by the kernels of the network's convolutions; None where it has none.

    Shapes of weights and not kinds of modules, so that compiled networks can be asked too.
    """
    most = max((p.ndim for p in network.parameters()), default=0)
    return most - 2 if most in (4, 5) else None


def is_regression(network: nn.Module, metadata: dict[str, Any]) -> bool:
    """The outputs are numbers, not classes: MONAI's ``Regressor``, or a bundle whose metadata calls them so."""
    from monai.networks.nets import Classifier, Regressor

    if isinstance(network, Regressor) and not isinstance(network, Classifier):
        return True
    form = metadata.get("network_data_format")
    outputs = form.get("outputs") if isinstance(form, dict) else None
    # Only the first output is explained; a second one may be a regression beside it, as HoVerNet's distances are.
    first = next(iter(outputs.values()), None) if isinstance(outputs, dict) else None
    return isinstance(first, dict) and any(
        str(first.get(key, "")).casefold().startswith("regress") for key in ("type", "format")
    )
