"""A network, its weights and its transforms, written as a MONAI bundle.

    model = ModelDescription("DenseNet121", {"spatial_dims": 3, "in_channels": 1, "out_channels": 2},
                             weights="best.pt", preprocessing="chain.yaml", classes=("healthy", "lesion"))
    write_bundle(model, "lesion-bundle")

What comes without a bundle is explained as a bundle, so that there is one way through the engine. Nothing of the model
is run here, and neither torch nor MONAI is needed: the files are put where a bundle has them.
"""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ... import __version__
from ...contract.bounded import read_values
from ...contract.bundle_files import code_of
from ...contract.bundle_metadata import MOST
from ...contract.errors import BundleError, OutputError, reason
from ...contract.model import Code
from ...contract.plain_parts import needs_trust
from ...contract.whole_files import hidden_folder, move_all
from .chain_file import read_chain, with_files
from .description import DEFAULT_CHAIN, ModelDescription
from .scripts import Scripts

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json"


def write_bundle(
    model: ModelDescription,
    folder: Path | str,
    finish: Callable[[Path], None] = lambda folder: None,
    link: bool = False,
) -> Path:
    """Write a model as a bundle, which is there as a whole in the end, or not at all.

    Args:
        model: what to write.
        folder: the bundle's root; it must not hold anything yet.
        finish: called with the complete bundle before it appears at its place; what it raises leaves nothing behind.
        link: refer to the weights where they are instead of copying them, for a bundle that is soon thrown away.

    Returns:
        the bundle's root.

    Raises:
        BundleError: the description is not one of a model, or its files cannot go into a bundle.
        WeightsError: there are no such weights.
        OutputError: the folder holds something already, or cannot be written to.
    """
    model.check()
    scripts = Scripts()
    try:
        config, metadata = _config(model, scripts), _metadata(model)
    except RecursionError:  # arguments within arguments, files that refer to files
        raise BundleError(
            "The model's description is nested too deeply, or contains itself. Write out what is meant."
        ) from None
    with _whole_folder(Path(folder).expanduser()) as root:
        for name, content in (("inference", config), ("metadata", metadata)):
            _write(root / "configs" / f"{name}.json", _as_json(content, model))
        _write(root / "docs" / "README.md", _readme(model))
        scripts.write(root / "scripts")
        (root / "models").mkdir()
        if model.is_program:
            program = Path(model.network).expanduser()
            _place(program, root / "models" / f"model{program.suffix}", link)
        elif model.weights is not None:
            _place(Path(model.weights).expanduser(), root / "models" / model.weights_name, link)
        finish(root)
        for cache in list(root.rglob("__pycache__")):
            shutil.rmtree(cache)
    return Path(folder)


def code_to_trust(folder: Path) -> Code:
    """What a bundle written here holds that is not one of MONAI's own parts with plain values; see ``plain_parts``.

    That is: expressions, Python files, classes of other packages, arguments that name something to import, open or
    write, and compiled networks, whose program is not known.
    """
    config = read_values(folder / "configs" / "inference.json")
    components, expressions = needs_trust(config)
    held = code_of(folder, None)
    return Code(components, expressions, held.scripts, held.programs)


# configs/inference.json -----------------------------------------------------------------------------------------------


def _config(model: ModelDescription, scripts: Scripts) -> dict[str, Any]:
    """What the model says goes before what the file with its preprocessing says besides."""
    here = Path.cwd()
    arguments = scripts.gather(with_files(dict(model.arguments), here), here)
    if orders := [str(key) for key in arguments if str(key).startswith("_") or not str(key).isidentifier()]:
        raise BundleError(
            f"The network's arguments hold '{orders[0][:80]}', which is not the name of an argument. "
            "Give names and values; the class is what --network says."
        )
    network = (
        {} if model.is_program else {"network_def": {**arguments, "_target_": scripts.target(model.network, here)}}
    )
    config: dict[str, Any] = {
        "bundle_root": ".",
        **network,
        "preprocessing": {"_target_": "Compose", "transforms": list(DEFAULT_CHAIN)},
        "inferer": {"_target_": "SimpleInferer"},
    }
    if model.task != "regression":
        config["postprocessing"] = _postprocessing(model)
    if model.preprocessing is not None:
        path = Path(model.preprocessing).expanduser()
        config |= read_chain(path, scripts)
    if model.window:
        config["inferer"] = {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(model.window),
            "sw_batch_size": 1,
            "overlap": model.overlap,
        }
    if model.multilabel:
        config["postprocessing"] = _postprocessing(model)
    return config


def _postprocessing(model: ModelDescription) -> dict[str, Any]:
    multilabel = model.multilabel or model.output_count == 1
    activation = {"_target_": "Activationsd", "keys": "pred", "sigmoid" if multilabel else "softmax": True}
    return {"_target_": "Compose", "transforms": [activation]}


def _as_json(content: Any, model: ModelDescription) -> str:
    try:
        return json.dumps(content, indent=4) + "\n"
    except (TypeError, ValueError, RecursionError) as error:
        source = f"'{model.preprocessing}'" if model.preprocessing is not None else "The model's description"
        raise BundleError(
            f"{source} holds what JSON cannot say: {reason(error)}. Write it as text or numbers."
        ) from error


# configs/metadata.json and the README ---------------------------------------------------------------------------------


def _metadata(model: ModelDescription) -> dict[str, Any]:
    spatial = model.spatial_shape
    channels = model.channels or len(model.channel_names) or model.input_count
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": channels,
        "spatial_shape": spatial,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": bool(model.window),
        "channel_def": _channel_def(model.channel_names, channels, "image" if channels == 1 else "channel {}"),
    }
    number = model.task == "regression"
    outputs = model.output_count
    pred = {
        "type": model.task if number else "probabilities",
        "format": "values" if number else "segmentation" if model.task == "segmentation" else "classes",
        "num_channels": outputs,
        "spatial_shape": spatial if model.task == "segmentation" else [],
        "dtype": "float32",
        "value_range": [] if number else [0, 1],
        "is_patch_data": bool(model.window),
        "channel_def": _channel_def(model.classes, outputs, "output {}" if number else "class {}"),
    }
    known = [{k: v for k, v in part.items() if v is not None} for part in (image, pred)]
    return {
        "schema": SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "written by CAM Overlay"},
        "monai_version": _version("monai"),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {"nibabel": _version("nibabel")},
        "name": model.title,
        "task": model.task or "classes of a volume or of its voxels",
        "description": model.origin,
        "authors": "",
        "copyright": "",
        "network_data_format": {"inputs": {"image": known[0]}, "outputs": {"pred": known[1]}},
    }


def _channel_def(names: tuple[str, ...], count: int | None, otherwise: str) -> dict[str, str]:
    if (count or 0) > MOST:
        raise BundleError(
            f"The network has {count} channels or classes; at most {MOST} can be named. Correct its arguments."
        )
    names = names or tuple(otherwise.format(i) for i in range(count or 0))
    return {str(i): name for i, name in enumerate(names)}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _readme(model: ModelDescription) -> str:
    return (
        f"# {model.title}\n\n{model.origin}, written as a MONAI bundle by CAM Overlay {__version__}.\n\n"
        "To see where the network looks, from the folder that holds this bundle's:\n\n"
        "    cam-overlay explain VOLUME --bundle THIS_FOLDER --output results --trust\n\n"
        "With MONAI alone: `ConfigParser` on `configs/inference.json` gives `network_def`, `preprocessing` and\n"
        f"`inferer`; `models/{model.weights_name}` holds the weights. `configs/metadata.json` has room for authors and "
        "copyright.\n"
    )


# Files ----------------------------------------------------------------------------------------------------------------


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _place(source: Path, target: Path, link: bool) -> None:
    """A copy: training on may overwrite the original, and a bundle must stay what it is."""
    if link:
        try:
            return target.symlink_to(source.resolve())
        except OSError:  # not every system, nor every user, may make links
            pass
    shutil.copyfile(source, target)
    return None


@contextmanager
def _whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name once nothing has failed.

    Raises:
        OutputError: something has that name already, or nothing can be written there.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise OutputError(f"'{folder}' is already there and not an empty folder. Choose another one, or remove it.")
    try:
        with hidden_folder(folder.parent) as scratch:
            inner = scratch / "bundle"  # with the permissions of an ordinary folder, which a temporary one has not
            inner.mkdir()
            yield inner
            move_all([(inner, folder)])
    except OSError as error:
        raise OutputError(
            f"The bundle cannot be written to '{folder}': {error.strerror or error}. Choose another folder."
        ) from error
