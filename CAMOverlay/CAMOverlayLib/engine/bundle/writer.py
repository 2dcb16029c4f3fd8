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
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ... import __version__
from ...contract.bounded import read_values
from ...contract.bundle_content import PROGRAMS, SAFETENSORS
from ...contract.bundle_files import Code, code_of
from ...contract.bundle_metadata import MOST
from ...contract.errors import BundleError, OutputError, WeightsError, reason
from ...contract.plain_parts import needs_trust
from .chain_file import read_chain, with_files
from .scripts import IN_FILE, Scripts

DEFAULT_CHAIN = (
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "EnsureTyped", "keys": "image"},
    {"_target_": "NormalizeIntensityd", "keys": "image", "channel_wise": True},
)
"""Where no chain is given. Spacing and size stay the volume's own: nothing says which ones the network knows."""

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20220324.json"

TASKS = ("", "classification", "segmentation", "regression")


@dataclass(frozen=True)
class ModelDescription:
    """A model that is not a bundle.

    Attributes:
        network: class of the network: one of MONAI's (``DenseNet121``), with its package (``my_package.nets.MyNet``),
            or in a Python file (``path/to/file.py:MyNet``); or a compiled one's (``.ts``, ``.pt2``), weights in it.
        arguments: of the network, as a configuration has them.
        weights: checkpoint file; None leaves the bundle without weights.
        preprocessing: YAML or JSON file with a list of transforms, a ``Compose``, or a key ``preprocessing`` beside
            others that it refers to, such as a bundle's configuration, of which ``inferer`` and ``postprocessing`` are
            taken too; None takes :data:`DEFAULT_CHAIN`.
        classes: names of the outputs in order; empty where they have none.
        channels: number of input channels, where the network's arguments do not say; or
        channel_names: their names in order.
        window: size of the sliding window; empty where the network takes the whole image.
        overlap: of neighbouring windows, as a share of the window.
        task: one of :data:`TASKS`; empty for classes, whether of the volume or of its voxels.
        multilabel: every output is a yes or no of its own (sigmoid).
        name: of the bundle; the network's class where empty.
    """

    network: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    weights: Path | str | None = None
    preprocessing: Path | str | None = None
    classes: tuple[str, ...] = ()
    channels: int | None = None
    channel_names: tuple[str, ...] = ()
    window: tuple[int, ...] = ()
    overlap: float = 0.25
    task: str = ""
    multilabel: bool = False
    name: str = ""

    @property
    def title(self) -> str:
        if self.name or not self.is_program:
            return self.name or re.split(r"[.:]", self.network)[-1]
        return Path(self.network).stem

    @property
    def weights_name(self) -> str:
        """The name of the weights in a bundle."""
        return f"model{SAFETENSORS}" if str(self.weights).endswith(SAFETENSORS) else "model.pt"

    @property
    def is_program(self) -> bool:
        return self.network.endswith(PROGRAMS)


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
    _check(model)
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


# The description ------------------------------------------------------------------------------------------------------


def _check(model: ModelDescription) -> None:
    dotted = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", model.network) and not model.network.endswith(".py")
    if model.is_program:
        if not os.path.isfile(os.path.expanduser(model.network)):
            raise WeightsError(f"The network '{model.network}' does not exist. Give the file of a compiled network.")
        if model.arguments or model.weights is not None:
            raise BundleError(f"'{model.network}' is network and weights in one. Leave arguments and weights out.")
    elif not dotted and not IN_FILE.fullmatch(model.network):
        raise BundleError(
            f"'{model.network}' does not name a network. Give one of MONAI's (DenseNet121), a class with its package "
            "(my_package.nets.MyNet), or one in a Python file (path/to/file.py:MyNet)."
        )
    if not isinstance(model.arguments, Mapping):
        raise BundleError(
            f"The network's arguments are a {type(model.arguments).__name__}, an object is needed, such as "
            '{"spatial_dims": 3, "in_channels": 1, "out_channels": 2}.'
        )
    if model.task not in TASKS:
        raise BundleError(f"There is no task '{model.task}'. Give one of {', '.join(filter(None, TASKS))}.")
    if model.weights is not None and not os.path.isfile(os.path.expanduser(model.weights)):
        raise WeightsError(f"The weights '{model.weights}' do not exist. Give the file with the network's weights.")
    if not all(isinstance(n, int) and n > 0 for n in model.window) or not 0 <= model.overlap < 1:
        raise BundleError(
            f"A window of {model.window} that overlaps by {model.overlap} cannot slide. "
            "Give its size in voxels, such as 96,96,96, and an overlap of 0 or more and less than 1."
        )
    _check_names("classes", "outputs", model.classes, _said(model, "out_channels", "num_classes", "classes"))
    _check_names("channels", "input channels", model.channel_names, _said(model, "in_channels", "n_input_channels"))


def _check_names(what: str, of: str, names: tuple[str, ...], count: int | None) -> None:
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BundleError(f"The {what} name '{twice[0]}' more than once. Give every one a name of its own.")
    if names and count is not None and len(names) != count:
        raise BundleError(
            f"{len(names)} {what} are named ({', '.join(names)}), but the network's arguments give it {count} {of}. "
            "Name as many as there are."
        )


def _said(model: ModelDescription, *keys: str) -> int | None:
    """A count that the arguments of one of MONAI's networks give; what another network's mean is not known."""
    if IN_FILE.fullmatch(model.network) or not (model.network.startswith("monai.") or "." not in model.network):
        return None
    return next((n for key in keys if _is_count(n := model.arguments.get(key))), None)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


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
    multilabel = model.multilabel or _outputs(model) == 1
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
    spatial = _spatial_shape(model)
    channels = model.channels or len(model.channel_names) or _inputs(model)
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
    outputs = _outputs(model)
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
        "description": _origin(model),
        "authors": "",
        "copyright": "",
        "network_data_format": {"inputs": {"image": known[0]}, "outputs": {"pred": known[1]}},
    }


def _inputs(model: ModelDescription) -> int | None:
    shape = model.arguments.get("in_shape")  # of MONAI's Regressor and its like: channels × spatial
    if isinstance(shape, (list, tuple)) and shape and _is_count(shape[0]):
        return shape[0]
    return _said(model, "in_channels", "n_input_channels")


def _outputs(model: ModelDescription) -> int | None:
    return len(model.classes) or _said(model, "out_channels", "num_classes", "classes")


def _spatial_shape(model: ModelDescription) -> list[int | str]:
    """The size that the arguments fix; otherwise a star for every axis, as far as they say how many there are."""
    arguments = model.arguments
    size, dimensions = arguments.get("img_size"), arguments.get("spatial_dims")
    if isinstance(arguments.get("in_shape"), (list, tuple)):
        size = arguments["in_shape"][1:]
    if isinstance(size, int) and isinstance(dimensions, int) and _is_count(size) and _is_count(dimensions):
        size = [size] * dimensions
    if not isinstance(size, (list, tuple)) or not all(map(_is_count, size)):
        size = model.window
    axes: list[int | str] = ["*"] * (dimensions if isinstance(dimensions, int) and _is_count(dimensions) else 0)
    return list(size) or axes


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


def _origin(model: ModelDescription) -> str:
    """What the bundle was made of, without the folders of the machine where that was."""
    weights = f"the weights {Path(model.weights).name}" if model.weights is not None else "no trained weights"
    given = model.preprocessing
    chain = f"the transforms of {Path(given).name}" if given is not None else "assumed transforms"
    network = f"{Path(m['file']).name}:{m['name']}" if (m := IN_FILE.fullmatch(model.network)) else model.network
    return f"{network} with {weights} and {chain}"


def _readme(model: ModelDescription) -> str:
    return (
        f"# {model.title}\n\n{_origin(model)}, written as a MONAI bundle by CAM Overlay {__version__}.\n\n"
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
    scratch = None
    try:
        existing = next(p for p in (folder.absolute().parent, *folder.absolute().parents) if p.exists())
        scratch = Path(tempfile.mkdtemp(prefix=".cam-overlay-", dir=existing))
        inner = scratch / "bundle"  # with the permissions of an ordinary folder, which a temporary one has not
        inner.mkdir()
        yield inner
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            folder.rmdir()
        os.replace(inner, folder)
    except OSError as error:
        raise OutputError(
            f"The bundle cannot be written to '{folder}': {error.strerror or error}. Choose another folder."
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
