"""How values of each type are kept as texts and node references of a parameter node.

The names and texts are those that Slicer writes, so scenes can be exchanged: lists as `name.len`,
`name.0`, …; alternatives of a union as `name.<which>`; members of a pack as `name.member`.
"""

from __future__ import annotations

import collections.abc
import copy
import enum
import pathlib
import types
import typing
from typing import Any

import qt
import slicer

from .annotations import Default, IsInstance, NotNone, Validator, findFirstAnnotation, splitAnnotations

PATH_TYPES = (
    pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath,
    pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath,
)  # fmt: skip


class Kept:
    """One type of value. Base: a value that is one text."""

    def __init__(self, python: Any, default: Any, validators: tuple[Validator, ...] = ()) -> None:
        self.python, self._default, self.validators = python, default, validators

    def default(self) -> Any:
        return copy.copy(self._default)

    def check(self, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)

    def fits(self, value: Any) -> bool:
        """Whether a union would give the value to this alternative."""
        return type(value) is self.python

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(name))

    def put(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        node.SetParameter(name, self.toText(value))

    def get(self, node: Any, name: str) -> Any:
        return self.fromText(node.GetParameter(name))

    def drop(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)

    def toText(self, value: Any) -> str:
        return str(value)

    def fromText(self, text: str) -> Any:
        return self.python(text)


class KeptBool(Kept):
    def toText(self, value: Any) -> str:
        return "True" if value else "False"

    def fromText(self, text: str) -> bool:
        return text == "True"


class KeptEnum(Kept):
    def toText(self, value: Any) -> str:
        return value.name

    def fromText(self, text: str) -> Any:
        try:
            return self.python[text]
        except KeyError:
            raise ValueError(f"Found {text!r} in parameter node but it is not a name in {self.python!r}") from None


class KeptColor(Kept):
    def toText(self, value: Any) -> str:
        return value.name(1)


class KeptNone(Kept):
    def put(self, node: Any, name: str, value: Any) -> None:
        if value is not None:
            raise ValueError("Value must be None")
        node.SetParameter(name, "True")

    def fromText(self, text: str) -> None:
        return None


class KeptNode(Kept):
    """A node reference; an empty text beside it says that the parameter was set, also to None."""

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.python)

    def put(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)

    def get(self, node: Any, name: str) -> Any:
        return node.GetNodeReference(name)

    def drop(self, node: Any, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class KeptList(Kept):
    def __init__(self, element: Kept) -> None:
        super().__init__(list, [])
        self.element = element

    def fits(self, value: Any) -> bool:
        return isinstance(value, (list, ObservedList))

    def has(self, node: Any, name: str) -> bool:
        return bool(node.HasParameter(f"{name}.len"))

    def _length(self, node: Any, name: str) -> int:
        return int(node.GetParameter(f"{name}.len")) if self.has(node, name) else 0

    def put(self, node: Any, name: str, value: Any) -> None:
        values = list(value)
        for item in values:
            self.element.check(item)
        with slicer.util.NodeModify(node):
            before = self._length(node, name)
            for index, item in enumerate(values):
                self.element.put(node, f"{name}.{index}", item)
            node.SetParameter(f"{name}.len", str(len(values)))
            for index in range(len(values), before):
                self.element.drop(node, f"{name}.{index}")

    def get(self, node: Any, name: str) -> ObservedList:
        items = [self.element.get(node, f"{name}.{index}") for index in range(self._length(node, name))]
        return ObservedList(items, lambda values: self.put(node, name, values))

    def drop(self, node: Any, name: str) -> None:
        for index in range(self._length(node, name)):
            self.element.drop(node, f"{name}.{index}")
        node.UnsetParameter(f"{name}.len")


class KeptTuple(Kept):
    def __init__(self, elements: list[Kept]) -> None:
        super().__init__(tuple, ())
        self.elements = elements

    def default(self) -> tuple:
        return tuple(element.default() for element in self.elements)

    def has(self, node: Any, name: str) -> bool:
        return self.elements[0].has(node, f"{name}.0")

    def put(self, node: Any, name: str, value: Any) -> None:
        values = tuple(value)
        if len(values) != len(self.elements):
            raise ValueError("Unexpected number of tuple values")
        with slicer.util.NodeModify(node):
            for index, (element, item) in enumerate(zip(self.elements, values)):
                element.put(node, f"{name}.{index}", item)

    def get(self, node: Any, name: str) -> tuple:
        return tuple(element.get(node, f"{name}.{index}") for index, element in enumerate(self.elements))

    def drop(self, node: Any, name: str) -> None:
        for index, element in enumerate(self.elements):
            element.drop(node, f"{name}.{index}")


class KeptDict(Kept):
    """A list of pairs."""

    def __init__(self, key: Kept, value: Kept) -> None:
        super().__init__(dict, {})
        self.pairs = KeptList(KeptTuple([key, value]))

    def has(self, node: Any, name: str) -> bool:
        return self.pairs.has(node, name)

    def put(self, node: Any, name: str, value: Any) -> None:
        self.pairs.put(node, name, value.items())

    def get(self, node: Any, name: str) -> ObservedDict:
        return ObservedDict(dict(self.pairs.get(node, name)), lambda values: self.put(node, name, values))

    def drop(self, node: Any, name: str) -> None:
        self.pairs.drop(node, name)


class KeptUnion(Kept):
    def __init__(self, alternatives: list[Kept]) -> None:
        optional = len(alternatives) == 2 and isinstance(alternatives[1], KeptNone)
        super().__init__(None, None if optional else alternatives[0].default())
        self.alternatives = alternatives

    def has(self, node: Any, name: str) -> bool:
        return any(kept.has(node, f"{name}.{index}") for index, kept in enumerate(self.alternatives))

    def put(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        for index, kept in enumerate(self.alternatives):
            if kept.fits(value):
                with slicer.util.NodeModify(node):
                    self.drop(node, name)
                    kept.put(node, f"{name}.{index}", value)
                return
        raise TypeError(f"Unable to write value '{value}' of type '{type(value)}'")

    def get(self, node: Any, name: str) -> Any:
        for index, kept in enumerate(self.alternatives):
            if kept.has(node, f"{name}.{index}"):
                return kept.get(node, f"{name}.{index}")
        raise KeyError(f"Unable to find value for name: {name}")

    def drop(self, node: Any, name: str) -> None:
        for index, kept in enumerate(self.alternatives):
            kept.drop(node, f"{name}.{index}")


class KeptPack(Kept):
    """Each member under its own name; what is read writes itself back when a member changes."""

    def __init__(self, pack: type) -> None:
        super().__init__(pack, None, (NotNone(), IsInstance(pack)))

    def default(self) -> Any:
        return self.python()

    def fits(self, value: Any) -> bool:
        return isinstance(value, self.python)

    def _members(self) -> list[tuple[str, Kept]]:
        return [(name, parameter.kept) for name, parameter in self.python.allParameters.items()]

    def has(self, node: Any, name: str) -> bool:
        first, kept = self._members()[0]
        return kept.has(node, f"{name}.{first}")

    def put(self, node: Any, name: str, value: Any) -> None:
        self.check(value)
        with slicer.util.NodeModify(node):
            for member, kept in self._members():
                kept.put(node, f"{name}.{member}", value.__dict__[f"_pack_{member}"])

    def get(self, node: Any, name: str) -> Any:
        pack = self.python.__new__(self.python)
        for member, kept in self._members():
            pack.__dict__[f"_pack_{member}"] = kept.get(node, f"{name}.{member}")
        pack.__dict__["_packChanged"] = lambda: self.put(node, name, pack)
        return pack

    def drop(self, node: Any, name: str) -> None:
        for member, kept in self._members():
            kept.drop(node, f"{name}.{member}")


# --- containers that write themselves back ----------------------------------------------------------------


class ObservedList(collections.abc.MutableSequence):
    """A list whose changes reach the parameter node. `+=` works, `+` is refused: its result would not."""

    def __init__(self, values: list, save: Any) -> None:
        self._list, self._save = values, save

    def __getitem__(self, index):
        return self._list[index]

    def __len__(self):
        return len(self._list)

    def __setitem__(self, index, value):
        self._list[index] = value
        self._save(self._list)

    def __delitem__(self, index):
        del self._list[index]
        self._save(self._list)

    def insert(self, index, value):
        self._list.insert(index, value)
        self._save(self._list)

    def extend(self, values):
        self._list.extend(values)
        self._save(self._list)

    def __iadd__(self, values):
        self.extend(values)
        return self

    def sort(self, *, key=None, reverse=False):
        self._list.sort(key=key, reverse=reverse)
        self._save(self._list)

    def __add__(self, other):
        raise NotImplementedError("Adding an ObservedList is not supported. However, += is supported.")

    __radd__ = __add__

    def __eq__(self, other):
        return self._list == (other._list if isinstance(other, ObservedList) else other)

    def __repr__(self):
        return f"ObservedList({self._list})"


class ObservedDict(collections.abc.MutableMapping):
    """A dict whose changes reach the parameter node."""

    def __init__(self, values: dict, save: Any) -> None:
        self._dict, self._save = values, save

    def __getitem__(self, key):
        return self._dict[key]

    def __setitem__(self, key, value):
        self._dict[key] = value
        self._save(self._dict)

    def __delitem__(self, key):
        del self._dict[key]
        self._save(self._dict)

    def __iter__(self):
        return iter(self._dict)

    def __len__(self):
        return len(self._dict)

    def __eq__(self, other):
        return self._dict == (other._dict if isinstance(other, ObservedDict) else other)

    def __repr__(self):
        return f"ObservedDict({self._dict})"


# --- from type to storage ---------------------------------------------------------------------------------


def keptFor(annotated: Any) -> Kept:
    """The storage of a type with the validators that are annotated to it."""
    kind, annotations = splitAnnotations(annotated)
    kept = _keptForPlain(kind)
    kept.validators += tuple(a for a in annotations if isinstance(a, Validator))
    return kept


def _keptForPlain(kind: Any) -> Kept:
    arguments = [*typing.get_args(kind)]
    origin = typing.get_origin(kind)
    if kind is bool:
        return KeptBool(bool, False, (NotNone(), IsInstance(bool)))
    if kind in (int, float):
        return Kept(kind, 0, (NotNone(), IsInstance((int, float) if kind is float else int)))
    if kind is str or kind in PATH_TYPES:
        return Kept(kind, kind(), (NotNone(), IsInstance(kind)))
    if kind is type(None):
        return KeptNone(type(None), None)
    if kind == qt.QColor:
        return KeptColor(kind, qt.QColor(), (NotNone(), IsInstance(kind)))
    if kind is list or origin is list:
        return KeptList(keptFor(arguments[0]))
    if origin is tuple:
        return KeptTuple([keptFor(argument) for argument in arguments])
    if origin is dict:
        return KeptDict(keptFor(arguments[0]), keptFor(arguments[1]))
    if origin is typing.Union or isinstance(kind, types.UnionType):
        return KeptUnion([keptFor(argument) for argument in arguments])
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return KeptEnum(kind, next(iter(kind)), (IsInstance(kind),))
    if isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode):
        return KeptNode(kind, None, (IsInstance(kind),))
    if getattr(kind, "_is_parameterPack", False):
        return KeptPack(kind)
    raise Exception(f"Unable to create serializer for type: {kind}")


class Parameter:
    """One member of a wrapper or a pack, as its class declares it."""

    def __init__(self, owner: type, name: str, annotated: Any) -> None:
        self.basename, self.unalteredType = name, annotated
        self.kept = keptFor(annotated)
        if hasattr(owner, name):
            self._default = Default(getattr(owner, name))
        else:
            self._default = findFirstAnnotation(splitAnnotations(annotated)[1], Default) or Default(generator=self.kept.default)

    @property
    def default(self) -> Default:
        return self._default


def declaredParameters(owner: type) -> dict[str, Parameter]:
    hints = typing.get_type_hints(owner, include_extras=True)
    return {name: Parameter(owner, name, annotated) for name, annotated in hints.items()}
