"""The rows of the benchmark for methods that run the network many times: occlusion and SmoothGrad of the demo, whose
network gets 56×72×56 voxels, beside MONAI's and Captum's with the same boxes and the same number of copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

INDEX = 1
"""The class that every peer explains."""


def demo() -> tuple[Any, Any]:
    """The demo's network and its input."""
    import torch

    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME
    from CAMOverlayLib.engine.bundle.opened import open_model

    model = open_model(ModelSource(str(DEMO_BUNDLE), trust=True)).model(torch.device("cpu"))
    return model.network.eval(), model.chain({"image": str(DEMO_VOLUME)})["image"].as_tensor()[None]


def ours(method: str) -> Callable[[str], Callable[[], Any]]:
    def prepare(_: str) -> Callable[[], Any]:
        from CAMOverlayLib.engine.methods import Case, find_method
        from CAMOverlayLib.engine.network.forward import forward_to_layers
        from CAMOverlayLib.engine.network.malloc import freed_memory_kept
        from CAMOverlayLib.engine.target.objective import build_objective
        from CAMOverlayLib.engine.target.prediction import predict

        network, image = demo()
        forward = forward_to_layers(network, image, ())
        prediction = predict(forward.output, (), False)
        case = Case(network, image, forward, (), prediction, build_objective(forward.output, INDEX, prediction))

        def run():
            with freed_memory_kept():
                return find_method(method).compute(case)

        return run

    return prepare


def occlusion_monai(at_once: int) -> Callable[[str], Callable[[], Any]]:
    """So many images at once: sixteen are its default, one is what CAMOverlay had before. Faded towards 0, where ours
    fades towards the mean."""

    def prepare(_: str) -> Callable[[], Any]:
        import torch
        from monai.visualize import OcclusionSensitivity

        from CAMOverlayLib.engine.methods.occlusion import OVERLAP, Boxes

        network, image = demo()
        size = Boxes.over(tuple(image.shape[2:])).size
        method = OcclusionSensitivity(network, size, at_once, overlap=OVERLAP, activate=False, verbose=False)

        def run():
            with torch.no_grad():
                return method(image)

        return run

    return prepare


def smoothgrad_monai(_: str) -> Callable[[], Any]:
    from monai.visualize import SmoothGrad

    from CAMOverlayLib.engine.methods.smoothgrad import SAMPLES

    network, image = demo()
    method = SmoothGrad(network, n_samples=SAMPLES, verbose=False)
    return lambda: method(image.clone(), index=INDEX)


def smoothgrad_captum(_: str) -> Callable[[], Any]:
    """All copies at once, which is its default."""
    from captum.attr import NoiseTunnel, Saliency

    from CAMOverlayLib.engine.methods.smoothgrad import SAMPLES, SPREAD

    network, image = demo()
    spread = float(SPREAD * (image.max() - image.min()))
    method = NoiseTunnel(Saliency(network))
    return lambda: method.attribute(image, nt_type="smoothgrad_sq", nt_samples=SAMPLES, stdevs=spread, target=INDEX)


OCCLUSION = {
    "CAMOverlay": ours("occlusion"),
    "MONAI, 16 at once": occlusion_monai(16),
    "MONAI, one at a time": occlusion_monai(1),
}
SMOOTHGRAD = {"CAMOverlay": ours("smoothgrad"), "MONAI": smoothgrad_monai, "Captum": smoothgrad_captum}
