"""Asks Quantus and writes what it says into ``fixtures/``; see README.md for the environment.

    python make_fixtures.py

The network, Grad-CAM and the numbering of classes are written here with torch alone, so that nothing of this project
takes part in the answers.
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import warnings

import numpy as np
import quantus
import torch
from cases import BINS, CLASSES, FIXTURES, PERCENTAGES, inputs
from quantus.functions.complexity_func import discrete_entropy
from quantus.functions.perturb_func import noisy_linear_imputation
from quantus.functions.similarity_func import correlation_spearman, difference

PLAIN = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}


def network(case: dict[str, np.ndarray]) -> torch.nn.Module:
    features, channels, kernel, _ = case["convolution"].shape
    made = torch.nn.Sequential(
        torch.nn.Conv2d(channels, features, kernel, padding=kernel // 2),
        torch.nn.ReLU(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(features, CLASSES),
    )
    with torch.no_grad():
        made[0].weight.copy_(torch.as_tensor(case["convolution"]))
        made[0].bias.copy_(torch.as_tensor(case["bias"]))
        made[4].weight.copy_(torch.as_tensor(case["linear"]))
        made[4].bias.copy_(torch.as_tensor(case["offset"]))
    return made.eval()


def grad_cam(model: torch.nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
    """N×1×H×W: the network's features, each weighted by the mean of its gradient, positive part."""
    features = model[1](model[0](torch.as_tensor(inputs, dtype=torch.float64))).detach().requires_grad_()
    scores = model[4](model[3](model[2](features)))
    picked = scores[torch.arange(len(scores)), torch.as_tensor(np.asarray(targets))].sum()
    gradient = torch.autograd.grad(picked, features)[0]
    return (features * gradient.mean((2, 3), keepdim=True)).sum(1, keepdim=True).relu().detach().numpy()


def imputed(case: dict[str, np.ndarray]) -> np.ndarray:
    """ROAD's linear imputation without its noise."""
    return np.array(
        [noisy_linear_imputation(x, np.flatnonzero(hole), noise=0.0) for x, hole in zip(case["coloured"], case["hole"])]
    )


def road(model: torch.nn.Module, case: dict[str, np.ndarray], classes: np.ndarray) -> dict[str, float]:
    metric = quantus.ROAD(percentages=list(PERCENTAGES), noise=0.0, **PLAIN)
    found = metric(
        model=model, x_batch=case["image"], y_batch=classes, a_batch=case["map"][:, None], device="cpu", batch_size=64
    )
    return {str(percentage): float(share) for percentage, share in found.items()}


def random_logit(model: torch.nn.Module, case: dict[str, np.ndarray], classes: np.ndarray) -> dict[str, list]:
    """An image at a time, with the class that Quantus draws: it is the same for every image of one seed."""
    metric = quantus.RandomLogit(similarity_func=correlation_spearman, num_classes=CLASSES, seed=42, **PLAIN)
    scores, others = [], []
    for x, y in zip(case["image"][:, None], classes[:, None]):
        drawn = []

        def explain(model, inputs, targets, drawn=drawn, **more):
            drawn.append(int(np.asarray(targets)[0]))
            return grad_cam(model, inputs, targets)

        scores += metric(
            model=model, x_batch=x, y_batch=y, a_batch=None, explain_func=explain, device="cpu", batch_size=1
        )
        others.append(drawn[-1])
    return {"scores": [float(one) for one in scores], "others": others}


def max_sensitivity(model: torch.nn.Module, case: dict[str, np.ndarray], classes: np.ndarray) -> list[float]:
    """Of maps that were changed beforehand: the formula alone."""
    found = []
    for number, x in enumerate(case["image"][:, None]):
        waiting = [case["map"][number], *case["changed"][:, number]]
        metric = quantus.MaxSensitivity(
            nr_samples=len(case["changed"]),
            similarity_func=difference,
            perturb_func=lambda arr, **_: arr + 1e-9,
            **PLAIN,
        )

        def explain(model, inputs, targets, waiting=waiting, **more):
            return waiting.pop(0)[None, None]

        found += metric(
            model=model, x_batch=x, y_batch=classes[number : number + 1], explain_func=explain, device="cpu"
        )
    return [float(one) for one in found]


def localisation(case: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Pointing game, relevance rank accuracy, relevance mass accuracy; the model is not asked."""
    metrics = {
        "pointing game": quantus.PointingGame(**PLAIN),
        "rank accuracy": quantus.RelevanceRankAccuracy(**PLAIN),
        "mass accuracy": quantus.RelevanceMassAccuracy(**PLAIN),
    }
    given = {"x_batch": case["image"], "a_batch": case["map"][:, None], "s_batch": case["mask"][:, None]}
    classes = np.zeros(len(case["image"]), int)
    return {
        name: [float(one) for one in metric(model=None, y_batch=classes, device="cpu", **given)]
        for name, metric in metrics.items()
    }


def infidelity(model: torch.nn.Module, case: dict[str, np.ndarray], classes: np.ndarray) -> list[float]:
    """Quantus' loss (the mean square) of its two sums, over parts that were drawn beforehand: the metric itself cuts
    patches, one after the other out of an image that it has already cut, which no other library does. The map is
    scaled as fits best, as the paper has it."""
    found = []
    for x, heat, parts, index in zip(case["image"], case["map"], case["parts"], classes):
        without = np.array([np.where(part, 0.0, x) for part in parts])
        with torch.no_grad():
            score = model(torch.as_tensor(np.array([x, *without])))[:, index].numpy()
        lost, foretold = score[0] - score[1:], (heat * parts).sum((1, 2)) * len(x)
        scale = (lost @ foretold) / (foretold @ foretold)
        found.append(float(quantus.functions.loss_func.mse(lost, scale * foretold)))
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)  # of what Quantus makes as well
    case = inputs()
    model = network(case)
    with torch.no_grad():
        classes = model(torch.as_tensor(case["image"])).argmax(1).numpy()
    said = {
        "classes": classes.tolist(),
        "road": road(model, case, classes),
        "random logit": random_logit(model, case, classes),
        "max sensitivity": max_sensitivity(model, case, classes),
        "infidelity": infidelity(model, case, classes),
        "spearman": [
            float(correlation_spearman(a.ravel(), b.ravel())) for a, b in zip(case["map"], case["changed"][0])
        ],
        "entropy": [float(discrete_entropy(one, one, n_bins=BINS)) for one in case["map"]],
        "localisation": localisation(case),
    }
    FIXTURES.mkdir(exist_ok=True)
    (FIXTURES / "answers.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    np.savez_compressed(FIXTURES / "imputed.npz", imputed=imputed(case).astype(np.float32))
    versions = {name: importlib.metadata.version(name) for name in ("quantus", "torch", "numpy", "scipy")}
    words = json.dumps({"python": platform.python_version()} | versions, indent=1) + "\n"
    (FIXTURES / "versions.json").write_text(words, encoding="utf-8")


if __name__ == "__main__":
    main()
