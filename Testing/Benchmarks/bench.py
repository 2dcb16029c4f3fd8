"""Where the time and the memory go, side by side with the peers: ``make bench``.

Every figure of a peer is measured in a fresh process of its own, one after the other, in rounds, so that no peer
profits from another's warm caches and all suffer alike from whatever else the machine does. After the rounds on an idle
machine come as many on a loaded one: beside a process for every core that multiplies matrices all the time. What is
reported are medians over the rounds with the best and the worst, ratios of the medians, and the targets that this
project has set itself. A peer that takes longer than a quarter of a minute is measured in the first round of each kind
only. Every round is written when it is through. Nothing here is a test.

    python Testing/Benchmarks/bench.py [--rounds 5] [--loaded 5] [--json output/bench.json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import long_peers
import nnunet_peers
import window_peers

ROOT = Path(__file__).resolve().parents[2]
INPUT = (1, 1, 128, 128, 96)
CT_SHAPE = (512, 512, 240)
RUNS, AT_LEAST = 2, 2.0
"""Runs a process makes after one to warm up, more of them until they have taken so many seconds; the best counts, as
the others were disturbed. What takes longer than :data:`LONG` seconds is run once: it is its own warm-up."""

LONG = 15.0


# What is measured. Each function prepares and returns what is to be timed. ------------------------------------------


def network(name: str):
    import torch
    from monai.networks.nets import DenseNet121, SegResNet

    torch.manual_seed(0)
    make = {
        "DenseNet121": lambda: DenseNet121(spatial_dims=3, in_channels=1, out_channels=3),
        "SegResNet": lambda: SegResNet(spatial_dims=3, in_channels=1, out_channels=3, init_filters=16),
    }[name]
    return make().eval(), torch.randn(INPUT, generator=torch.Generator().manual_seed(1))


LAYERS = {"DenseNet121": "class_layers.relu", "SegResNet": "down_layers.3"}
"""Where every peer explains: before pooling for the classifier, at its coarsest for SegResNet."""


def score(output):
    """Logit of class 1; for a segmentation its sum over all voxels."""
    return output[:, 1].sum()


def cam_forward(name: str) -> Callable[[], Any]:
    import torch

    model, image = network(name)

    def run():
        with torch.no_grad():
            return model(image)

    return run


def cam_forward_kept(name: str) -> Callable[[], Any]:
    """The same with freed memory kept, which is what CAMOverlay does while it computes, and nobody else here."""
    from CAMOverlayLib.engine.network.malloc import freed_memory_kept

    forward = cam_forward(name)

    def run():
        with freed_memory_kept():
            return forward()

    return run


def cam_ours(name: str) -> Callable[[], Any]:
    from CAMOverlayLib.engine.methods import find_method
    from CAMOverlayLib.engine.network.forward import forward_to_layers
    from CAMOverlayLib.engine.network.malloc import freed_memory_kept, large_blocks_returned

    model, image = network(name)
    layer, method = LAYERS[name], find_method("gradcam")

    def run():
        with freed_memory_kept():
            forward = forward_to_layers(model, image, [layer])
        with freed_memory_kept(), large_blocks_returned():  # two stages, as the pipeline has them
            gradient = forward.gradients(score(forward.output))[layer]
            return method.weigh(forward.activations[layer].detach(), gradient)

    return run


def cam_monai(name: str) -> Callable[[], Any]:
    import torch
    from monai.visualize import GradCAM

    model, image = network(name)
    cam = GradCAM(model, LAYERS[name])
    if name == "SegResNet":  # MONAI takes a class score a sample: one number here as well
        cam.nn_module.class_score = lambda logits, class_idx: logits[:, class_idx].sum()[None]

    def run():
        with torch.enable_grad():
            return cam.compute_map(image, class_idx=1)

    return run


def cam_captum(name: str) -> Callable[[], Any]:
    from captum.attr import LayerGradCam

    model, image = network(name)
    names = dict(model.named_modules())
    cam = LayerGradCam(lambda x: model(x).flatten(2).sum(2) if name == "SegResNet" else model(x), names[LAYERS[name]])
    return lambda: cam.attribute(image, target=1, relu_attributions=True)


def cam_torchcam(name: str) -> Callable[[], Any]:
    from torchcam.methods import GradCAM

    model, image = network(name)
    extractor = GradCAM(model, LAYERS[name], input_shape=INPUT[1:])

    def run():
        output = model(image)
        scores = output.flatten(2).sum(2) if name == "SegResNet" else output
        return extractor(1, scores)

    return run


def ct_file() -> Path:
    """A smooth random field as a 512×512×240 CT in LPS order, written once a benchmark."""
    return Path(os.environ["CAM_BENCH_FOLDER"]) / "ct.nii"


def write_ct() -> None:
    import numpy as np
    import torch

    from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti

    coarse = torch.randn((1, 1, 32, 32, 16), generator=torch.Generator().manual_seed(0))
    field = torch.nn.functional.interpolate(coarse, size=CT_SHAPE, mode="trilinear")[0, 0]
    affine = np.diag([-0.8, -0.8, 1.5, 1.0])
    affine[:3, 3] = (200, 200, -900)
    write_nifti(Volume(np.asfortranarray((field * 300).short().numpy()), affine, "ct"), ct_file())


CHAIN = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "$lambda x: x > -400"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [1.5, 1.5, 2.0]},
    {"_target_": "ScaleIntensityd", "keys": "image"},
    {"_target_": "Resized", "keys": "image", "spatial_size": list(INPUT[2:])},
]


def chain():
    from monai.bundle import ConfigParser

    return ConfigParser({"c": {"_target_": "Compose", "transforms": CHAIN}}).get_parsed_content("c")


def write_bundle() -> Path:
    import torch

    folder = Path(os.environ["CAM_BENCH_FOLDER"]) / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    definition = {"_target_": "DenseNet121", "spatial_dims": 3, "in_channels": 1, "out_channels": 3}
    config = {"network_def": definition, "preprocessing": {"_target_": "Compose", "transforms": CHAIN}}
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    torch.save(network("DenseNet121")[0].state_dict(), folder / "models" / "model.pt")
    return folder


def inverse_prepared():
    import torch

    from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing

    trace = trace_preprocessing(chain(), [ct_file()])
    trace.monitor.forget()
    return trace, torch.rand(4, 4, 3, generator=torch.Generator().manual_seed(0))


def inverse_ours(_: str) -> Callable[[], Any]:
    from CAMOverlayLib.engine.restore.affine import place_by_affine

    trace, heat = inverse_prepared()
    return lambda: place_by_affine(heat, trace)


def inverse_monai(_: str) -> Callable[[], Any]:
    from copy import deepcopy

    import torch
    from monai.data import MetaTensor
    from monai.transforms.utils import allow_missing_keys_mode

    trace, heat = inverse_prepared()
    image = trace.image

    def run():
        fine = torch.nn.functional.interpolate(heat[None, None], size=tuple(image.shape[1:]), mode="trilinear")[0]
        mapped = MetaTensor(fine, affine=image.affine, applied_operations=deepcopy(image.applied_operations))
        with allow_missing_keys_mode(trace.chain):
            return trace.chain.inverse({"image": mapped})["image"]

    return run


def job_ours(_: str) -> Callable[[], Any]:
    """From the exported array to the heatmap's array file, nothing kept from run to run."""
    explain_once, _ = job()
    return lambda: explain_once(None, 1)


def job_checked(_: str) -> Callable[[], Any]:
    """The same with the quick checks, which come with every map by default."""
    explain_once, _ = job()
    return lambda: explain_once(None, 1, "quick")


def job_second(_: str) -> Callable[[], Any]:
    """Another class of the same volume, in a process that has explained it before."""
    from CAMOverlayLib.engine.cache import Cache

    explain_once, _ = job()
    cache, classes = Cache(), [0]
    explain_once(cache, 0)

    def run():
        classes.append((classes[-1] + 1) % 3)
        return explain_once(cache, classes[-1])

    return run


def job():
    import nibabel
    import numpy as np

    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.contract.request import Request
    from CAMOverlayLib.engine.geometry.volume import save_array
    from CAMOverlayLib.engine.pipeline import explain

    folder = os.environ["CAM_BENCH_FOLDER"]
    image = nibabel.load(ct_file())
    exported = save_array(np.asarray(image.dataobj), image.affine, "ct", f"{folder}/exported-{os.getpid()}.npy")
    out = tempfile.mkdtemp(dir=folder)

    def explain_once(cache, target, checks="none"):  # no peer asks whether its map can be believed
        source = ModelSource(f"{folder}/bundle", trust=True)
        return explain(Request((exported,), source, out, target=target, checks=checks), cache=cache)

    return explain_once, exported


def job_monai(_: str) -> Callable[[], Any]:
    """The naive script: load, transforms, MONAI's GradCAM upsampled to the input, and Compose.inverse."""
    from copy import deepcopy

    import torch
    from monai.data import MetaTensor
    from monai.transforms.utils import allow_missing_keys_mode
    from monai.visualize import GradCAM

    def run():
        steps = chain()
        image = steps({"image": str(ct_file())})["image"]
        model, _ = network("DenseNet121")
        weights = torch.load(Path(os.environ["CAM_BENCH_FOLDER"]) / "bundle/models/model.pt", weights_only=True)
        model.load_state_dict(weights)
        heat = GradCAM(model, LAYERS["DenseNet121"])(image.as_tensor()[None], class_idx=1)[0]
        mapped = MetaTensor(heat.detach(), affine=image.affine, applied_operations=deepcopy(image.applied_operations))
        with allow_missing_keys_mode(steps):
            return steps.inverse({"image": mapped})["image"]

    return run


def run_process(*command: Any) -> None:
    """A command with all that belongs to it, from the start of its process to the end."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "CAMOverlay")}
    subprocess.run([sys.executable, *map(str, command)], check=True, capture_output=True, env=environment)


def asked_of(which: str) -> tuple[Path, Path, str]:
    """Volume, bundle and layer."""
    if which == "ct":
        return ct_file(), Path(os.environ["CAM_BENCH_FOLDER"]) / "bundle", LAYERS["DenseNet121"]
    from CAMOverlayLib.demo import DEMO_BUNDLE, DEMO_VOLUME

    return DEMO_VOLUME, DEMO_BUNDLE, "stage4"


def command_ours(which: str, *options: str) -> Callable[[], Any]:
    volume, bundle, layer = asked_of(which)
    out = tempfile.mkdtemp(dir=os.environ["CAM_BENCH_FOLDER"])
    asked = ["-m", "CAMOverlayLib", "explain", volume, "--bundle", bundle, "--trust", "--layer", layer, "--output", out]
    return lambda: run_process(*asked, *options)


def command_bare(which: str) -> Callable[[], Any]:
    """The heatmap's file alone, which is all that the script writes."""
    return command_ours(which, "--no-picture", "--no-scene", "--report", "none", "--checks", "none")


def command_monai(which: str) -> Callable[[], Any]:
    volume, bundle, layer = asked_of(which)
    out = Path(tempfile.mkdtemp(dir=os.environ["CAM_BENCH_FOLDER"])) / "heatmap.nii.gz"
    return lambda: run_process(ROOT / "Testing/Benchmarks/naive_script.py", volume, bundle, layer, out)


COMMANDS = {"cam-overlay explain": command_ours, "… the heatmap alone": command_bare, "naive script": command_monai}

PEERS = {
    "CAM, DenseNet121": (
        "DenseNet121",
        {
            "forward alone": cam_forward,
            "… memory kept": cam_forward_kept,
            "CAMOverlay": cam_ours,
            "MONAI": cam_monai,
            "Captum": cam_captum,
            "torchcam": cam_torchcam,
        },
    ),
    "CAM, SegResNet": (
        "SegResNet",
        {
            "forward alone": cam_forward,
            "… memory kept": cam_forward_kept,
            "CAMOverlay": cam_ours,
            "MONAI": cam_monai,
            "Captum": cam_captum,
            "torchcam": cam_torchcam,
        },
    ),
    "inverse, 512×512×240": ("", {"CAMOverlay": inverse_ours, "Compose.inverse": inverse_monai}),
    "whole job, 512×512×240": (
        "",
        {
            "CAMOverlay": job_ours,
            "… with quick checks": job_checked,
            "naive MONAI script": job_monai,
            "another class, warm": job_second,
        },
    ),
    "command, demo": ("demo", COMMANDS),
    "command, 512×512×240": ("ct", COMMANDS),
    "nnU-Net, 4 windows": (
        "",
        {
            "CAMOverlay, whole job": nnunet_peers.explanation,
            "… with quick checks": nnunet_peers.checked,
            "prediction alone": nnunet_peers.prediction,
        },
    ),
    "windows, UNet": ("", window_peers.WINDOWS),
    "occlusion of the demo": ("", long_peers.OCCLUSION),
    "SmoothGrad of the demo": ("", long_peers.SMOOTHGRAD),
}

TARGETS = [
    ("CAM, DenseNet121", "seconds", "CAMOverlay", "… memory kept", 1.0),
    ("CAM, SegResNet", "seconds", "CAMOverlay", "forward alone", 1.6),
    ("CAM, DenseNet121", "seconds", "CAMOverlay", "MONAI", 0.5),
    ("CAM, SegResNet", "seconds", "CAMOverlay", "MONAI", 0.5),
    ("CAM, DenseNet121", "megabytes", "CAMOverlay", "MONAI", 0.2),
    ("CAM, SegResNet", "megabytes", "CAMOverlay", "MONAI", 0.6),
    ("inverse, 512×512×240", "seconds", "CAMOverlay", "Compose.inverse", 0.15),
    ("inverse, 512×512×240", "megabytes", "CAMOverlay", "Compose.inverse", 0.35),
    ("whole job, 512×512×240", "seconds", "CAMOverlay", "naive MONAI script", 0.35),
    ("whole job, 512×512×240", "megabytes", "CAMOverlay", "naive MONAI script", 0.35),
    ("whole job, 512×512×240", "seconds", "another class, warm", "CAMOverlay", 0.1),
    ("whole job, 512×512×240", "seconds", "another class, warm", "naive MONAI script", 0.05),
    ("command, demo", "seconds", "cam-overlay explain", "naive script", 0.5),
    ("command, 512×512×240", "seconds", "cam-overlay explain", "naive script", 0.5),
    ("nnU-Net, 4 windows", "seconds", "CAMOverlay, whole job", "prediction alone", 2.2),
    ("windows, UNet", "seconds", "CAMOverlay", "prediction alone", 2.2),
]

SECONDS = [("occlusion of the demo", "CAMOverlay", 20.0), ("SmoothGrad of the demo", "CAMOverlay", 5.0)]
"""Targets in seconds on two cores."""


# How it is measured -------------------------------------------------------------------------------------------------


def measure(section: str, peer: str) -> dict[str, float]:
    """In this fresh process: the extra peak memory of one run, and the best time of some. Of a command, whose processes
    are not this one, the peak of the largest."""
    warnings.simplefilter("ignore")
    argument, peers = PEERS[section]
    run = peers[peer](argument)
    before = reset_peak()
    started = time.perf_counter()
    run()
    first = time.perf_counter() - started
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    megabytes = (children if section.startswith("command") else peak() - before) / 1024
    times = [first] if first > 4 else []
    while first <= LONG and (len(times) < RUNS or sum(times) < AT_LEAST):
        started = time.perf_counter()
        run()
        times.append(time.perf_counter() - started)
    return {"seconds": min(times), "megabytes": max(megabytes, 0.0)}


def reset_peak() -> int:
    """Resident memory in kB now, from which the peak counts anew."""
    import gc

    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def peak() -> int:
    return status("VmHWM")


def status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="on an idle machine")
    parser.add_argument("--loaded", type=int, default=5, help="rounds on a loaded one")
    parser.add_argument("--json", default="output/bench.json")
    parser.add_argument("--only", default="", help="sections whose name contains this")
    parser.add_argument("--peer", nargs=2, metavar=("SECTION", "PEER"), help="measure one peer in this process")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT / "CAMOverlay"), str(ROOT / "Testing")]
    if options.peer:
        print(json.dumps(measure(*options.peer)))
        return
    sections = {name: peers for name, (_, peers) in PEERS.items() if options.only in name}
    path = Path(options.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, Runs] = {}
    with tempfile.TemporaryDirectory(prefix="cam-bench-") as folder:
        os.environ["CAM_BENCH_FOLDER"] = folder
        write_ct()
        write_bundle()
        for kind, rounds, busy in (("idle", options.rounds, nullcontext()), ("loaded", options.loaded, load())):
            if not rounds:
                continue
            runs = found[kind] = {section: {peer: [] for peer in peers} for section, peers in sections.items()}
            with busy:
                for number in range(rounds):
                    one_round(runs, f"{kind}, round {number + 1}")
                    path.write_text(json.dumps({"medians": medians_of(found), "runs": found}, indent=1) + "\n")
    for kind, runs in found.items():
        print(f"\n===== {kind} machine")
        report(medians_of(found)[kind], runs)
    print(f"\nwritten: {path}")


Runs = dict[str, dict[str, list[dict[str, float]]]]
"""By section and peer: what each round measured."""


def one_round(runs: Runs, name: str) -> None:
    for section, peers in runs.items():
        for peer, before in peers.items():
            if before and before[0]["seconds"] > LONG:
                continue
            print(f"{name}: {section}, {peer}", file=sys.stderr, flush=True)
            command = [sys.executable, __file__, "--peer", section, peer]
            answer = subprocess.run(
                command, check=True, capture_output=True, text=True, env=environment_of(section, peer)
            )
            before.append(json.loads(answer.stdout.splitlines()[-1]))


def environment_of(section: str, peer: str) -> dict[str, str]:
    """Of what CAMOverlay's process does that process's, and of a forward pass with its memory policy; else this one."""
    from CAMOverlayLib.contract.quick_loading import short_waits
    from CAMOverlayLib.worker.interpreter import heap_settings

    others = ("forward alone", "MONAI", "Captum", "torchcam", "naive", "prediction alone", "Compose")
    if section.startswith("command") or peer.startswith(others):
        return dict(os.environ)
    with short_waits():
        return os.environ | {"GLIBC_TUNABLES": heap_settings(os.environ)}


@contextmanager
def load() -> Iterator[None]:
    """Meanwhile every core has something else to do too."""
    work = "import numpy as np\na = np.random.rand(300, 300)\nwhile True: a @ a"
    single = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    others = [subprocess.Popen([sys.executable, "-c", work], env=single) for _ in range(os.cpu_count() or 1)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def medians_of(found: dict[str, Runs]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By kind of machine, section, peer and unit."""
    return {
        kind: {
            section: {
                peer: {unit: statistics.median(m[unit] for m in measured) for unit in ("seconds", "megabytes")}
                for peer, measured in peers.items()
            }
            for section, peers in runs.items()
        }
        for kind, runs in found.items()
    }


def report(medians: dict[str, dict[str, dict[str, float]]], found: Runs) -> None:
    for section, peers in medians.items():
        print(f"\n{section}: median (best to worst; rounds)")
        for peer, figures in peers.items():
            times, sizes = ([run[unit] for run in found[section][peer]] for unit in ("seconds", "megabytes"))
            seconds = f"{figures['seconds']:8.3f} s ({min(times):.3f} to {max(times):.3f}; {len(times)})"
            print(f"  {peer:22s} {seconds:36s} {figures['megabytes']:6.0f} MB ({min(sizes):.0f} to {max(sizes):.0f})")
    print("\ntargets")
    for section, unit, one, other, limit in TARGETS:
        if section in medians:
            ratio = medians[section][one][unit] / max(medians[section][other][unit], 1e-9)
            print(f"  {section:24s} {one} ÷ {other}, {unit:9s} {ratio:6.2f}  (≤ {limit:g}: {_verdict(ratio, limit)})")
    for section, one, limit in SECONDS:
        if section in medians:
            seconds = medians[section][one]["seconds"]
            print(f"  {section:24s} {one}, seconds {seconds:6.1f}  (≤ {limit:g}: {_verdict(seconds, limit)})")


def _verdict(value: float, limit: float) -> str:
    return "met" if value <= limit else "MISSED"


if __name__ == "__main__":
    main()
