"""Train the demo bundle, measure it, and make the demo volume: a few minutes on two cores, the same result each time.

    make demo-bundle            # or: python Testing/Benchmarks/train_demo_bundle.py [--evaluate-only]

``configs/inference.json`` of the bundle is the one source for the network and for the preprocessing: training and
measuring build both from there, so the network meets in training what it meets later, files through the full chain.
This script writes ``models/model.pt``, the measured figures into ``configs/metadata.json``, and the demo volume.

Why it is built as it is. The network says which kind of lesion there is anywhere in the head, so its head takes the
*maximum* over the last activation grid: one place has to carry the evidence. With an average, the class leaks into
activations all over the volume and Grad-CAM points elsewhere. A cell of that grid is 4 input voxels (10 mm) wide and
sees 30 of them (75 mm). Instance normalisation does the same in training and in eval mode at any batch size. Kernels of
width 4 at stride 2 keep each cell centred on the voxels that it stands for; odd kernels would shift every heatmap by
one and a half voxels. The three volumes of one seed, which differ in the lesion alone, are always in the same batch:
their common part cancels in the gradient, which is what gets this network off the ground at all.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from monai.bundle import ConfigParser
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1]))

from Benchmarks.lesions import Scan, apply, make_phantom

RESOURCES = Path(__file__).parents[2] / "CAMOverlay" / "Resources"
BUNDLE = RESOURCES / "DemoBundle"
DEMO_VOLUME = RESOURCES / "DemoVolume" / "brain_with_lesion.nii.gz"

CLASSES: dict[str, str | None] = {"no lesion": None, "bright lesion": "bright", "dark lesion": "dark"}
"""Class name, in the order of the network's outputs → kind of lesion."""

LAST_SPATIAL_LAYER = "stage4"
STRIDE = 4  # input voxels from one activation of that layer to the next

# Ranges of seeds that never meet. Tests have their own.
TRAINING_SEEDS = range(10_000, 10_200)
FRESH_SEEDS = range(1_000, 1_100)
DEMO_SEED = 18  # off the middle along all three axes, so that a mirrored heatmap would show
DEMO_CLASS = "bright lesion"
# Oblique, anisotropic, and two axes point against RAS: a heatmap put back carelessly lands visibly elsewhere.
DEMO_SCAN = Scan(orientation="LPS", spacing=(1.2, 1.4, 2.0), tilt=(7.0, -5.0, 10.0))

EPOCHS = 14
HEADS_A_BATCH = 4
LEARNING_RATE = 4e-3


class Example(NamedTuple):
    """What the network sees of one phantom: 1×I×J×K, its RAS affine; and the truth, the lesion's centre in RAS mm."""

    image: torch.Tensor
    affine: np.ndarray
    label: int
    centre_ras: np.ndarray


Chain = Callable[[dict[str, str]], dict[str, torch.Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--evaluate-only", action="store_true", help="measure the weights that are there")
    options = parser.parse_args()

    torch.set_num_threads(2)  # sums depend on how the work is split
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)

    network, chain = read_bundle(BUNDLE)
    figures: dict[str, object] = {}
    started = time.perf_counter()
    if options.evaluate_only:
        network.load_state_dict(torch.load(BUNDLE / "models" / "model.pt", weights_only=True))
    else:
        training = through_chain(chain, TRAINING_SEEDS)
        print(f"{len(training)} training volumes after {time.perf_counter() - started:.0f} s", flush=True)
        train(network, training)
        (BUNDLE / "models").mkdir(exist_ok=True)
        torch.save(network.state_dict(), BUNDLE / "models" / "model.pt")
        make_demo_volume()
        figures["training_minutes"] = round((time.perf_counter() - started) / 60, 1)

    fresh = through_chain(chain, FRESH_SEEDS)
    figures.update(measure(network, fresh))
    if not options.evaluate_only:
        figures["accuracy_from_intensities_alone"] = guess_from_intensities(training, fresh)
        path = BUNDLE / "configs" / "metadata.json"
        metadata = json.loads(path.read_text())
        metadata["eval_metrics"] = {k: v for k, v in figures.items() if k != "training_minutes"}
        path.write_text(json.dumps(metadata, indent=4) + "\n")
    print(json.dumps(figures, indent=4))


def read_bundle(folder: Path) -> tuple[nn.Sequential, Chain]:
    """The bundle's network, as yet untrained, and its preprocessing."""
    config = ConfigParser()
    config.read_config(folder / "configs" / "inference.json")
    config["bundle_root"] = str(folder)
    return config.get_parsed_content("network_def"), config.get_parsed_content("preprocessing")


def through_chain(chain: Chain, seeds: Iterable[int]) -> list[Example]:
    """Each class of each seed as the network sees it, written to a file and read by the bundle's own chain."""
    examples = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phantom.nii"
        for seed in seeds:
            for label, kind in enumerate(CLASSES.values()):
                phantom = make_phantom(seed, kind)
                phantom.save(path)
                image = chain({"image": str(path)})["image"]
                examples.append(Example(image.as_tensor(), image.affine.numpy(), label, phantom.centre_ras))
    return examples


def train(network: nn.Sequential, examples: list[Example], epochs: int = EPOCHS) -> None:
    """Cross-entropy on the class alone; nothing tells the network where the lesion is."""
    inputs = torch.stack([example.image for example in examples])
    labels = torch.tensor([example.label for example in examples])
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)
    classes = len(CLASSES)
    heads = len(inputs) // classes  # the volumes of one head follow each other
    steps = epochs * math.ceil(heads / HEADS_A_BATCH)
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps)
    network.train()
    for epoch in range(epochs):
        started, losses = time.perf_counter(), []
        for chosen in torch.randperm(heads).split(HEADS_A_BATCH):
            batch = (chosen[:, None] * classes + torch.arange(classes)).flatten()
            mirrored = [axis for axis in (2, 3, 4) if torch.rand(()) < 0.5]
            loss = functional.cross_entropy(network(inputs[batch].flip(mirrored)), labels[batch])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, {time.perf_counter() - started:.0f} s", flush=True)
    network.eval()


def gradcam(network: nn.Sequential, image: torch.Tensor) -> tuple[int, np.ndarray]:
    """The predicted class, and plain Grad-CAM for it at the last spatial layer, on the network's grid (I×J×K).

    Written out here rather than taken from the engine: the training must not depend on what it is meant to test.
    """
    split = [name for name, _ in network.named_children()].index(LAST_SPATIAL_LAYER) + 1
    activations = network[:split](image[None])
    outputs = network[split:](activations)
    predicted = int(outputs.argmax())
    (gradients,) = torch.autograd.grad(outputs[0, predicted], activations)
    weights = gradients.mean(dim=(2, 3, 4), keepdim=True)
    heatmap = torch.relu((weights * activations).sum(dim=1, keepdim=True))
    heatmap = functional.interpolate(heatmap, image.shape[1:], mode="trilinear", align_corners=False)
    return predicted, heatmap[0, 0].detach().numpy()


def measure(network: nn.Sequential, examples: list[Example]) -> dict[str, object]:
    """Accuracy in eval mode on files through the full chain, and how far Grad-CAM's peak is from the lesion in mm."""
    network.eval()
    correct: dict[str, list[bool]] = {name: [] for name in CLASSES}
    distances: dict[str, list[float]] = {name: [] for name, kind in CLASSES.items() if kind}
    for image, affine, label, centre_ras in examples:
        name = list(CLASSES)[label]
        predicted, heatmap = gradcam(network, image)
        correct[name].append(predicted == label)
        if CLASSES[name] and predicted == label:
            peak = np.unravel_index(heatmap.argmax(), heatmap.shape)
            distances[name].append(float(np.linalg.norm(apply(affine, peak) - centre_ras)))
    cell_mm = np.mean([np.linalg.norm(e.affine[:3, :3], axis=0) * STRIDE for e in examples], axis=0)
    return {
        "fresh_volumes": sum(map(len, correct.values())),
        "accuracy": {name: round(float(np.mean(hits)), 3) for name, hits in correct.items()},
        "activation_cell_mm": [round(float(mm), 1) for mm in cell_mm],
        "gradcam_layer": LAST_SPATIAL_LAYER,
        "gradcam_peak_to_lesion_mm": {
            name: {
                "volumes": len(mm),
                "median": round(float(np.median(mm)), 1),
                "percentile_90": round(float(np.percentile(mm, 90)), 1),
                "largest": round(max(mm), 1),
                "within_15_mm": round(float(np.mean(np.array(mm) <= 15)), 3),
            }
            for name, mm in distances.items()
            if mm
        },
    }


def guess_from_intensities(training: list[Example], fresh: list[Example]) -> dict[str, float]:
    """How often the class can be told without looking at any place, from the intensities of the whole volume.

    ``overall`` knows the mean, spread and median of what the network sees, ``histogram`` also 14 further percentiles
    down to the single darkest and brightest voxels. One in three is chance.
    """
    from sklearn.linear_model import LogisticRegression  # comes with nilearn
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def statistics(examples: list[Example], wanted: list[float]) -> np.ndarray:
        is_2d = np.stack([example.image.numpy().ravel() for example in examples])
        return np.column_stack([is_2d.mean(axis=1), is_2d.std(axis=1), np.percentile(is_2d, wanted, axis=1).T])

    def accuracy(wanted: list[float]) -> float:
        guess = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
        guess.fit(statistics(training, wanted), [e.label for e in training])
        return round(float(guess.score(statistics(fresh, wanted), [e.label for e in fresh])), 3)

    tail = [0, 0.05, 0.1, 0.5, 1, 5, 25]
    return {"overall": accuracy([50]), "histogram": accuracy([*tail, 50, *(100 - p for p in tail)])}


def make_demo_volume() -> None:
    """The volume of ``cam-overlay demo``, and beside it the truth about it."""
    phantom = make_phantom(DEMO_SEED, CLASSES[DEMO_CLASS], DEMO_SCAN)
    DEMO_VOLUME.parent.mkdir(parents=True, exist_ok=True)
    phantom.save(DEMO_VOLUME)
    truth = {
        "class": DEMO_CLASS,
        "centre_ras_mm": [round(float(x), 3) for x in phantom.centre_ras],
        "radius_mm": round(phantom.radius_mm, 3),
        "seed": phantom.seed,
    }
    DEMO_VOLUME.with_name("brain_with_lesion.json").write_text(json.dumps(truth, indent=4) + "\n")


if __name__ == "__main__":
    main()
