"""The model on the command line: a bundle, or a network with its weights and transforms, which then becomes one.

What writes one is loaded only then: the process that computes starts the sooner.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import re
import shlex
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..contract.bounded import checked, read_values
from ..contract.bundle_content import PROGRAMS
from ..contract.errors import BundleError, CAMOverlayError, UntrustedBundleError, WeightsError
from ..contract.model import ModelSource
from ..contract.records import absolute
from ..contract.request import Result
from ..engine.bundle.description import DEFAULT_CHAIN, ModelDescription

ONLY_WITH_NETWORK = (
    "network_args",
    "weights",
    "random_weights",
    "preprocessing",
    "classes",
    "channels",
    "window",
    "overlap",
    "multilabel",
    "regression",
)

MODEL_HELP = (
    "what to explain: the root folder of a MONAI bundle, an nnU-Net v2 folder or its .zip, TotalSegmentator's results "
    "folder, or a MONAI Auto3DSeg model.pt; --bundle is the same"
)

TRUST_HELP = (
    "the model may run its code: you know where it comes from. Needed for every MONAI bundle; with --network for "
    "everything but MONAI's own networks and transforms with plain values: for Python files, classes of other "
    "packages, compiled networks, $ expressions, and arguments that name something to import, open or write"
)


def add_model_options(parser: argparse.ArgumentParser, bundle: bool = True) -> None:
    """The options that say which model; with ``bundle``, a bundle's folder does too."""
    which = parser.add_mutually_exclusive_group(required=True) if bundle else parser
    if bundle:
        which.add_argument("--model", "--bundle", dest="model", metavar="PATH", help=MODEL_HELP)
    which.add_argument(
        "--network",
        metavar="TARGET",
        **({} if bundle else {"required": True}),
        help="class of a network: one of MONAI's (DenseNet121), one with its package (my_package.nets.MyNet), "
        "or one in a Python file (path/to/file.py:MyNet); or a compiled one (model.ts, model.pt2), which has its "
        "weights in it",
    )
    parser.add_argument("--trust", action="store_true", help=TRUST_HELP)
    if bundle:
        parser.add_argument(
            "--config",
            action="append",
            metavar="NAME",
            help="of a bundle whose configuration is not configs/inference.*: the file, relative to the bundle; of an "
            "nnU-Net folder: a configuration (2d), a fold (fold_1), all_folds, or mirroring; may be given several "
            "times",
        )

    _add_network_options(parser.add_argument_group("a network without a bundle"))


def _add_network_options(network: argparse._ArgumentGroup) -> None:
    network.add_argument(
        "--network-args",
        metavar="JSON|@FILE",
        help='its arguments, such as \'{"spatial_dims": 3, "out_channels": 2, …}\'',
    )
    weights = network.add_mutually_exclusive_group()
    weights.add_argument("--weights", metavar="FILE", help="its checkpoint; only tensors are read from it")
    weights.add_argument("--random-weights", action="store_true", help="try it out: meaningless, the same each time")
    network.add_argument(
        "--preprocessing",
        metavar="CHAIN.yaml",
        help="YAML or JSON with a list of transforms, a Compose, or the key 'preprocessing' (default: "
        + ", ".join(t["_target_"] for t in DEFAULT_CHAIN)
        + ")",
    )
    network.add_argument("--classes", metavar="A,B,…", help="names of its outputs, in order")
    network.add_argument("--channels", metavar="A,B,…|N", help="names of its input channels, in order, or their number")
    network.add_argument("--window", metavar="I,J,K", help="slide a window of this size over the volume")
    network.add_argument("--overlap", type=float, metavar="SHARE", help="of neighbouring windows (default: 0.25)")
    kind = network.add_mutually_exclusive_group()
    kind.add_argument("--multilabel", action="store_true", help="every output is a yes or no of its own (sigmoid)")
    kind.add_argument("--regression", action="store_true", help="the outputs are numbers, not classes")


@dataclass(frozen=True)
class GivenModel:
    """A bundle's folder that can be explained now.

    Attributes:
        source: where it lies, and in what it is trusted.
        told: a result in the words of the command line, which knows nothing of temporary folders.
        warnings: what was assumed.
    """

    source: ModelSource
    told: Callable[[Result], Result] = lambda result: result
    warnings: tuple[str, ...] = ()


@contextmanager
def given_model(options: argparse.Namespace, only_look: bool = False) -> Iterator[GivenModel]:
    """The model that the options name; a network becomes a bundle for as long as the context lasts.

    Args:
        only_look: without trust the caller does no more than list what would run.

    Raises:
        CAMOverlayError: one of its kinds, here and whatever the context raises: in it the network and its weights are
            called what the user calls them.
    """
    if options.model is not None:
        if said := [name for name in ONLY_WITH_NETWORK if getattr(options, name) not in (None, False)]:
            option = "--" + said[0].replace("_", "-")
            raise BundleError(f"{option} belongs to --network; '{options.model}' has its own. Leave it out.")
        yield GivenModel(ModelSource(options.model, options.trust, configs=tuple(options.config or ())))
        return
    if options.config:
        raise BundleError("--config belongs to --model; a network without a bundle has no configuration. Leave it out.")
    from ..engine.bundle.writer import write_bundle

    model = described(options)
    warnings = assumptions(options)
    with tempfile.TemporaryDirectory(prefix="CAMOverlay-") as scratch:
        folder = Path(scratch).resolve() / "bundle"

        def told(result: Result) -> Result:
            asked = dataclasses.replace(
                result.provenance, model=ModelSource(""), network_arguments=network_arguments(options)
            )
            return dataclasses.replace(
                result, bundle=options.network, warnings=(*warnings, *result.warnings), provenance=asked
            )

        with _in_the_users_words(folder, options):
            write_bundle(model, folder, link=True)
            trust = options.trust or not _needs_trust(folder)
            if trust or not only_look:
                _ready(folder, options, trust)
            yield GivenModel(ModelSource(str(folder), trust), told, warnings)


def write_given_model(options: argparse.Namespace) -> tuple[str, ...]:
    """Write the network that the options name as a bundle into ``options.output``; returns what was assumed.

    It is tried out first, as far as that runs nothing that is not trusted.

    Raises:
        CAMOverlayError: one of its kinds; there is then no bundle.
    """
    from ..engine.bundle.writer import write_bundle

    untried = []

    def try_out(folder: Path) -> None:
        from ..engine.bundle.bundle import Bundle

        trust = options.trust or not _needs_trust(folder)
        if not trust and not options.random_weights:
            untried.append("Not tried out, because it would run code of its own. Add --trust to have that done too.")
            return
        import torch

        with _in_the_users_words(folder.resolve(), options):
            _ready(folder, options, trust)
            bundle = Bundle(ModelSource(str(folder), trust))
            bundle.preprocessing()
            bundle.network(torch.device("cpu"))

    output = Path(options.output)
    write_bundle(dataclasses.replace(described(options), name=output.absolute().name), output, finish=try_out)
    return (*assumptions(options), *untried)


@contextmanager
def _in_the_users_words(folder: Path, options: argparse.Namespace) -> Iterator[None]:
    """Errors name the weights and the network as the user did, and no folder that is soon gone."""
    try:
        yield
    except CAMOverlayError as error:
        weights = re.escape(str(folder / "models" / "model")) + r"\.(pt|safetensors)(?!\w)"  # and not of model.pt2
        words = re.sub(weights, lambda _: str(options.weights or "random weights"), str(error))
        raise type(error)(words.replace(str(folder), options.network)) from error


def network_arguments(options: argparse.Namespace) -> tuple[str, ...]:
    """The words that said which network, with every path absolute, so that they can be said again from anywhere."""
    network, given = options.network, options.network_args
    file, colon, name = network.rpartition(":")
    if colon and file.endswith(".py"):
        network = f"{absolute(file)}:{name}"
    elif network.endswith(PROGRAMS):
        network = absolute(network)
    words = ["--network", network, *(["--trust"] if options.trust else [])]
    if given:
        words += ["--network-args", "@" + absolute(given[1:]) if given.startswith("@") else given]
    for option in ONLY_WITH_NETWORK[1:]:
        value = getattr(options, option)
        if value in (None, False):
            continue
        words.append("--" + option.replace("_", "-"))
        if value is not True:
            words.append(absolute(value) if option in ("weights", "preprocessing") else str(value))
    return tuple(words)


# From words to a description ------------------------------------------------------------------------------------------


def described(options: argparse.Namespace) -> ModelDescription:
    """The options as a description of a model.

    Raises:
        BundleError, WeightsError: an option cannot be read, or there are no weights.
    """
    if options.weights is None and not options.random_weights and not options.network.endswith(PROGRAMS):
        raise WeightsError(
            f"{options.network} needs its weights. Give them with --weights FILE, or try it out with --random-weights."
        )
    channels = options.channels or ""
    return ModelDescription(
        network=options.network,
        arguments=_arguments(options.network_args),
        weights=options.weights,
        preprocessing=options.preprocessing,
        classes=_names(options.classes),
        channels=int(channels) if channels.isdecimal() and len(channels) < 10 else None,
        channel_names=() if channels.isdecimal() else _names(channels),
        window=_window(options.window),
        overlap=0.25 if options.overlap is None else options.overlap,
        task="regression" if options.regression else "segmentation" if options.window else "",
        multilabel=options.multilabel,
    )


def _arguments(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    if text.startswith("@"):
        try:
            path = Path(text[1:]).expanduser()
            there = path.is_file()
        except (OSError, ValueError, RuntimeError):  # too long, or the home of nobody
            path, there = Path(text[1:200]), False
        if not there:
            raise BundleError(f"The file '{path}' of --network-args does not exist. Give a JSON or YAML file.")
        arguments, text = read_values(path), str(path)
    else:
        try:
            arguments = checked(json.loads(text), "--network-args")
        except (ValueError, RecursionError) as error:
            raise BundleError(
                f"--network-args {shlex.quote(text[:200])} is not JSON: {error}. Give an object in quotes, such as "
                '\'{"spatial_dims": 3, "in_channels": 1, "out_channels": 2}\', or @FILE.'
            ) from error
    if not isinstance(arguments, dict):
        raise BundleError(
            f"--network-args {text[:200]} is a {type(arguments).__name__}, not an object. "
            "Give names with values, such as '{\"spatial_dims\": 3}'."
        )
    return arguments


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",")) if text else ()


def _window(text: str | None) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.lower().replace("x", ",").split(",")) if text else ()
    except ValueError as error:
        raise BundleError(f"--window {text} is not a size in voxels. Give one such as 96,96,96.") from error


def assumptions(options: argparse.Namespace) -> tuple[str, ...]:
    """What the user did not say, in words for the report."""
    assumed = []
    if options.random_weights:
        assumed.append("The network has random weights: prediction and heatmap mean nothing.")
    if options.preprocessing is None:
        assumed.append(
            "No --preprocessing was given. Assumed: turned to RAS, each channel normalised to mean 0 and standard "
            "deviation 1, spacing and size left as they are. Was the network trained so?"
        )
    return tuple(assumed)


# What runs something --------------------------------------------------------------------------------------------------


def _needs_trust(folder: Path) -> bool:
    from ..engine.bundle.writer import code_to_trust

    code = code_to_trust(folder)
    return any(vars(code).values())


def _ready(folder: Path, options: argparse.Namespace, trust: bool) -> None:
    """Everything that a written bundle still lacks for the engine, and the errors that it would say less well.

    Raises:
        UntrustedBundleError: something would run that is neither MONAI's nor named by the user.
        BundleError: there is no such network.
    """
    if not trust:
        from ..engine.bundle.writer import code_to_trust

        if options.network.isidentifier():  # a slip of the pen is not a matter of trust; nothing but MONAI is looked at
            _require_network(options.network)
        raise UntrustedBundleError(
            f"{options.network} with its transforms runs code of its own: {code_to_trust(folder).summary()}. "
            "Trust it only if you know where it comes from."
        )
    if not options.network.endswith(PROGRAMS):
        _require_network(options.network)
    if options.random_weights:
        _write_random_weights(folder)


def _require_network(target: str) -> None:
    """Raise BundleError unless the network's class can be found. One in a file has been looked up there."""
    if ".py:" in target:
        return
    import pydoc

    from monai.bundle import ComponentLocator
    from monai.networks import nets

    package, _, name = target.rpartition(".")
    try:
        found = pydoc.locate(target) if package else hasattr(nets, name)
        found = found or (not package and ComponentLocator().get_component_module_name(name))
    except pydoc.ErrorDuringImport as error:
        raise BundleError(f"The network {target} cannot be imported: {error.value}. Correct its package.") from error
    if not found:
        monais = not package or package == nets.__name__
        alike = difflib.get_close_matches(name, [n for n in dir(nets) if n[0].isupper()] if monais else [], 1)
        hint = f"Did you mean {alike[0]}?" if alike else "Is its package installed, or on the PYTHONPATH?"
        raise BundleError(f"There is no network {target}. {hint} A Python file is given as path/to/file.py:MyNet.")


def _write_random_weights(folder: Path) -> None:
    import torch

    from ..engine.bundle.bundle import Bundle

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Bundle(ModelSource(str(folder), trust=True)).bare_network()
    torch.save(network.state_dict(), folder / "models" / "model.pt")
