"""The networks of the localisation benchmark, and how they learn: some minutes each on a core, the same every time.

Families as people use them, MONAI's own where it has them, narrow and shallow so that they train quickly. All end in
global average pooling, as real classifiers do: the class may then be spread over activations anywhere in the volume,
which is what makes Grad-CAM point elsewhere, and what the demo network avoids with a maximum.

What gets them off the ground is what the demo network taught (``train_demo_bundle.py``): the three volumes of one head,
which differ in the lesion alone, are always in the same batch, so that their common part cancels in the gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets import DenseNet, ResNet
from torch import Tensor, nn
from torch.nn import functional

CLASSES: dict[str, str | None] = {"no lesion": None, "bright lesion": "bright", "dark lesion": "dark"}
"""Class name, in the order of the networks' outputs → kind of lesion."""

TEXTURE_CLASSES: dict[str, str | None] = {"no lesion": None, "grains": "grains", "stripes": "stripes"}
"""The same of networks that learn textures; as many, so that heads are built alike."""

HEADS_A_BATCH = 4
LEARNING_RATE = 4e-3

USUAL = {"norm": "batch", "act": "relu"}


def plain(*widths: int) -> nn.Module:
    """Convolutions with max pooling between them; a stem of stride 2."""
    layers: list[nn.Module] = [_stem(widths[0])]
    for before, after in itertools.pairwise(widths):
        layers += [nn.MaxPool3d(2), Convolution(3, before, after, kernel_size=3, **USUAL)]
    return nn.Sequential(*layers, Convolution(3, widths[-1], widths[-1], kernel_size=3, **USUAL), *_head(widths[-1]))


def resnet(early_pooling: bool) -> nn.Module:
    """ResNet-18's plan with one block a stage: stride 16, or 32 with max pooling behind the first convolution."""
    return ResNet(
        "basic",
        [1, 1, 1, 1],
        [16, 32, 48, 64],
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_size=5,
        conv1_t_stride=2,
        no_max_pool=not early_pooling,
        num_classes=len(CLASSES),
    )


def densenet(blocks: int) -> nn.Module:
    """Stride 2 ** (blocks + 1)."""
    return DenseNet(3, 1, len(CLASSES), init_features=16, growth_rate=8, block_config=(2,) * blocks)


def _stem(width: int) -> nn.Module:
    # A kernel of width 4 at stride 2 keeps each activation centred on the voxels that it stands for.
    return Convolution(3, 1, width, strides=2, kernel_size=4, padding=1, **USUAL)


def _head(width: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width, len(CLASSES))]


@dataclass(frozen=True)
class Recipe:
    """A network, the voxels of its input from one activation of the last map to the next, how long it trains, and on
    what."""

    make: Callable[[], nn.Module]
    stride: int
    epochs: int
    classes: Mapping[str, str | None] = field(default_factory=lambda: CLASSES)

    @property
    def task(self) -> str:
        return "texture" if self.classes is TEXTURE_CLASSES else "lesions"


RECIPES: dict[str, Recipe] = {
    "plain/8": Recipe(lambda: plain(16, 32, 48), 8, 12),
    "densenet/16": Recipe(lambda: densenet(3), 16, 7),
    "resnet/16": Recipe(lambda: resnet(early_pooling=False), 16, 8),
    "resnet/32": Recipe(lambda: resnet(early_pooling=True), 32, 11),
    "densenet/32": Recipe(lambda: densenet(4), 32, 8),
    "texture plain/8": Recipe(lambda: plain(16, 32, 48), 8, 45, TEXTURE_CLASSES),
}
"""Family and total stride → how to make and train it."""


def make(name: str, seed: int) -> nn.Module:
    """A network with random weights."""
    torch.manual_seed(seed)
    network = RECIPES[name].make()
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network


def train(network: nn.Module, epochs: int, images: Tensor) -> None:
    """Cross-entropy on the class alone; nothing tells the network where the lesion is. Leaves it in eval mode.

    Args:
        images: N×1×I×J×K; the volumes of one head, one a class, follow each other.
    """
    classes = len(CLASSES)
    heads = len(images) // classes
    labels = torch.arange(classes).repeat(heads)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    steps = epochs * math.ceil(heads / HEADS_A_BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    # Channels last is a half faster for some of the networks; it changes nothing but the order of sums.
    network.train().to(memory_format=torch.channels_last_3d)
    for _ in range(epochs):
        for chosen in torch.randperm(heads).split(HEADS_A_BATCH):
            batch = (chosen[:, None] * classes + torch.arange(classes)).flatten()
            mirrored = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
            loss = functional.cross_entropy(network(images[batch].flip(mirrored)), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
    network.eval().to(memory_format=torch.contiguous_format)


def accuracy(network: nn.Module, images: Tensor) -> float:
    """Share of volumes whose class is told right, in eval mode, one volume at a time as a user would.

    Args:
        images: as in :func:`train`.
    """
    network.eval()
    with torch.no_grad():
        right = [int(network(image[None]).argmax()) == n % len(CLASSES) for n, image in enumerate(images)]
    return sum(right) / len(right)
