"""What a PyTorch checkpoint holds, read without torch and without running anything of it.

A checkpoint is a zip archive; its ``data.pkl`` is a pickle, which is a program that imports and calls what it names.
Here nothing of that happens: the few instructions that checkpoints of plain values and tensors consist of are followed
on a stack of plain values, a name stays a name, and only a dozen names have a meaning. Every other instruction and
every other name is refused in a sentence. Tensors become :class:`TensorStub`, their numbers are never read.

What torch itself writes: https://github.com/pytorch/pytorch/blob/main/torch/_weights_only_unpickler.py
"""

from __future__ import annotations

import io
import os
import pickletools
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bounded import checked
from .errors import BundleError, WeightsError, reason

MOST_BYTES = 32 << 20
"""Of the pickle, not of the tensors; that of a network of 1000 tensors with its optimizer has 0.5 MB."""
MOST_STEPS = 1_000_000
"""Instructions of the pickle, which take about a second."""


@dataclass(frozen=True)
class TensorStub:
    """Where a tensor is in a checkpoint.

    Attributes:
        shape: its sizes.
        dtype: as torch calls it, such as ``float32``.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class _Name:
    """A class or function that a pickle names; it is never imported."""

    full: str


@dataclass(frozen=True)
class _NumberType:
    """A dtype of NumPy, for the scalars that trainers keep (``best_metric``)."""

    code: str


class _Refused(Exception):
    """Something that a checkpoint of plain values does not hold; the message is the middle of a sentence."""


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The values of a checkpoint: mappings, lists, tuples, texts, numbers, and :class:`TensorStub` for tensors.

    Raises:
        WeightsError: the file is no archive that ``torch.save`` writes, is damaged, holds something else than a
            mapping, or names a class or function that plain values do not need.
    """
    try:
        content = checked(_Reader(_pickle_of(path)).value(), path)
    except WeightsError:
        raise
    except BundleError as error:
        raise WeightsError(str(error)) from error
    except _Refused as error:
        raise WeightsError(
            f"The checkpoint '{path}' is not read: {error}, which may run code. Save it again with plain values and "
            "tensors only."
        ) from error
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error) as error:
        raise WeightsError(
            f"The checkpoint '{path}' is damaged: its pickle ends or breaks off ({reason(error, 120)}). Copy or "
            "download it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(
            f"The checkpoint '{path}' holds a {type(content).__name__}, not a mapping. Save a dictionary there."
        )
    return content


def _pickle_of(path: Path) -> bytes:
    """The archive's ``data.pkl``.

    Raises:
        WeightsError: it is another kind of file, damaged, or too large.
    """
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(file, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise WeightsError(f"The checkpoint '{path}' is not an ordinary file. Replace it by one.")
            start = stream.read(4)
            if start[:2] != b"PK":
                raise WeightsError(f"The checkpoint '{path}' {_other_kind(start)}")
            with zipfile.ZipFile(stream) as archive:
                data = archive.open(_entry(archive, path)).read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise WeightsError(
            f"The checkpoint '{path}' cannot be read: {reason(error, 120)}. Make it readable."
        ) from error
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError, struct.error) as error:
        raise WeightsError(
            f"The checkpoint '{path}' is damaged or incomplete: {reason(error, 120).rstrip('.')}. Copy or download it "
            "again."
        ) from error
    if len(data) > MOST_BYTES:
        raise WeightsError(
            f"The checkpoint '{path}' describes itself in more than {MOST_BYTES >> 20} MB, which none does. Save the "
            "network's state_dict() and its configuration alone."
        )
    return data


def _other_kind(start: bytes) -> str:
    """What a file is that is no archive, by its first bytes."""
    if start[:1] == b"\x80":
        return (
            "is a bare pickle, as PyTorch wrote before version 1.6, and is not opened. Save it again with a newer "
            "torch.save."
        )
    return f"is not an archive of torch.save: it begins with {start!r}. Give the file that was saved or downloaded."


def _entry(archive: zipfile.ZipFile, path: Path) -> zipfile.ZipInfo:
    names = archive.namelist()
    if any(name.endswith("/constants.pkl") for name in names):
        raise WeightsError(
            f"The checkpoint '{path}' is a compiled network (TorchScript), not weights with a configuration. Give the "
            "checkpoint that was trained."
        )
    found = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(found) != 1:
        raise WeightsError(
            f"The checkpoint '{path}' is an archive without a data.pkl of torch.save (it holds "
            f"{', '.join(names[:3])[:200] or 'nothing'}). Give the file that was saved or downloaded."
        )
    return archive.getinfo(found[0])


# The pickle, read and not run ---------------------------------------------------------------------------------------

_PUSHED = frozenset(
    [
        "NONE",
        "NEWTRUE",
        "NEWFALSE",
        "BININT",
        "BININT1",
        "BININT2",
        "LONG1",
        "BINFLOAT",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
        "BINBYTES",
        "SHORT_BINBYTES",
        "BINBYTES8",
        "BINSTRING",
        "SHORT_BINSTRING",
    ]
)
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Reader:
    """One pickle, instruction by instruction."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def value(self) -> Any:
        """What it makes.

        Raises:
            _Refused: it holds something that may run code.
            ValueError, TypeError, KeyError, IndexError: it is damaged.
        """
        for number, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(self._data))):
            if number > MOST_STEPS:
                raise _Refused(f"it takes more than {MOST_STEPS} steps to read")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("there is no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _PUSHED:
            self._stack.append(_CONSTANTS.get(name, argument))
        elif name in _EMPTY:
            self._stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            self._stack[-count:] = [tuple(self._stack[-count:])]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(self._stack))
        elif name not in ("PROTO", "FRAME"):
            self._built(name, argument)

    def _built(self, name: str, argument: Any) -> None:
        """The instructions that put values together."""
        if name in ("APPENDS", "SETITEMS", "ADDITEMS", "TUPLE"):
            items = self._since_mark()
            if name == "TUPLE":
                self._stack.append(tuple(items))
            else:
                _fill(self._stack[-1], items)
        elif name in ("APPEND", "SETITEM"):
            count = 1 if name == "APPEND" else 2
            items = self._stack[-count:]
            del self._stack[-count:]
            _fill(self._stack[-1], items)
        elif name == "GLOBAL":
            self._stack.append(_known(argument.replace(" ", ".", 1)))
        elif name == "STACK_GLOBAL":
            module, attribute = self._pop(2)
            self._stack.append(_known(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            made_by, arguments = self._pop(2)
            self._stack.append(_made(made_by, arguments))
        elif name == "BUILD":
            self._pop(1)  # attributes of a state dict (its versions), the byte order of a dtype
        elif name == "BINPERSID":
            self._stack.append(_storage(*self._pop(1)))
        else:
            raise _Refused(f"it holds the instruction {name}")

    def _pop(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        if len(items) < count:
            raise ValueError("too few values")
        del self._stack[-count:]
        return items

    def _since_mark(self) -> list[Any]:
        mark = self._marks.pop()
        items = self._stack[mark:]
        del self._stack[mark:]
        return items


def _fill(container: Any, items: list[Any]) -> None:
    keys = items[::2] if isinstance(container, dict) else items if isinstance(container, set) else []
    if not all(key is None or isinstance(key, (str, int, float)) for key in keys):
        raise _Refused("it holds a key that is neither text nor number")  # tuples in tuples take for ever to hash
    if isinstance(container, dict):
        container.update(zip(keys, items[1::2], strict=True))
    elif isinstance(container, list):
        container.extend(items)
    elif isinstance(container, set):
        container.update(items)
    else:
        raise ValueError(f"a {type(container).__name__} is filled")


def _known(full: str) -> _Name | str:
    """A name that has a meaning here; a dtype of torch is the text ``torch.float32``."""
    if full in _MAKERS or full in _STORAGES:
        return _Name(full)
    if full.startswith("torch.") and full.removeprefix("torch.") in _STORAGES.values():
        return full
    raise _Refused(f"it names {full[:200]}")


_STORAGES = {
    "torch.FloatStorage": "float32",
    "torch.DoubleStorage": "float64",
    "torch.HalfStorage": "float16",
    "torch.BFloat16Storage": "bfloat16",
    "torch.LongStorage": "int64",
    "torch.IntStorage": "int32",
    "torch.ShortStorage": "int16",
    "torch.CharStorage": "int8",
    "torch.ByteStorage": "uint8",
    "torch.BoolStorage": "bool",
    "torch.ComplexFloatStorage": "complex64",
    "torch.ComplexDoubleStorage": "complex128",
}
"""What the numbers of a tensor are, by the class that held them."""


def _storage(identity: Any) -> TensorStub:
    """Numbers that lie beside the pickle, ``("storage", torch.FloatStorage, key, device, count)``; never read."""
    kind = identity[1] if isinstance(identity, tuple) and len(identity) == 5 else None
    if isinstance(kind, _Name) and kind.full in _STORAGES:
        return TensorStub(_sizes([identity[4]]), _STORAGES[kind.full])
    raise _Refused("it refers to something else than the numbers of tensors")


# What the few names mean ----------------------------------------------------------------------------------------------


def _made(name: Any, arguments: Any) -> Any:
    if not isinstance(name, _Name) or name.full not in _MAKERS or not isinstance(arguments, tuple):
        raise _Refused(f"it calls {getattr(name, 'full', type(name).__name__)[:200]}")
    return _MAKERS[name.full](*arguments)


def _tensor(storage: Any, offset: Any, size: Any, *_: Any) -> TensorStub:
    if not isinstance(storage, TensorStub):
        raise ValueError("a tensor without numbers")
    return TensorStub(_sizes(size), storage.dtype)


def _sizes(given: Any = ()) -> tuple[int, ...]:
    if len(given) > 64 or not all(isinstance(n, int) for n in given):
        raise ValueError("a tensor whose sizes are not a few numbers")
    return tuple(given)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _mapping(pairs: Any = (), *_: Any) -> dict[Any, Any]:
    if len(pairs) > 100:  # of what can be repeated, no copy may be large
        raise _Refused("it copies a large mapping")
    made: dict[Any, Any] = {}
    for pair in pairs:
        _fill(made, list(pair))
    return made


def _encoded(text: str, encoding: str = "latin1") -> bytes:
    if len(text) > 100 or encoding not in ("latin1", "latin-1"):
        raise _Refused("it encodes something else than a number")
    return text.encode("latin1")


def _number_type(code: Any, *_: Any) -> _NumberType:
    if isinstance(code, str) and code in _NUMBERS:
        return _NumberType(code)
    raise _Refused(f"it holds a NumPy dtype {str(code)[:50]!r}")


_NUMBERS = dict(
    pair.split("=")
    for pair in ["b1=?", "i1=b", "i2=h", "i4=i", "i8=q", "u1=B", "u2=H", "u4=I", "u8=Q", "f2=e", "f4=f", "f8=d"]
)
"""NumPy's letters for numbers, and those of ``struct``."""


def _number(kind: Any, data: Any) -> bool | int | float:
    if not isinstance(kind, _NumberType) or not isinstance(data, bytes):
        raise _Refused("it holds a NumPy scalar that is no number")
    return struct.unpack(f"<{_NUMBERS[kind.code]}", data)[0]


def _device(kind: Any, index: Any = None) -> str:
    if not isinstance(kind, str) or not isinstance(index, (int, type(None))):
        raise ValueError("a device without a name")
    return kind[:50] if index is None else f"{kind[:50]}:{index}"


_MAKERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _mapping,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": _sizes,
    "torch.device": _device,
    "_codecs.encode": _encoded,
    "numpy.dtype": _number_type,
    "numpy.core.multiarray.scalar": _number,
    "numpy._core.multiarray.scalar": _number,
}
"""What each name that may stand in a checkpoint makes of its arguments: plain values, whatever they are."""
