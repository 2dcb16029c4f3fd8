"""What the refined method could have been, and where Grad-CAM could be taken: what ``--choose`` compares."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.nn.functional import adaptive_avg_pool3d, avg_pool3d

from CAMOverlayLib.engine.methods import METHODS, Case
from CAMOverlayLib.engine.methods.gradcam import grad_cam
from CAMOverlayLib.engine.methods.hirescam import hires_cam
from CAMOverlayLib.engine.methods.layercam import layer_cam
from CAMOverlayLib.engine.methods.refined import fuse, standing_out, weighed_together
from CAMOverlayLib.engine.network.forward import INPUT
from CAMOverlayLib.engine.network.layers import LayerTable

Weigh = Callable[[Tensor, Tensor], Tensor]


def recipes(table: LayerTable) -> dict[str, tuple[tuple[str, ...], Callable[[Case], Tensor]]]:
    """Name → the layers that it needs and its map, for one network."""
    layers = METHODS["refined"].layers(table, table.find(None))
    stages = [name for name in layers if name != INPUT]
    found: dict[str, tuple[tuple[str, ...], Callable[[Case], Tensor]]] = {}
    for title, weigh in (("Grad-CAM", grad_cam), ("LayerCAM", layer_cam)):
        for steps, name in enumerate(reversed(stages)):
            where = "last layer" if steps == 0 else f"{steps} stage(s) before the last"
            found[f"{title}, {where}"] = ((name,), _at(name, weigh))
    found["Grad-CAM, last layer, to the 5th power"] = ((stages[-1],), lambda case: _at(stages[-1], grad_cam)(case) ** 5)

    def product(
        weigh: Weigh,
        image: Callable[[Tensor, Tensor, tuple[int, ...]], Tensor] | None = None,
        without: int = 0,
        deciding: int = 0,
        together: int = 1,
        power: float = 1.0,
        floor: float = 0.0,
    ) -> tuple[tuple[str, ...], Callable[[Case], Tensor]]:
        kept = stages[: len(stages) - without]

        def compute(case: Case) -> Tensor:
            gradients, activations = case.gradients(), case.forward.activations
            signed = kept[-deciding:] if deciding else []
            maps = [
                (_hires_standing if name in signed else weigh)(activations[name].detach(), gradients[name])
                for name in kept
            ]
            if together > 1:  # of the last layer, before what is negative is cut
                maps[-1] = _together(activations[kept[-1]].detach(), gradients[kept[-1]], together)
            if image is not None:
                maps.insert(0, image(activations[INPUT].detach(), gradients[INPUT], tuple(maps[0].shape)))
            if floor:  # no layer alone may rule a place out; the input, which comes first, still may
                maps = [maps[0], *(one + floor * one.max() for one in maps[1:])]
            return fuse(maps) ** power

        return layers, compute

    found |= {
        "HiResCAM of all stages": product(hires_cam),
        "LayerCAM of all stages": product(layer_cam),
        "sizes of all stages": product(_size),
        "LayerCAM of what stands out": product(_standing),
        "… and input": product(_standing, _averaged),
        **{
            f"… and input, the last {count} with their sign": product(_standing, _averaged, deciding=count)
            for count in (1, 2, 3)
        },
        **{
            f"… the last two with their sign, the last over {width}": product(
                _standing, _averaged, deciding=2, together=width
            )
            for width in (3, 5, 7, 9)
        },
        "… and input, finer": product(_standing, _smoothed),
        "… and input, finer, not smoothed": product(_standing, lambda x, g, _: _input(x, g)),
        "… and input, with its sign": product(_standing, _signed),
        "… and input, gradient alone": product(_standing, lambda x, g, shape: _onto(g.abs()[0].sum(0), shape)),
        **{
            f"… and input, not the last {words}": product(_standing, _averaged, without=count)
            for count, words in ((1, "stage"), (2, "two"))
            if count < len(stages)
        },
        "… and input, geometric mean": product(_standing, _averaged, power=1 / len(layers)),
        "HiResCAM and input": product(hires_cam, _averaged),
        "HiResCAM of what stands out and input": product(_hires_standing, _averaged),
        "HiResCAM of what stands out and input, with its sign": product(_hires_standing, _signed),
        "… and input, no layer below 0.03": product(_standing, _averaged, floor=0.03),
        "… and input, no layer below 0.1": product(_standing, _averaged, floor=0.1),
        "… and input, no layer below 0.3": product(_standing, _averaged, floor=0.3),
        "LayerCAM and input": product(layer_cam, _averaged),
        "sizes and input": product(_size, _averaged),
        "input alone": (layers, lambda case: _input(case.image, case.gradients()[INPUT])),
        "the refined method": (layers, METHODS["refined"].compute),
    }
    return found


def _at(name: str, weigh: Weigh) -> Callable[[Case], Tensor]:
    return lambda case: weigh(case.forward.activations[name].detach(), case.gradients()[name])


def _standing(activation: Tensor, gradient: Tensor) -> Tensor:
    return layer_cam(standing_out(activation), gradient)


def _hires_standing(activation: Tensor, gradient: Tensor) -> Tensor:
    return hires_cam(standing_out(activation), gradient)


def _together(activation: Tensor, gradient: Tensor, width: int) -> Tensor:
    return weighed_together((standing_out(activation) * gradient)[0].sum(0), width).relu()


def _size(activation: Tensor, gradient: Tensor) -> Tensor:
    return (standing_out(activation) * gradient)[0].abs().sum(0)


def _input(image: Tensor, gradient: Tensor) -> Tensor:
    return (standing_out(image) * gradient)[0].abs().sum(0)


def _onto(values: Tensor, shape: tuple[int, ...]) -> Tensor:
    return adaptive_avg_pool3d(values[None, None], shape)[0, 0]


def _averaged(image: Tensor, gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _onto(_input(image, gradient), shape)


def _signed(image: Tensor, gradient: Tensor, shape: tuple[int, ...]) -> Tensor:
    return _onto((standing_out(image) * gradient)[0].sum(0), shape).relu()


def _smoothed(image: Tensor, gradient: Tensor, _: tuple[int, ...]) -> Tensor:
    values = _input(image, gradient)[None, None]
    for _ in range(2):
        values = avg_pool3d(values, 3, stride=1, padding=1, count_include_pad=False)
    return values[0, 0]
