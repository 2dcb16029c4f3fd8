"""A checkpoint is read without torch: plain values and the shapes of tensors, and nothing of it runs."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
import torch
from support import examples

from CAMOverlayLib.contract.checkpoint import TensorStub, read_checkpoint
from CAMOverlayLib.contract.errors import WeightsError


def archive(path, data: bytes, more: dict[str, bytes] | None = None):
    """An archive as torch.save makes one, with any bytes as its pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", data)
        for name, content in (more or {}).items():
            file.writestr(f"model/{name}", content)
    return path


def refused(path) -> str:
    with pytest.raises(WeightsError) as error:
        read_checkpoint(path)
    message = str(error.value)
    assert str(path) in message
    assert "\n" not in message
    assert message.endswith((".", ")"))
    return message


def test_values_and_shapes_are_those_that_torch_reads(tmp_path):
    content = {
        "state_dict": torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3), torch.nn.BatchNorm3d(4)).state_dict(),
        "half": torch.zeros(2, 3, dtype=torch.float16),
        "parameter": torch.nn.Parameter(torch.ones(5)),
        "config": {"names": ["a", "ä"], 1: (1.5, -2, 2**40, None, True), "nested": OrderedDict(x={"y": []})},
        "size": torch.Size([3, 4]),
        "dtype": torch.float32,
        "device": torch.device("cuda", 1),
        "best_metric": np.float64(0.25),
        "epoch": np.int64(7),
        "same": np.float32(0.5),
    }
    torch.save(content, tmp_path / "model.pt")
    read = read_checkpoint(tmp_path / "model.pt")
    for name, tensor in content["state_dict"].items():
        assert read["state_dict"][name] == TensorStub(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
    assert read["half"] == TensorStub((2, 3), "float16") and read["parameter"] == TensorStub((5,), "float32")
    assert read["config"] == content["config"] and read["size"] == (3, 4) and read["dtype"] == "torch.float32"
    assert (read["device"], read["best_metric"], read["epoch"], read["same"]) == ("cuda:1", 0.25, 7, 0.5)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_way_of_pickling_plain_values(tmp_path, protocol):
    content = {
        "a": [1, "b" * 300, {"c": (1, 2, 3, 4)}],
        "set": {5, 6} if protocol > 3 else [],
        "number": np.float32(2.5),
        "o": OrderedDict(k=1),
    }
    assert read_checkpoint(archive(tmp_path / "m.pt", pickle.dumps(content, protocol))) == content


class Touches:
    def __init__(self, call, *arguments):
        self.made_of = (call, arguments)

    def __reduce__(self):
        return self.made_of


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("call", [os.system, eval, open, getattr, np.load])
def test_nothing_of_a_hostile_pickle_runs(tmp_path, protocol, call):
    canary = tmp_path / "canary"
    argument = {os.system: f"touch {canary}", eval: f"open({str(canary)!r}, 'w')"}.get(call, str(canary))
    data = pickle.dumps({"config": Touches(call, argument, *(["w"] if call is open else []))}, protocol)
    assert "may run code" in refused(archive(tmp_path / "m.pt", data))
    assert not canary.exists()


@pytest.mark.parametrize(
    "data",
    [
        b"\x80\x02ccollections\nOrderedDict\n}(X\x01\x00\x00\x00aK\x01u\x86b.",  # BUILD on a class itself: ignored
        b"\x80\x02c__builtin__\neval\n.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02(ccollections\nOrderedDict\nX\x01\x00\x00\x00ao.",
        b"\x80\x02I12\n.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
        b"\x80\x02",
        b"\x80\x02.",
        b"\x80\x02h\x07.",
        b"\x80\x02]u.",
        b"\x80\x02}(]K\x01u.",
        b"\x80\x02]q\x00h\x00a.",
        b"",
        b"\xff\xff",
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x02K\x01.",
    ],
)
def test_damaged_and_odd_pickles_are_one_sentence(tmp_path, data):
    refused(archive(tmp_path / "m.pt", data))


def test_what_would_take_for_ever_is_refused_at_once(tmp_path):
    doubled = b"".join(b"h\x00h\x00\x86q\x00" for _ in range(60))  # a tuple of two of itself, 60 times over
    for end in (b"K\x01s.", b"."):
        opening = b"}K\x01q\x00" if end != b"." else b"K\x01q\x00"
        refused(archive(tmp_path / "m.pt", b"\x80\x02" + opening + doubled + end))
    refused(archive(tmp_path / "m.pt", b"\x80\x02]" + b"K\x01a" * 600_000 + b"."))


def test_other_files_say_what_they_are(tmp_path):
    path = tmp_path / "m.pt"
    torch.save({"a": torch.ones(1)}, path, _use_new_zipfile_serialization=False)
    assert "before version 1.6" in refused(path)
    path.write_bytes(b"<html>")
    assert "begins with" in refused(path)
    path.write_bytes(b"")
    assert "begins with" in refused(path)
    torch.jit.script(torch.nn.ReLU()).save(str(path))
    assert "TorchScript" in refused(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "hello")
    assert "readme.txt" in refused(path)
    torch.save([1, 2], path)
    assert "holds a list" in refused(path)
    torch.save({"a": torch.ones(1000)}, path)
    whole = path.read_bytes()
    for size in (5, len(whole) // 2, len(whole) - 10):
        path.write_bytes(whole[:size])
        assert "damaged or incomplete" in refused(path)
    path.unlink()
    assert "cannot be read" in refused(path)
    os.mkfifo(path)
    assert "not an ordinary file" in refused(path)


def test_a_pickle_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path):
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("model/data.pkl", bytes(40 << 20))
    assert "more than 32 MB" in refused(path)


def test_a_pickle_damaged_anywhere_is_read_or_one_sentence(tmp_path):
    torch.save(
        {"config": {"a": [1, (2.0, "b")], "n": np.float64(3)}, "w": torch.nn.Linear(2, 2).state_dict()}, tmp_path / "m"
    )
    with zipfile.ZipFile(tmp_path / "m") as file:
        whole = file.read("m/data.pkl")
    rng = np.random.default_rng(0)
    for number in range(examples(400)):
        data = bytearray(whole)
        for _ in range(1 + number % 4):
            data[rng.integers(2, len(data))] = rng.integers(256)
        try:
            assert isinstance(read_checkpoint(archive(tmp_path / "damaged.pt", bytes(data))), dict)
        except WeightsError as error:
            assert "\n" not in str(error)
