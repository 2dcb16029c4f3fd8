"""The rows of the benchmark for sliding windows: what a map costs beside the prediction alone.

The network is MONAI's UNet in the size of the spleen bundle of the Model Zoo (five stages, 16 to 256 channels) with
random weights, in windows of 96³ with half of them shared. The target is predicted in every window, which is the most
that a map can cost. The prediction alone is what MONAI's inferer takes without gradients.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

SHAPE = (192, 144, 144)
WINDOW = (96, 96, 96)
LAYER = "model.1.submodule.1.submodule.1.submodule.1.submodule"


def _made() -> tuple[Any, Any, Any]:
    import torch
    from monai.inferers import SlidingWindowInferer
    from monai.networks.nets import UNet

    torch.manual_seed(0)
    network = UNet(3, 1, 2, (16, 32, 64, 128, 256), (2, 2, 2, 2), num_res_units=2, norm="batch").eval()
    image = torch.randn((1, 1, *SHAPE), generator=torch.Generator().manual_seed(1))
    return network, image, SlidingWindowInferer(WINDOW, sw_batch_size=1, overlap=0.5)


def prediction(_: str) -> Callable[[], Any]:
    import torch

    from CAMOverlayLib.engine.network.malloc import freed_memory_kept

    network, image, inferer = _made()

    def run() -> Any:
        with freed_memory_kept(), torch.no_grad():
            return inferer(image, network)

    return run


def explanation(_: str) -> Callable[[], Any]:
    """Prediction and map."""
    network, image, inferer = _made()
    return lambda: _explained(network, image, inferer, 1)[1]


def second_class(_: str) -> Callable[[], Any]:
    """The map of another class, after prediction and map of the first."""
    network, image, inferer = _made()
    applied, _ = _explained(network, image, inferer, 1)
    return lambda: _map_of(applied, 0)


def _explained(network: Any, image: Any, inferer: Any, target: int) -> tuple[Any, Any]:
    from CAMOverlayLib.engine.inference import SlidingWindowInference
    from CAMOverlayLib.engine.network.malloc import freed_memory_kept

    applied = SlidingWindowInference(network, image, inferer)
    with freed_memory_kept():
        applied.predict([LAYER], lambda *_: None)
    return applied, _map_of(applied, target)


def _map_of(applied: Any, target: int) -> Any:
    from CAMOverlayLib.engine.methods import find_method
    from CAMOverlayLib.engine.network.malloc import freed_memory_kept
    from CAMOverlayLib.engine.target.objective import build_objective
    from CAMOverlayLib.engine.target.prediction import predict

    with freed_memory_kept():
        output = applied.predict([LAYER], lambda *_: None)
        said = predict(output, (), False)
        objective = build_objective(output, target, said)
        return applied.attribute(find_method("gradcam"), [LAYER], said, objective, lambda *_: None)


WINDOWS = {"CAMOverlay": explanation, "another class, kept": second_class, "prediction alone": prediction}
