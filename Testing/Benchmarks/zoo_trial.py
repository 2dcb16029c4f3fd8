"""Every bundle in a folder, explained with random weights where it has none: which work, which are refused and why.

    python Testing/Benchmarks/zoo_trial.py FOLDER --volume CT.nii.gz --picture photo.png [--only NAME …] [--size 96]

FOLDER holds bundle folders, such as ``models`` of a clone of the MONAI Model Zoo. They are copied and stay as they are.
Each bundle runs in a process of its own, trusted, on a block of the volume (or the picture, where its network takes
those), as often as the network has channels. The table says *right* (a heatmap that is finite, on the volume's grid and
not zero), *refused* with the sentence, or *wrong* with what happened.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIBRARY = Path(__file__).resolve().parents[2] / "CAMOverlay"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of bundle folders")
    parser.add_argument("--volume", type=Path, help="a NIfTI volume, of which a block from the middle is taken")
    parser.add_argument(
        "--picture", type=Path, help="a NIfTI volume whose middle slice 2-D networks get (default: --volume)"
    )
    parser.add_argument("--only", nargs="*", default=[], help="names of bundles")
    parser.add_argument("--size", type=int, default=96, help="voxels of the block along each axis")
    parser.add_argument("--timeout", type=float, default=600, help="seconds per bundle")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(explain_one(Path(options.one), options)))
        return 0
    bundles = sorted(
        p for p in options.folder.iterdir() if (p / "configs").is_dir() and (not options.only or p.name in options.only)
    )
    if not bundles:
        parser.error(f"'{options.folder}' holds no bundle folders.")
    if options.volume is None:
        parser.error("Give a volume (--volume FILE.nii.gz).")
    count: dict[str, int] = {}
    for bundle in bundles:
        begun = time.monotonic()
        verdict, words = in_a_process(bundle, options)
        count[verdict] = count.get(verdict, 0) + 1
        print(f"| {bundle.name} | {verdict} | {time.monotonic() - begun:.0f} s | {words} |", flush=True)
    print(", ".join(f"{number} {verdict}" for verdict, number in sorted(count.items())))
    return 0


def in_a_process(bundle: Path, options: argparse.Namespace) -> tuple[str, str]:
    command = [
        sys.executable,
        __file__,
        str(options.folder),
        "--one",
        str(bundle),
        "--volume",
        str(options.volume),
        "--size",
        str(options.size),
    ]
    command += ["--picture", str(options.picture)] if options.picture else []
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.timeout)
    except subprocess.TimeoutExpired:
        return "wrong", f"longer than {options.timeout:.0f} s"
    try:
        verdict, words = json.loads(done.stdout.splitlines()[-1])
        return verdict, words
    except (ValueError, IndexError):
        return "wrong", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def explain_one(source: Path, options: argparse.Namespace) -> tuple[str, str]:
    sys.path.insert(0, str(LIBRARY))
    import nibabel
    import numpy as np

    from CAMOverlayLib.contract.errors import CAMOverlayError
    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.contract.request import Request
    from CAMOverlayLib.contract.target import VolumeFile
    from CAMOverlayLib.engine.bundle.bundle import Bundle
    from CAMOverlayLib.engine.pipeline import explain

    with tempfile.TemporaryDirectory() as scratch:
        folder, given_one = Path(scratch) / source.name, ""
        shutil.copytree(source, folder)
        try:
            with_weights(folder)
            bundle = Bundle(ModelSource(str(folder), trust=True))
            is_2d = len(bundle.info.spatial_shape) == 2
            image = nibabel.load(options.picture if is_2d and options.picture else options.volume)
            block = tuple(
                slice(max(0, (n - options.size) // 2), max(0, (n - options.size) // 2) + options.size)
                for n in image.shape[:3]
            )
            if is_2d:
                block = (slice(None), slice(None), slice(image.shape[2] // 2, image.shape[2] // 2 + 1))
            image = image.slicer[block]
            array = np.asarray(image.dataobj)
            if is_coloured(bundle):
                array = np.stack([np.interp(array, (array.min(), array.max()), (0, 255)).astype(np.uint8)] * 3, axis=-1)
            np.save(Path(scratch) / "volume.npy", np.asfortranarray(array))
            file = VolumeFile(str(Path(scratch) / "volume.npy"), tuple(map(tuple, image.affine.tolist())), "volume")
            np.save(
                Path(scratch) / "mask.npy",
                np.asfortranarray((np.asarray(image.dataobj) > np.mean(image.dataobj)).astype(np.uint8)),
            )
            mask = VolumeFile(str(Path(scratch) / "mask.npy"), file.affine, "mask")
            files = (file,) * files_of(bundle)
            if is_coloured(bundle):
                files = (file, *[mask] * (len(files) - 1))
            output = Path(scratch) / "out"
            output.mkdir()
            for number in sorted({1, len(files)}):  # one image first; as many as its chain loads or it has channels
                try:
                    result = explain(Request(files[:number], ModelSource(str(folder), trust=True), str(output)))
                    break
                except CAMOverlayError as error:
                    if number == len(files):
                        raise
                    given_one = f"; one file: {error}"
        except CAMOverlayError as error:
            return "refused", f"{type(error).__name__}: {error}{given_one}"
        except Exception as error:  # this is what the trial looks for
            return "wrong", f"{type(error).__name__}: {error}"
        heat, zero = np.load(result.heatmap.path), ""
        # With random weights Grad-CAM may find nothing that speaks for a class; then another class, then plain
        # gradients.
        others = [
            {"target": index} for index in range(min(4, len(result.prediction.classes))) if index != result.target.index
        ]
        for options_ in [*others, {"method": "saliency"}]:
            if heat.any():
                break
            zero += f"; no evidence for {result.target.name} by {result.method}"
            result = explain(Request(files[:number], ModelSource(str(folder), trust=True), str(output), **options_))
            heat = np.load(result.heatmap.path)
        said = f"{result.layer}, {result.target.name}, {result.prediction.activation}, {result.placement.verdict}, max {heat.max():.2f}"  # noqa: E501
        said += f", {len(result.inputs)} files" * (len(result.inputs) > 1) + f", {result.applied}" * bool(
            result.applied
        )
        said += f"; {' '.join(result.warnings)}" * bool(result.warnings) + zero + given_one
        good = heat.shape == image.shape[:3] and np.isfinite(heat).all() and heat.max() > 0
        return ("right" if good else "wrong"), said


def files_of(bundle: Any) -> int:
    """Volumes that a bundle wants: one per key that its chain loads, else one per channel unless they are colours."""
    from CAMOverlayLib.engine.preprocessing.trace import _flat, _input_keys

    keys = _input_keys(tuple(_flat(bundle.preprocessing())))
    channels = bundle.info.channels or 1
    return max(len(keys), 1 if is_coloured(bundle) else channels)


def is_coloured(bundle: Any) -> bool:
    """The network takes a picture in colours, as its metadata names or counts its channels."""
    names = {name.casefold() for name in bundle.info.channel_names}
    return bool({"r", "g", "b", "red", "green", "blue"} & names) or (
        len(bundle.info.spatial_shape) == 2 and bundle.info.channels == 3
    )


def with_weights(folder: Path) -> None:
    """Random weights, and random architectures where a definition loads one, for what the folder lacks."""
    import torch

    from CAMOverlayLib.contract.model import ModelSource
    from CAMOverlayLib.engine.bundle.bundle import Bundle

    (folder / "models").mkdir(exist_ok=True)
    bundle = Bundle(ModelSource(str(folder), trust=True))
    texts = json.dumps(bundle._parser.config, default=str)
    if "arch_code_a" in texts:
        space = bundle._parser.config["dints_space"]
        blocks, depths = int(space["num_blocks"]), int(space["num_depths"])
        path = folder / Path(str(bundle._evaluate("arch_ckpt_path")))
        if not path.is_file():
            import numpy as np

            ones = np.ones((blocks, 3 * depths - 2), dtype=int)
            torch.save(
                {"arch_code_a": ones, "arch_code_c": ones, "node_a": np.ones((blocks + 1, depths), dtype=int)}, path
            )
        bundle = Bundle(ModelSource(str(folder), trust=True))
    if not bundle.weights_file().is_file():
        bundle.require_explainable()
        torch.manual_seed(0)
        weights = bundle.weights_file()
        if not weights.is_relative_to(folder):
            weights = folder / "models" / "model.pt"
        from CAMOverlayLib.engine.bundle.compat import without_download

        with without_download():
            network = bundle.bare_network()
        for parameter in network.parameters():  # a last layer that begins with zeros would hide everything before it
            if parameter.ndim > 1 and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.02)
        weights.parent.mkdir(parents=True, exist_ok=True)
        torch.save(network.state_dict(), weights)


if __name__ == "__main__":
    sys.exit(main())
