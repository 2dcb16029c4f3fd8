"""The doors through which something from outside comes in, each as a function that tries one odd thing.

A door may raise the package's own errors and those that its documentation names; anything else is a finding. What it is
given lies in a folder of its own; commands that somebody could have run would make the file ``canary`` there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dicom_series
import highdicom  # noqa: F401  once, before the children are made
import monai.transforms  # noqa: F401  likewise
import nibabel
import numpy as np
import torch
from odd import Odd
from pydicom.uid import RLELossless

from CAMOverlayLib import zoo
from CAMOverlayLib.cli import main as cli
from CAMOverlayLib.cli import model as model_options
from CAMOverlayLib.contract import bundle_files, request
from CAMOverlayLib.contract import records as json_records
from CAMOverlayLib.contract.errors import CAMOverlayError, Cancelled, UntrustedBundleError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Prediction
from CAMOverlayLib.contract.target import TargetSpec, VolumeFile
from CAMOverlayLib.dicom.account import Account
from CAMOverlayLib.dicom.deliver import Findings, deliver
from CAMOverlayLib.dicom.series import read_series
from CAMOverlayLib.dicom.voxels import read_voxels
from CAMOverlayLib.engine import api as direct
from CAMOverlayLib.engine.bundle import weights
from CAMOverlayLib.engine.bundle.bundle import Bundle
from CAMOverlayLib.engine.bundle.writer import ModelDescription, code_to_trust, write_bundle
from CAMOverlayLib.engine.geometry import volume
from CAMOverlayLib.engine.target import objective, parse
from CAMOverlayLib.engine.target import regions as places
from CAMOverlayLib.scene.overlay import report
from CAMOverlayLib.worker import protocol

OWN = (CAMOverlayError, Cancelled)


class Broken(Exception):
    """Nothing was raised, but what came out is wrong."""


@dataclass(frozen=True)
class Door:
    """
    Attributes:
        enter: tries one case: oddities, an empty folder.
        allowed: what may be raised, its message being for a person.
        reserves: a library asks for room that it does not fill (a pickled text's length), so being refused it counts as
            an answer.
    """

    enter: Callable[[Odd, Path], None]
    allowed: tuple[type[BaseException], ...] = OWN
    reserves: bool = False


# Bundles -----------------------------------------------------------------------------------------------------------


def canary(folder: Path) -> Path:
    return folder / "canary"


def harm(odd: Odd, folder: Path) -> Any:
    """A piece of configuration that makes the canary, if anybody evaluates it."""
    touch = f"touch {canary(folder)}"
    opened = f"open('{canary(folder)}', 'w')"
    return odd.choice(
        (
            f"$__import__('os').system('{touch}')",
            f"${opened}",
            {"_target_": "os.system", "command": touch},
            {"_target_": "builtins.eval", "_args_": [opened]},
            {"_target_": "LoadImaged", "keys": "image", "reader": "os.system", "command": touch},
            {"_target_": "subprocess.getoutput", "cmd": touch},
            {"_target_": "Lambdad", "keys": "image", "func": f"${opened}"},
            {"_target_": "Identityd", "keys": f"${opened}"},
            {"_target_": "scripts.net.Net"},
            f"%{folder}/evil.json",
            f"%{folder}/evil.json\n",
            f"%x\n{folder}/evil.json",
            {"_target_": "@evil"},
            {"_requires_": f"${opened}", "_target_": "Identity"},
            {"_target_": "Identity", "_mode_": "debug"},
            {"_target_": "os.mkdir", "path": str(canary(folder))},
            {"_target_": "SaveImaged", "keys": "image", "output_dir": str(canary(folder))},
        )
    )


CONFIG: dict[str, Any] = {
    "imports": ["$import torch"],
    "bundle_root": ".",
    "spatial": [8, 8, 8],
    "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            {"_target_": "Resized", "keys": "image", "spatial_size": "@spatial"},
            {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0},
        ],
    },
    "inferer": {"_target_": "SimpleInferer"},
}
METADATA: dict[str, Any] = {
    "name": "odd",
    "version": "0.1.0",
    "task": "test",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "spatial_shape": [8, "16*n", "8"], "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"format": "segmentation", "channel_def": {"0": "background", "1": "lesion"}}},
    },
    "label_def": [{"id": 1, "name": "liver"}],
}


def yaml(odd: Odd, value: Any) -> bytes:
    import yaml as library

    if odd.chance(0.1):
        levels = odd.choice((3, 9, 30))
        laughs = ["a0: &a0 [x, x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]" for i in range(1, levels)]
        return "\n".join(laughs).encode()
    try:
        data = library.safe_dump(value, allow_unicode=odd.chance(0.5)).encode("utf-8", "surrogatepass")
    except (library.YAMLError, ValueError, RecursionError):
        data = odd.json(value)
    if odd.chance(0.1):
        data += odd.choice(
            (
                b"\nx: &x [*x]\n",
                b"\nx: !!python/name:os.system\n",
                b"\n? [a, b]\n: 1\n",
                b"\nd: 2020-13-45\n",
                b"\n- x\n",
                b"\nx: 1e\n<<: *nothing\n",
                b"\n? {a: 1}\n: 2\n",
                b"\ns: !!set {a, b}\n",
                b"\nb: !!binary ab\n",
                b"\n\t\n",
            )
        )
    return odd.damaged(data) if odd.chance(0.2) else data


def with_harm(odd: Odd, folder: Path, value: Any) -> Any:
    value = odd.mutated(value)
    if odd.chance(0.5) and isinstance(value, dict):
        chain = value.get("preprocessing")
        steps = chain.get("transforms") if isinstance(chain, dict) else None
        if isinstance(steps, list) and odd.chance(0.6):
            steps.insert(odd.randrange(len(steps) + 1), harm(odd, folder))
        else:
            value[odd.choice(("network_def", "imports", "x", "inferer", "preprocessing", "postprocessing"))] = harm(
                odd, folder
            )
    return value


def bundle(odd: Odd, folder: Path) -> None:
    """A folder that was chosen, read in every way that needs no trust."""
    root = folder / odd.choice(("bundle", "a b", "é", "x" * 200))
    (root / "configs").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "scripts").mkdir()
    (root / "scripts" / "net.py").write_text(f"open({str(canary(folder))!r}, 'w')\n")
    if odd.chance(0.9):
        suffix = odd.choice((".json", ".json", ".yaml", ".yml"))
        value = with_harm(odd, folder, CONFIG)
        data = odd.json(value) if suffix == ".json" else yaml(odd, value)
        (root / "configs" / f"inference{suffix}").write_bytes(data)
    for _ in range(odd.randrange(3)):
        (root / "configs" / odd.choice(("more.json", "a.yaml", "b.yml", "train.json", "x.JSON"))).write_bytes(
            odd.json(with_harm(odd, folder, CONFIG))
        )
    if odd.chance(0.9):
        (root / "configs" / "metadata.json").write_bytes(odd.json(odd.mutated(METADATA)))
    with contextlib.suppress(OSError, ValueError):
        _odd_file(odd, root)
    if odd.chance(0.3):
        (root / "models" / "model.pt").write_bytes(pickle.dumps(Touch(canary(folder))))
    chosen = tuple(
        odd.choice((odd.text(), "configs/inference.json", "configs", "configs/a.yaml", "../x.json"))
        for _ in range(odd.choice((0, 0, 0, 1, 2)))
    )
    asked = root if odd.chance(0.95) else odd.text()
    problems: list[BaseException] = []
    for look in (
        lambda: bundle_files.code_of(root, bundle_files.read_configs(root, bundle_files.config_files(root, chosen))),
        lambda: bundle_files.info_of(root, bundle_files.read_metadata(root)),
        lambda: bundle_files.content_hash(root),
        lambda: _untrusted(Bundle(ModelSource(str(asked), configs=chosen))),
    ):
        try:
            look()
        except OWN as error:
            problems.append(error)
    for problem in problems:
        raise problem


def _odd_file(odd: Odd, root: Path) -> None:
    kind = odd.random()
    place = root / odd.choice(("configs/inference.json", "configs/metadata.json", "configs/c.json", "models/x", "x"))
    if kind < 0.8:
        return
    if place.exists():
        place.unlink()
    if kind < 0.84:
        os.mkfifo(place)
    elif kind < 0.88:
        place.symlink_to(odd.choice(("/dev/zero", "/nowhere", ".", "..", "x")))
    elif kind < 0.92:
        place.mkdir()
    elif kind < 0.96:
        (root / odd.text()[:100].replace("/", "_")).write_bytes(b"x")
    else:
        Path(os.fsdecode(os.fsencode(root) + b"/\xff\xfe.py")).write_bytes(b"x")


def _untrusted(bundle: Bundle) -> None:
    bundle.info, bundle.code  # noqa: B018  they are read here
    for run in (bundle.preprocessing, lambda: bundle.network(torch.device("cpu"))):
        try:
            run()
        except UntrustedBundleError as error:
            check_words(error)
        else:
            raise Broken("the bundle was evaluated without trust")


def metadata(odd: Odd, folder: Path) -> None:
    given = odd.mutated(METADATA, odd.randrange(1, 5))
    given = given if isinstance(given, dict) else {"network_data_format": given}
    info = bundle_files.info_of(folder, given)
    for name in (*info.classes, *info.channel_names):
        if not isinstance(name, str) or not name.isprintable() or len(name) > 200:
            raise Broken(f"a name is {name[:80]!r}")
    if max(len(info.classes), len(info.channel_names), info.channels or 0) > 10_000:
        raise Broken("more classes or channels than any network has")


def chain(odd: Odd, folder: Path) -> None:
    """A network's arguments and a chain that come without trust: what needs none is evaluated, and may run nothing."""
    (folder / "evil.json").write_text(json.dumps({"_target_": "os.system", "command": f"touch {canary(folder)}"}))
    value = with_harm(odd, folder, CONFIG)
    if isinstance(value, dict) and odd.chance(0.3):
        value = value.get("preprocessing", value)
    suffix = odd.choice((".json", ".yaml"))
    path = folder / f"chain{suffix}"
    path.write_bytes(odd.json(value) if suffix == ".json" else yaml(odd, value))
    arguments = odd.mutated({"in_channels": 1, "out_channels": 2, "kernel_size": 1}, odd.choice((0, 0, 1)))
    if odd.chance(0.2) and isinstance(arguments, dict):
        arguments[odd.key()] = harm(odd, folder)
    names = tuple(odd.text() for _ in range(odd.choice((0, 0, 2))))
    model = ModelDescription(
        odd.choice(("torch.nn.Conv3d", "torch.nn.Conv3d", "UNet", odd.text())),
        arguments,
        preprocessing=path,
        classes=names,
    )
    root = write_bundle(model, folder / "written")
    code = code_to_trust(root)
    code.summary()
    if any(vars(code).values()):
        return
    found = Bundle(ModelSource(str(root), trust=True))  # as the command line does where nothing needs trust
    found.preprocessing()


# Files -------------------------------------------------------------------------------------------------------------


class Touch:
    """Unpickled it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def _state(odd: Odd) -> dict[str, Any]:
    state: dict[str, Any] = {"weight": torch.ones(2, 1, 1, 1, 1), "bias": torch.zeros(2)}
    for _ in range(odd.randrange(3)):
        key = odd.choice(("weight", "bias", "other", odd.text()))
        state[key] = odd.choice(
            (
                torch.zeros(2, dtype=torch.complex64),
                torch.zeros(2, device="meta"),
                torch.zeros(2).to_sparse(),
                torch.zeros(()),
                torch.zeros(0),
                torch.full((2,), float("nan")),
                torch.zeros(2, dtype=torch.bool),
                torch.zeros(2, dtype=torch.int64),
                torch.quantize_per_tensor(torch.zeros(2), 0.1, 0, torch.quint8),
                torch.zeros(1).expand(2),
                torch.zeros(2, 3),
                None,
                1,
                "x",
                [torch.zeros(2)],
                {"a": torch.zeros(2)},
                {1: {2: torch.zeros(1)}},
            )
        )
    return state


def weights_file(odd: Odd, folder: Path) -> None:
    state: Any = _state(odd)
    if odd.chance(0.3):
        state = odd.choice(
            (
                {"model": state},
                {"state_dict": state, "epoch": 3},
                [state],
                {f"module.{k}": v for k, v in state.items()},
                {},
                None,
                3,
            )
        )
    buffer = io.BytesIO()
    try:
        torch.save(state, buffer, _use_new_zipfile_serialization=odd.chance(0.6))
    except Exception:  # not what is tried here
        torch.save({"weight": torch.ones(2, 1, 1, 1, 1)}, buffer)
    data = buffer.getvalue()
    if odd.chance(0.1):
        data = odd.choice(
            (
                pickle.dumps(Touch(canary(folder)), protocol=2),
                pickle.dumps({"weight": [1]}),
                b"",
                b"PK\x03\x04",
                b"\x80\x02",
            )
        )
    path = folder / "model.pt"
    path.write_bytes(odd.damaged(data) if odd.chance(0.7) else data)
    weights.load_weights(torch.nn.Conv3d(1, 2, 1), path)


def _affine(odd: Odd) -> Any:
    rows = [[2.0, 0.0, 0.0, 1.0], [0.0, 2.0, 0.0, 2.0], [0.0, 0.0, 3.0, 3.0], [0.0, 0.0, 0.0, 1.0]]
    return odd.mutated(rows, odd.choice((0, 0, 1, 2)))


def _array(odd: Odd) -> np.ndarray:
    shape = odd.choice(
        ((4, 5, 6), (4, 5, 6), (4, 5), (4, 5, 6, 3), (0, 5, 6), (1, 1, 1), (), (4, 5, 6, 7), (2, 2, 2, 2, 2))
    )
    kind = odd.choice(("f4", "f8", "i2", "u1", "i8", "?", ">i2", ">f4", "f2", "c8", "U3", "S3", "M8[s]", "V4"))
    array = np.ones(shape).astype(kind) if kind[0] not in "MV" else np.zeros(shape, kind)
    if array.dtype.kind == "f" and array.size and odd.chance(0.2):
        array.flat[0] = odd.choice((np.nan, np.inf, -np.inf))
    return array


def _npy(odd: Odd, path: Path) -> None:
    buffer = io.BytesIO()
    if odd.chance(0.05):
        np.save(buffer, np.array([Touch(canary(path.parent))], dtype=object), allow_pickle=True)
    else:
        np.save(buffer, np.asfortranarray(_array(odd)))
    data = buffer.getvalue()
    if odd.chance(0.2):  # a header that promises anything
        header = f"{{'descr': '<f4', 'fortran_order': True, 'shape': {odd.choice(('(-1,)', '(10**9,)', '(99999999,9999,999)', '(1,2', '(True,2,3)', '3'))}, }}"  # noqa: E501
        data = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header.encode() + b"\n" + odd.randbytes(60)
    path.write_bytes(odd.damaged(data, 128) if odd.chance(0.6) else data)


def _file(odd: Odd, folder: Path) -> VolumeFile:
    path = folder / "volume.npy"
    _npy(odd, path)
    if odd.chance(0.05):
        path = odd.choice((folder, folder / "nothing.npy", Path("/dev/null"), Path("\x00"), Path("x" * 5000)))
    return VolumeFile(str(path), _affine(odd), odd.text()[:40])


def volume_file(odd: Odd, folder: Path) -> None:
    values = _file(odd, folder).to_dict()
    try:
        file = VolumeFile.from_dict(json.loads(json.dumps(values)))
    except json_records.SpoiltRecord:
        file = VolumeFile(values["path"], values["affine"] if odd.chance(0.3) else np.eye(4), values["name"])
    read = volume.read_volume(file)
    read.voxel_hash  # noqa: B018  computed here


def _image(odd: Odd, folder: Path) -> Path:
    """An image file as nibabel writes it, mostly damaged."""
    array = np.zeros((5, 6, 7), odd.choice(("i2", "u1", "f4", "f8", "i4")))
    array[2:4, 2:4, 2:4] = 1
    kind = odd.choice((".nii", ".nii", ".nii.gz", ".mgz", ".img", ".nii.bz2", ".mgh"))
    writer = {".mgz": nibabel.MGHImage, ".mgh": nibabel.MGHImage, ".img": nibabel.Nifti1Pair}.get(
        kind, nibabel.Nifti1Image
    )
    array = array.astype("f4") if kind.startswith(".mg") else array
    path = folder / f"image{kind}"
    nibabel.save(writer(array, np.diag([2.0, 2.0, 3.0, 1.0])), path)
    victim = path.with_suffix(".hdr") if kind == ".img" and odd.chance(0.7) else path
    data = victim.read_bytes()
    if kind in (".nii.gz", ".mgz") and odd.chance(0.6):  # damaged inside, and compressed again
        data = gzip.compress(_header(odd, odd.damaged(gzip.decompress(data), 348)), 1)
    elif kind in (".nii", ".img") and odd.chance(0.6):
        data = _header(odd, data)
    victim.write_bytes(odd.damaged(data, 360) if odd.chance(0.6) else data)
    return path


def _header(odd: Odd, data: bytes) -> bytes:
    """A NIfTI header with odd values where they matter."""
    data = bytearray(data.ljust(352, b"\0"))
    for _ in range(odd.randrange(3)):
        if odd.chance(0.5):
            at = odd.choice((40, 42, 44, 46, 48, 70, 72, 252, 254))
            struct.pack_into("<h", data, at, odd.choice((0, -1, 1, 4, 7, 64, 128, 256, 511, 1536, 2304, 32767, -32768)))
        else:
            at = odd.choice((76, 80, 84, 88, 108, 112, 116, 256, 260, 264, 268, 280, 284, 296, 312))
            struct.pack_into(
                "<f", data, at, odd.choice((0.0, -1.0, float("nan"), float("inf"), 1e38, -1e38, 1e-40, 352.0, 3.5, 1e9))
            )
    return bytes(data)


def image(odd: Odd, folder: Path) -> None:
    source: Any = _image(odd, folder)
    if odd.chance(0.1):
        source = (_array(odd), _affine(odd))
    elif odd.chance(0.05):
        source = odd.choice((odd.value(), odd.text(), str(folder), folder / "nothing.nii"))
    direct.read_source(source, 0)


def dicom(odd: Odd, folder: Path) -> None:
    """A small series, some of its files damaged; what is read is written as a Parametric Map and read back."""
    shape = (6, 5, 4)
    stored = np.arange(120, dtype=np.int16).reshape(shape)
    syntax = odd.choice((None, None, RLELossless))
    for path in dicom_series.write_series(
        folder / "s", odd.choice(tuple(dicom_series.GEOMETRIES)), stored, syntax=syntax
    ):
        if odd.chance(0.5):
            path.write_bytes(odd.damaged(path.read_bytes(), odd.choice((600, None))))
    try:
        series = read_series(folder / "s" if odd.chance(0.9) else f"{folder / 's'}#{odd.choice((3, '', odd.text()))}")
        voxels = read_voxels(series).T
        files = [plane.file for plane in series.planes]
        deliver(
            files, Findings(voxels, np.zeros(voxels.shape, np.float32), Account("Grad-CAM", "x", "y", "z", "1")), folder
        )
    except CAMOverlayError as error:
        if any(part in str(error) for part in dicom_series.IDENTIFYING[1:]):
            raise Broken("the error names the patient") from error
        raise


def mask(odd: Odd, folder: Path) -> None:
    places.read_mask(
        _file(odd, folder) if odd.chance(0.4) else str(_image(odd, folder)) if odd.chance(0.95) else odd.text()
    )


# Messages ----------------------------------------------------------------------------------------------------------

REQUEST: dict[str, Any] = request.Request(
    (VolumeFile("/a.npy", ((1.0, 0.0, 0.0, 0.0),) * 4, "a"),),
    ModelSource("/bundle"),
    "/out",
    target=TargetSpec("a", voxel=(1, 2, 3)),
).to_dict()


def _result() -> dict[str, Any]:
    """A whole result, made from its annotations."""

    def made(hint: Any) -> Any:
        import types
        import typing

        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin in (typing.Union, types.UnionType):
            return made(arguments[0])
        if origin is tuple:
            return [made(arguments[0])] * 2 if arguments[-1:] == (...,) else [made(a) for a in arguments]
        if origin is dict:
            return {"a": made(arguments[1])}
        if dataclasses.is_dataclass(hint):
            return {name: made(kind) for name, kind in json_records._hints(hint).items() if not name.startswith("_")}
        return {int: 1, float: 0.5, str: "a", bool: True}.get(hint)

    values = made(request.Result)
    affine = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    values["heatmap"]["affine"] = affine
    values["prediction"]["activation"] = "softmax"
    values["placement"]["verdict"] = "verified"
    for step in values["steps"]:
        step["affine"] = affine
    values["schema"] = request.SCHEMA
    return json.loads(json.dumps(values))


RESULT = _result()
MESSAGES = (
    protocol.Call("r", "explain", {"request": REQUEST}, ("/tmp/x",)),
    protocol.Cancel("r"),
    protocol.Hello(1, "3.11", "/python", {"torch": "2"}),
    protocol.Ready(),
    protocol.Beat(),
    protocol.Report("r", request.Progress("volume", 0.5, "x")),
    protocol.Answer("r", {"a": 1}),
    protocol.Failure("r", "VolumeError", "words"),
)


def messages(odd: Odd, folder: Path) -> None:
    lines = protocol.Lines(longest=odd.choice((50, 1000, 1 << 20)))
    data = b""
    for _ in range(odd.randrange(1, 4)):
        line = protocol.encode(odd.choice(MESSAGES))
        data += odd.choice(
            (line, odd.damaged(line), odd.json(odd.mutated(json.loads(line), 2)) + b"\n", odd.randbytes(30))
        )
    while data:
        size = odd.choice((1, 7, 100, len(data)))
        piece, data = data[:size], data[size:]
        for line in lines.feed(piece):
            message = protocol.decode(line)
            if isinstance(message, protocol.Failure):
                message.error()
            if protocol.decode(protocol.encode(message).strip()) != message:
                raise Broken("a message that is said again is another one")
    lines.rest()


def encoding(odd: Odd, folder: Path) -> None:
    """What somebody in a notebook puts into a call: it is said as JSON, or refused before anything is started."""
    payload = odd.mutated({"request": REQUEST, "n": np.float32(1), "p": Path("x"), "a": np.zeros(2), "s": {1, 2}})
    protocol.encode(protocol.Call("r", odd.text(), json_records.plain(payload) if odd.chance(0.5) else payload))


def records(odd: Odd, folder: Path) -> None:
    kind, values = odd.choice(((request.Request, REQUEST), (request.Result, RESULT)))
    data = odd.json(odd.mutated(values))
    record = kind.from_json(data)
    if kind.from_json(record.to_json()) != record:
        raise Broken("the record that is written and read is another one")


def in_python(odd: Odd, folder: Path) -> None:
    """A request as a notebook makes it."""
    values = odd.mutated(REQUEST["target"], 2)
    spec = (
        TargetSpec(**{k: v for k, v in values.items() if k in REQUEST["target"]})
        if isinstance(values, dict)
        else values
    )
    made = request.Request((), ModelSource("b"), "o", target=odd.choice((spec, odd.value())))
    made.to_dict()


def scene_attribute(odd: Odd, folder: Path) -> None:
    text = odd.json(odd.mutated(RESULT)).decode("utf-8", odd.choice(("replace", "surrogateescape")))
    found = report.readReport(text)
    if found is not None:
        found.prediction.name, found.to_json().encode()


# Words -------------------------------------------------------------------------------------------------------------


def target(odd: Odd, folder: Path) -> None:
    count = odd.randrange(1, 6)
    name = lambda: odd.choice(("lesion", "a-b", "class 1", "background", "0", "-1", "a@b", odd.text()))
    names = tuple(name() for _ in range(count))
    some = odd.choice((lambda: name(), odd.text, odd.number, lambda: None))
    place = lambda: odd.choice((None, None, odd.value()))
    words = "".join(
        odd.choice((name(), "-", "@", "voxel=", "ras=", "mask=", "1,2,3", ",", "1", "nan", " "))
        for _ in range(odd.randrange(6))
    )
    wanted = odd.choice((some(), words, words, None))
    if odd.chance(0.2):
        wanted = TargetSpec(some(), some(), place(), place(), place())
    voxels = odd.choice(((), tuple(odd.randrange(9) for _ in names)))
    prediction = Prediction(
        names, (0.5,) * count, (0.5,) * count, odd.choice(("softmax", "sigmoid", "none")), 0, voxels
    )
    problems: list[BaseException] = []
    for ask in (
        lambda: parse.parse_target(wanted, prediction),
        lambda: parse.choose_target(wanted if not isinstance(wanted, TargetSpec) else None, prediction),
        lambda: parse.check_early(wanted, names if odd.chance(0.7) else (), (4, 5, 6), {}),
        lambda: objective.build_objective(torch.zeros(1, count, *odd.choice(((), (2, 3, 4)))), wanted, prediction),
    ):
        try:
            ask()
        except OWN as error:
            check_words(error)
            problems.append(error)
    if problems:
        raise problems[0]


OPTIONS = (
    "--bundle",
    "--network",
    "--trust",
    "--config",
    "--network-args",
    "--weights",
    "--random-weights",
    "--preprocessing",
    "--classes",
    "--channels",
    "--window",
    "--overlap",
    "--multilabel",
    "--regression",
    "--target",
    "--layer",
    "--method",
    "--device",
    "--inverse",
    "--slices",
    "--output",
    "--trail",
    "--save-intermediates",
    "--interpolation",
    "--amp",
    "--verify",
    "--help",
    "--version",
)


def options(odd: Odd, folder: Path) -> None:
    """Arguments of the command line, as far as they are read before anything is computed."""
    (folder / "args.json").write_bytes(odd.json(odd.mutated({"spatial_dims": 3})))
    words = lambda: odd.choice(
        (
            odd.text(),
            f"@{folder}/args.json",
            "@",
            json.dumps(odd.value()),
            "96,96",
            "1x2",
            "0.5",
            str(odd.number())[:99],
        )
    )
    line = [odd.choice(("explain", "inspect", "bundle", "demo", odd.text()))]
    if odd.chance(0.7):
        line = [
            line[0],
            "--network",
            odd.choice(("DenseNet121", "a.b.C", "x.py:N", odd.text())),
            odd.choice(("--random-weights", "--trust")),
        ]
        line += ["v.nii", "--output", "o"] if line[0] == "explain" else ["--output", "o"] if line[0] == "bundle" else []
    for option in odd.some(OPTIONS, 4):
        line += [option, words()] if odd.chance(0.8) else [f"{option}={words()}"]
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            given = cli._parser().parse_args(line)
    except SystemExit as end:
        if end.code not in (0, 2):
            raise Broken(f"the exit code is {end.code}") from None
        if said.getvalue().count("\n") != (end.code == 2) or len(said.getvalue()) > LONGEST:
            raise Broken(
                f"{len(said.getvalue())} characters in {said.getvalue().count(chr(10))} lines: "
                f"{said.getvalue()[:300]!r}"
            ) from None
        return
    if getattr(given, "network", None) is not None:
        model_options.described(given)
        model_options.assumptions(given)


# The zoo -----------------------------------------------------------------------------------------------------------


def zoo_list(odd: Odd, folder: Path) -> None:
    listed = {f"a_v{i}.0": {"source": "https://x/a.zip", "checksum": "00"} for i in range(3)}
    files = [
        {"path": "configs/a.json", "type": "file", "size": 3, "oid": "00"},
        {"path": "m.pt", "size": 9, "lfs": {"oid": "sha256:00"}},
    ]
    path = folder / "list.json"
    path.write_bytes(odd.json(odd.mutated(listed)))
    zoo.LIST_URL = path.as_uri()
    (folder / zoo.MARKER).write_bytes(
        odd.json(odd.mutated({"name": "a", "version": "1.0", "files": {"configs/a.json": 3}}))
    )
    zoo.record_of(folder)
    zoo.downloaded(folder.parent)
    for entry in zoo.read_list().values():
        zoo._repository(entry.source)
    for inside, *_ in zoo._listed_files("a", odd.mutated(files)):
        if inside.is_absolute() or ".." in inside.parts:
            raise Broken(f"'{inside}' leads out of the folder")


def archive(odd: Odd, folder: Path) -> None:
    """A bundle's archive, through the whole download."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", odd.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    ) as zipped:
        for name in (
            "a/configs/inference.json",
            "a/models/model.pt",
            *odd.some(("../x", "/abs", "a\\..\\x", "a//b", "CON", "a/configs", odd.text()), 2),
        ):
            with contextlib.suppress(Exception):  # not every name can be written
                info = zipfile.ZipInfo(name)
                info.external_attr = odd.choice((0, 0o644 << 16, 0o120777 << 16, 0o40755 << 16))
                zipped.writestr(info, odd.choice((b"{}", b"/etc/passwd", bytes(100_000))))
    path, listed = folder / "a.zip", folder / "list.json"
    path.write_bytes(odd.damaged(buffer.getvalue()) if odd.chance(0.7) else buffer.getvalue())
    listed.write_text(json.dumps({"a_v1.0": {"source": path.as_uri() if odd.chance(0.95) else odd.text()}}))
    zoo.LIST_URL = listed.as_uri()
    before = {p.name for p in folder.parent.iterdir()}
    parent = folder / "bundles"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            zoo.download("a", parent)
    finally:
        left = [p for p in parent.glob("*") if p.name != "a"] if parent.exists() else []
        if (
            left
            or {p.name for p in folder.parent.iterdir()} != before
            or {p.name for p in folder.iterdir()} > {"a.zip", "list.json", "bundles"}
        ):
            raise Broken(f"files are left: {left}, {sorted(p.name for p in folder.iterdir())}")


LONGEST = 1500


def check_words(error: BaseException) -> None:
    """
    Raises:
        Broken: a message is not one line of a readable length.
    """
    words = str(error)
    if not words and not isinstance(error, Cancelled):
        raise Broken(f"{type(error).__name__} says nothing")
    if len(words.splitlines()) > 1 or len(words) > LONGEST:
        raise Broken(
            f"{type(error).__name__}: {len(words)} characters in {len(words.splitlines())} lines: {words[:400]!r}"
        )


DOORS: dict[str, Door] = {
    "bundle": Door(bundle),
    "metadata": Door(metadata),
    "chain": Door(chain),
    "weights": Door(weights_file, reserves=True),
    "volume": Door(volume_file),
    "image": Door(image),
    "mask": Door(mask),
    "dicom": Door(dicom, reserves=True),
    "protocol": Door(messages, (protocol.ProtocolError,)),
    "encoding": Door(encoding, (ValueError, TypeError)),
    "records": Door(records, (*OWN, json_records.SpoiltRecord)),
    "python": Door(in_python),
    "attribute": Door(scene_attribute, ()),
    "target": Door(target),
    "options": Door(options),
    "zoo-list": Door(zoo_list, (zoo.ZooError,)),
    "zoo-archive": Door(archive, (zoo.ZooError,)),
}
