"""Parameters that belong together: `@parameterPack`."""

from __future__ import annotations

from typing import Any

from .annotations import splitDotted, unannotatedType
from .stored import declaredParameters


def parameterPack(classtype=None):
    """Make a class with annotated members a pack that a parameter node wrapper can hold."""
    return _make if classtype is None else _make(classtype)


def _make(cls: type) -> type:
    parameters = declaredParameters(cls)
    if not parameters:
        raise ValueError("Unable to find any members in parameterPack")
    ownInit = cls.__dict__.get("__init__")

    def init(self, *args, **kwargs):
        for name, parameter in parameters.items():
            _set(self, name, parameter.default.value)
        if ownInit:
            ownInit(self, *args, **kwargs)
            return
        for name, value in [*zip(parameters, args), *kwargs.items()]:
            if name not in parameters:
                raise TypeError(f"__init__() got an unexpected keyword argument '{name}'")
            _set(self, name, value)

    def _set(self, name: str, value: Any) -> None:
        parameters[name].kept.check(value)
        self.__dict__[f"_pack_{name}"] = value
        changed = self.__dict__.get("_packChanged")
        if changed:
            changed()

    def equal(self, other) -> bool:
        return isinstance(other, cls) and all(getattr(self, name) == getattr(other, name) for name in parameters)

    def text(self) -> str:
        return f"{cls.__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in parameters)})"

    for name in parameters:
        setattr(cls, name, property(lambda self, n=name: self.__dict__[f"_pack_{n}"], lambda self, v, n=name: _set(self, n, v)))
    cls.__init__ = init
    for method, function in (("__eq__", equal), ("__str__", text), ("__repr__", text)):
        if method not in cls.__dict__:
            setattr(cls, method, function)
    cls.allParameters = parameters
    cls._is_parameterPack = True
    cls.getValue, cls.setValue, cls.dataType = _getValue, _setValue, classmethod(_dataType)
    return cls


def _topOf(pack: Any, membername: str) -> tuple[str, str | None]:
    top, rest = splitDotted(membername)
    if not hasattr(pack, top):
        raise ValueError(f"{pack} has no member '{top}'")
    return top, rest


def _getValue(self, membername: str):
    top, rest = _topOf(self, membername)
    value = getattr(self, top)
    return value if rest is None else value.getValue(rest)


def _setValue(self, membername: str, value) -> None:
    top, rest = _topOf(self, membername)
    if rest is None:
        setattr(self, top, value)
    else:
        getattr(self, top).setValue(rest, value)


def _dataType(cls, membername: str):
    top, rest = _topOf(cls, membername)
    kind = cls.allParameters[top].unalteredType
    return kind if rest is None else unannotatedType(kind).dataType(rest)


def isParameterPack(obj) -> bool:
    return getattr(obj, "_is_parameterPack", False)


def nestedParameterNames(pack) -> list[str]:
    names = []
    for name, parameter in unannotatedType(pack).allParameters.items():
        kind = unannotatedType(parameter.unalteredType)
        names += [f"{name}.{inner}" for inner in nestedParameterNames(kind)] if isParameterPack(kind) else [name]
    return names


@parameterPack
class FloatRange:
    """A lower and an upper value."""

    _minimum: float
    _maximum: float

    def __init__(self, minimum=0, maximum=0) -> None:
        self.setRange(minimum, maximum)

    @staticmethod
    def checkRange(minimum, maximum) -> None:
        if not minimum <= maximum:
            raise ValueError(f"FloatRange must have minimum <= maximum: {minimum} <= {maximum}")

    def setRange(self, minimum, maximum) -> None:
        self.checkRange(minimum, maximum)
        self._minimum, self._maximum = minimum, maximum

    @property
    def minimum(self) -> float:
        return self._minimum

    @minimum.setter
    def minimum(self, value: float) -> None:
        self.checkRange(value, self._maximum)
        self._minimum = value

    @property
    def maximum(self) -> float:
        return self._maximum

    @maximum.setter
    def maximum(self, value: float) -> None:
        self.checkRange(self._minimum, value)
        self._maximum = value

    def __str__(self) -> str:
        return f"FloatRange(minimum={self._minimum}, maximum={self._maximum})"
