"""PySide6 objects that behave as PythonQt shows them to a Slicer module.

Slicer wraps its Qt with PythonQt, not with PySide: properties are attributes, classes do not inherit from
each other, lists come back as tuples, keyword arguments are refused, exceptions in slots are printed and
swallowed. A module meets these rules only when it runs in Slicer, unless something applies them before.
PySide6's own `true_property` makes attributes of properties too, but takes the setters away (`setText`), and
allows what Slicer refuses: `timer.singleShot = True`, attributes that do not exist.

So a module under SlicerHost never holds a PySide6 object. It holds a `Wrapped` object whose class was made
from the list of what the real class offers (`offered.py`), and which passes each use on to a *native*
PySide6 object. `wrap` and `unwrap` are the only two doors between the sides.

    label = wrappedClass("QLabel")("text")     # the module's side
    label.text                                 # 'text': a property
    unwrap(label).text()                       # the host's side: a PySide6 QLabel
"""

from __future__ import annotations

import ctypes
import enum
import functools
import inspect
import numbers
import sys
import traceback
import types
import typing
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

from . import offered

#: PySide6's own warnings about functions that Qt 6 deprecates say nothing about a module made for Qt 5.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=__name__)

if sys.version_info < (3, 12):
    # PySide6's wheels are built for Pythons in which None, True and False are immortal: each function that
    # returns one takes a reference that it was not given. Before Python 3.12 that ends in a crash after some
    # thousand calls, so these three get more references than can be used up.
    for _constant in (None, True, False):
        ctypes.c_ssize_t.from_address(id(_constant)).value += 1 << 40

NATIVE_MODULES = (QtWidgets, QtGui, QtCore)

#: Qt and Python disagree about these words; PythonQt accepts a trailing underscore.
KEYWORDS = {"exec": "exec_", "raise": "raise_", "print": "print_"}


# --- errors that Slicer would only print --------------------------------------------------------------


class SwallowedErrors(list):
    """Exceptions that Slicer prints and swallows, kept so that a test can fail on them."""

    def record(self, error: BaseException) -> None:
        traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
        self.append(error)


errors = SwallowedErrors()


# --- values -------------------------------------------------------------------------------------------


class EnumValue(int):
    """An enum value: an int to the module (no `.name`, `|` gives a plain int), a PySide6 enum to Qt."""

    native: enum.Enum

    def __new__(cls, native: enum.Enum) -> EnumValue:
        value = super().__new__(cls, native.value)
        value.native = native
        return value


def wrap(value: Any) -> Any:
    """From the host's side to the module's."""
    if isinstance(value, enum.Flag):
        return int(value.value)
    if isinstance(value, enum.Enum) and type(value).__module__.startswith("PySide6"):
        return EnumValue(value)
    if isinstance(value, (list, tuple)):
        return tuple(wrap(item) for item in value)
    if isinstance(value, dict):
        return {key: wrap(item) for key, item in value.items()}
    if isinstance(value, Shiboken.Object):
        return _wrapObject(value)
    return value


def unwrap(value: Any) -> Any:
    """From the module's side to the host's."""
    if isinstance(value, Wrapped):
        return value._native()
    if isinstance(value, EnumValue):
        return value.native
    if isinstance(value, (list, tuple)):
        return [unwrap(item) for item in value]
    if isinstance(value, dict):
        return {key: unwrap(item) for key, item in value.items()}
    if type(value).__module__ == "numpy" and hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    return value


# --- calls: arguments are converted as PythonQt does --------------------------------------------------


def _signatures(function: Callable) -> list[inspect.Signature]:
    from shibokensupport.signature import get_signature  # loads a parser: only when a call needs it

    found = get_signature(function)
    return found if isinstance(found, list) else [found] if found else []


def _convert(value: Any, annotation: Any) -> Any:
    """One argument made to fit a parameter, or TypeError. `setText(5)`, `setValue(2.7)`, flags as int."""
    options = typing.get_args(annotation) or (annotation,)
    kinds = [kind for kind in options if isinstance(kind, type)]
    if any(isinstance(value, kind) for kind in kinds if kind is not int or not isinstance(value, enum.Enum)):
        return value
    for kind in kinds:
        if issubclass(kind, enum.Enum) and isinstance(value, (int, enum.Enum)):
            return kind(int(value.value if isinstance(value, enum.Enum) else value))
        if kind is int and isinstance(value, enum.Enum):
            return int(value.value)
        if kind in (int, float, bool) and isinstance(value, numbers.Real):
            return kind(value)
        if kind in (bytes, QtCore.QByteArray) and isinstance(value, str):
            return value.encode()
        if kind is str:
            return "" if value is None else str(value)
    if not kinds or value is None or type(None) in options:
        return value
    raise TypeError(value)


def callNative(function: Callable, arguments: tuple, boundTo: Any = None) -> Any:
    """Call a PySide6 function with a module's arguments."""
    if any(getattr(argument, "ndim", 0) > 0 for argument in arguments):
        raise ValueError("Could not find matching overload for given arguments: PythonQt takes no arrays")
    native = [unwrap(argument) for argument in arguments]
    first = [] if boundTo is None else [boundTo]
    try:
        return function(*first, *native)
    except (TypeError, ValueError, OverflowError) as error:
        if inspect.isfunction(function) or inspect.ismethod(function):
            raise  # one of this package's widgets: the error is its own
        refusal = error
    for signature in _signatures(function):
        parameters = [p for p in signature.parameters.values() if p.name != "self" and p.kind != p.KEYWORD_ONLY]
        if len(native) > len(parameters):
            continue
        try:
            converted = [_convert(value, p.annotation) for value, p in zip(native, parameters)]
            return function(*first, *converted)
        except (TypeError, ValueError, OverflowError):
            continue
    raise ValueError(
        f"Could not find matching overload for given arguments: {tuple(arguments)!r} ({refusal})"
    ) from None


def _refuse(keywords: dict) -> None:
    if keywords:
        raise ValueError(f"PythonQt takes no keyword arguments: {', '.join(keywords)}")


_CPP_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "bool": bool,
    "int": int,
    "double": float,
    "QString": lambda value: "" if value is None else str(value),
    "QStringList": lambda value: [str(item) for item in ([value] if isinstance(value, str) else value)],
}


# --- members of wrapped classes -----------------------------------------------------------------------


class PropertyMember:
    """A Qt property: an attribute, never a call."""

    def __init__(self, name: str, cppType: str) -> None:
        self.name = name
        self.cppType, _, note = cppType.partition(" (")
        self.readOnly = bool(note)

    def __get__(self, instance: Wrapped | None, owner: type | None = None) -> Any:
        if instance is None:
            return self
        value = wrap(self._holder(instance).property(self.name))
        if isinstance(value, EnumValue) and self.cppType == "int":
            return int(value)
        return value

    def _holder(self, instance: Wrapped) -> QtCore.QObject:
        native = instance._native()
        if native.metaObject().indexOfProperty(self.name) < 0:
            raise NotImplementedError(f"SlicerHost has no {type(instance).__name__}.{self.name} yet")
        return native

    def __set__(self, instance: Wrapped, value: Any) -> None:
        if self.readOnly:
            raise AttributeError(f"Property '{self.name}' of type '{self.cppType}' does not have a setter")
        native, value = self._holder(instance), unwrap(value)
        if isinstance(value, enum.Enum):
            value = int(value.value)
        convert = _CPP_CONVERSIONS.get(self.cppType)
        try:
            native.setProperty(self.name, convert(value) if convert else value)
        except (TypeError, ValueError):
            raise ValueError(f"Property '{self.name}' of type '{self.cppType}' cannot be {value!r}") from None


class MethodMember:
    """A method: bound where it is looked up on an object; on the class, as in `qt.QDialog.closeEvent(self, event)`, the
    object is the first argument."""

    def __init__(self, name: str, nativeClass: type) -> None:
        self.__name__ = name
        self.nativeClass = nativeClass
        self.nativeName = name if hasattr(nativeClass, name) else KEYWORDS.get(name, name)
        self.function = getattr(nativeClass, self.nativeName, None)
        #: Static functions of Qt come as built-ins, methods as descriptors.
        self.static = self.function is not None and inspect.isbuiltin(self.function)

    def __get__(self, instance: Wrapped | None, owner: type | None = None) -> Callable:
        if instance is not None:
            return types.MethodType(self, instance)
        return functools.partial(self, None) if self.static else self

    def __call__(self, instance: Wrapped | None, *arguments: Any, **keywords: Any) -> Any:
        _refuse(keywords)
        special = SPECIAL_METHODS.get(self.__name__)
        if special:
            return wrap(special(self, instance, arguments))
        if self.function is None:
            raise NotImplementedError(f"SlicerHost has no {self.nativeClass.__name__}.{self.__name__}()")
        if not self.static:
            return wrap(callNative(self.function, arguments, instance._native()))
        # A name like QFile.exists is static and not: only the object knows which one is meant.
        function = self.function if instance is None else getattr(instance._native(), self.nativeName)
        return wrap(callNative(function, arguments))


class HiddenProperty(MethodMember):
    """A property that a static method of the same name hides: the name is the method and cannot be assigned; only the
    setter (`timer.setSingleShot(True)`) reaches the property."""

    def __set__(self, instance: Wrapped, value: Any) -> None:
        raise AttributeError(f"Slot '{self.__name__}' can not be overwritten on {type(instance).__name__} object")


#: In 205 classes of Slicer's that were checked this is the only one.
HIDDEN_PROPERTIES = {"QTimer": ("singleShot",)}


class SignalMember:
    """A signal with all its overloads."""

    def __init__(self, name: str, overloads: list[str], method: MethodMember | None = None) -> None:
        self.name = name
        self.overloads = overloads
        self.method = method  # QProcess.error is a signal and a method

    def __get__(self, instance: Wrapped | None, owner: type | None = None) -> Any:
        return self if instance is None else BoundSignal(self, instance)


class BoundSignal:
    """`button.clicked`: `connect`, `disconnect`, `emit`. Overloads are chosen by the text form only."""

    def __init__(self, member: SignalMember, instance: Wrapped) -> None:
        self._member = member
        self._instance = instance

    def connect(self, slot: Callable) -> bool:
        return connect(self._instance, preferredOverload(self._member.overloads), slot)

    def disconnect(self, slot: Callable | None = None) -> bool:
        return disconnect(self._instance, self._member.name, slot)

    def emit(self, *arguments: Any) -> None:
        native = getattr(self._instance._native(), self._member.name)
        native.emit(*[unwrap(argument) for argument in arguments])

    def __call__(self, *arguments: Any) -> Any:
        if self._member.method:
            return self._member.method(self._instance, *arguments)
        return self.emit(*arguments)


class EnumMember:
    """An enum value or enum type on a class."""

    def __init__(self, name: str, nativeClass: type) -> None:
        self.name = name
        self.nativeClass = nativeClass

    def __get__(self, instance: Wrapped | None, owner: type | None = None) -> Any:
        found = _lookupEnum(self.nativeClass, self.name)
        if found is None:
            raise AttributeError(f"SlicerHost: Qt 6 has no {self.nativeClass.__name__}.{self.name}")
        return found


def _lookupEnum(native: Any, name: str) -> Any:
    found = getattr(native, name, None)
    if isinstance(found, enum.Enum):
        return EnumValue(found)
    return found if isinstance(found, int) else None


# --- the classes --------------------------------------------------------------------------------------


class WrappedType(type):
    """What the classes themselves refuse. The module writes no classes from Qt's, so SlicerHost makes none."""

    _native_class: type

    def __new__(meta, name: str, bases: tuple, namespace: dict) -> WrappedType:
        if "_native_class" not in namespace:
            raise NotImplementedError(
                f"SlicerHost makes no Python subclasses of {bases[0].__name__}, the panel has none"
            )
        return super().__new__(meta, name, bases, namespace)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        _refuse(keywords)
        return super().__call__(*arguments)

    def __setattr__(cls, name: str, value: Any) -> None:
        raise AttributeError(f"attributes of {cls.__name__} cannot be set")


class Wrapped(metaclass=WrappedType):
    """What a module holds instead of a Qt object."""

    __slots__ = ("__weakref__", "_held")
    _native_class: type = Shiboken.Object

    def __init__(self, *arguments: Any) -> None:
        if self._native_class in _NOT_CONSTRUCTIBLE:
            raise ValueError(f"{type(self).__name__} cannot be constructed")
        if self._native_class is QtGui.QImage and any(isinstance(a, (bytes, bytearray, memoryview)) for a in arguments):
            raise ValueError("PythonQt cannot make a QImage from bytes")
        native = callNative(self._native_class, arguments)
        object.__setattr__(self, "_held", native)
        if isinstance(native, QtCore.QObject):
            _known[Shiboken.getCppPointer(native)[0]] = self

    def _native(self) -> Any:
        if not Shiboken.isValid(self._held):
            raise ValueError(f"Trying to use a destroyed {type(self).__name__} object")
        return self._held

    def __setattr__(self, name: str, value: Any) -> None:
        member = next((vars(base)[name] for base in type(self).__mro__ if name in vars(base)), None)
        if isinstance(member, (PropertyMember, HiddenProperty)):
            member.__set__(self, value)
            return
        raise AttributeError(
            f"'{type(self).__name__}' object has no attribute '{name}'"
            " (creating new attributes on C++ objects is not allowed)"
        )

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")

    def __bool__(self) -> bool:
        return Shiboken.isValid(self._held)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Wrapped):
            return NotImplemented
        if self._held is other._held:
            return True
        return Shiboken.isValid(self._held) and Shiboken.isValid(other._held) and self._held == other._held

    def __hash__(self) -> int:
        if isinstance(self._held, QtCore.QObject):
            return id(self._held)
        return hash(self._held)

    def __str__(self) -> str:
        return str(self._held) if isinstance(self._held, QtCore.QByteArray) else repr(self)

    def __repr__(self) -> str:
        state = "" if Shiboken.isValid(self._held) else ", destroyed"
        return f"{type(self).__name__} ({type(self).__name__} at 0x{id(self._held):x}{state})"


_known: weakref.WeakValueDictionary[int, Wrapped] = weakref.WeakValueDictionary()
_classes: dict[type, WrappedType] = {}
_NOT_CONSTRUCTIBLE: set[type] = set()


def _wrapObject(native: Shiboken.Object) -> Wrapped | None:
    isObject = isinstance(native, QtCore.QObject)
    pointer = Shiboken.getCppPointer(native)[0] if isObject and Shiboken.isValid(native) else 0
    if pointer and (known := _known.get(pointer)) is not None and known._held is native:
        return known
    cls = next(filter(None, map(_classOf, type(native).__mro__)), None)
    if cls is None and (name := type(native).__name__) in offered.names("qt"):
        raise NotImplementedError(f"SlicerHost has no qt.{name}, the panel does not use it; see SlicerHost/offered.py")
    if cls is None:  # something new in Qt 6, such as what setOverrideCursor returns
        return None
    wrapped = cls.__new__(cls)
    object.__setattr__(wrapped, "_held", native)
    if pointer:
        _known[pointer] = wrapped
    return wrapped


def _classOf(native: type) -> WrappedType | None:
    """What a module sees for exactly this class, or None for one that Slicer does not have."""
    if native in _classes:
        return _classes[native]
    name = native.__name__
    if native.__module__.startswith("PySide6") and (name in BY_NAME_ONLY or offered.offer(name)):
        return defineClass(name, native)
    return None


#: Classes that the lists know by name only; the panel is handed objects of them.
BY_NAME_ONLY = ("QLayoutItem", "QScrollBar", "QStatusBar", "QWidgetItem")


def defineClass(name: str, native: type, constructible: bool = True, offer: offered.Offer | None = None) -> WrappedType:
    """Make the class that a module sees for `native`, with exactly the members that Slicer's has."""
    if native in _classes:
        return _classes[native]
    offer = offer or _sorted(name, native)
    members: dict[str, Any] = {"__slots__": (), "_native_class": native}
    for other in offer.other:
        members[other] = EnumMember(other, native)
    for method in offer.methods | {"className", "inherits", "delete", "help"}:
        members[method] = MethodMember(method, native)
        if method in KEYWORDS:
            members[KEYWORDS[method]] = members[method]
    for signal in {s.partition("(")[0] for s in offer.signals}:
        overloads = [s for s in offer.signals if s.partition("(")[0] == signal]
        members[signal] = SignalMember(signal, overloads, members.get(signal))
    for prop, cppType in offer.properties.items():
        members[prop] = PropertyMember(prop, cppType)
    for prop in HIDDEN_PROPERTIES.get(name, ()):
        members[prop] = HiddenProperty(prop, native)
    if issubclass(native, QtCore.QObject):
        members["name"] = PropertyMember("objectName", "QString")
    members.update((method.__name__, method) for method in (connect, disconnect) if method.__name__ in members)
    cls = WrappedType(name, (Wrapped,), members)
    _classes[native] = cls
    if not constructible:
        _NOT_CONSTRUCTIBLE.add(native)
    return cls


def wrappedClass(name: str) -> WrappedType:
    """The class that a module sees under a Qt class name."""
    native = next(filter(None, (getattr(module, name, None) for module in NATIVE_MODULES)), None)
    if native is None or offered.offer(name) is None:
        raise AttributeError(f"SlicerHost has no qt.{name}, the panel does not use it; see SlicerHost/offered.py")
    return defineClass(name, native)


def _sorted(name: str, native: type) -> offered.Offer:
    """What the lists say of a class. Where it needs arguments to be made they have its names in one heap, which PySide6
    sorts; of the few that they know by name only, PySide6's own members stand in."""
    listed = offered.offer(name)
    if listed and (listed.properties or listed.methods):
        return listed
    own = {n for n in dir(native) if not n.startswith("_") and not isinstance(getattr(native, n), (enum.Enum, type))}
    properties, signals = {}, []
    if issubclass(native, QtCore.QObject):
        meta = native.staticMetaObject
        for prop in map(meta.property, range(meta.propertyCount())):
            properties[prop.name()] = prop.typeName() + ("" if prop.isWritable() else " (read only)")
        for method in map(meta.method, range(meta.methodCount())):
            if method.methodType() == QtCore.QMetaMethod.MethodType.Signal:
                signals.append(bytes(method.methodSignature().data()).decode())
    own -= {*properties, *(signal.partition("(")[0] for signal in signals), "staticMetaObject"}
    heap = listed.other if listed else {*own, *properties, *(signal.partition("(")[0] for signal in signals)}
    return offered.Offer(
        properties={prop: kind for prop, kind in properties.items() if prop in heap},
        signals=tuple(signal for signal in signals if signal.partition("(")[0] in heap),
        methods=frozenset(n for n in heap if n in own or KEYWORDS.get(n) in own),
        other=listed.other if listed else frozenset(),
    )


# --- signals and slots --------------------------------------------------------------------------------

#: Overloads that the natives have under another name or not at all: (native signal, what is delivered).
RENAMED_SIGNALS: dict[str, tuple[str, Callable[..., tuple]]] = {
    "currentIndexChanged(QString)": ("currentTextChanged(QString)", lambda *a: a),
    "currentNodeChanged(bool)": ("currentNodeChanged(vtkMRMLNode*)", lambda node: (bool(node),)),
}

_connections: dict[int, list[tuple[str, Any, Callable, Any]]] = {}


def preferredOverload(overloads: list[str]) -> str:
    """Which overload `object.signal.connect` means: int before QString, a node before a bool, else the longest."""
    if len(overloads) == 1:
        return overloads[0]
    weak = ("(QString)", "(bool)") if any("vtkMRML" in o for o in overloads) else ("(QString)",)
    strong = [o for o in overloads if not o.endswith(weak)] or overloads
    return max(strong, key=lambda o: (o.count(","), not o.endswith("()"), len(o)))


def connect(sender: Wrapped, signal: str, slot: Callable, /) -> bool:
    """`sender.connect('signal(types)', slot)`."""
    native = sender._native()
    signal = signal.replace(" ", "")
    listed = {o for m in _signalsOf(type(sender)) for o in m.overloads}
    if signal not in listed:
        print(f"Qt: no such signal: {type(sender).__name__}::{signal}", file=sys.stderr)
        return False
    nativeSignal, translate = signal, None
    if native.metaObject().indexOfSignal(signal) < 0 and signal in RENAMED_SIGNALS:
        nativeSignal, translate = RENAMED_SIGNALS[signal]
    arity = 0 if signal.endswith("()") else signal.count(",") + 1
    handler = _slot(slot, arity, translate)
    name = nativeSignal.partition("(")[0]
    if native.metaObject().indexOfSignal(nativeSignal) >= 0:
        connection = QtCore.QObject.connect(native, QtCore.SIGNAL(nativeSignal), handler)
    elif hasattr(native, name):  # a signal of this package's own widgets, declared for Python objects
        connection = getattr(native, name).connect(handler)
    else:
        raise NotImplementedError(f"SlicerHost has no {type(sender).__name__}.{signal}")
    pointer = Shiboken.getCppPointer(native)[0]
    if pointer not in _connections:
        _connections[pointer] = []
        native.destroyed.connect(lambda *_, pointer=pointer: _connections.pop(pointer, None))
    _connections[pointer].append((signal, slot, handler, connection))
    return True


def disconnect(sender: Wrapped, signal: str, slot: Callable | None = None, /) -> bool:
    """Take connections away again: one slot, or all slots of a signal."""
    native = sender._native()
    wanted = signal.replace(" ", "")
    kept, removed = [], []
    for entry in _connections.get(Shiboken.getCppPointer(native)[0], []):
        sameSignal = wanted in (entry[0], entry[0].partition("(")[0])
        (removed if sameSignal and (slot is None or slot == entry[1]) else kept).append(entry)
    for *_, connection in removed:
        QtCore.QObject.disconnect(connection)
    if removed:
        _connections[Shiboken.getCppPointer(native)[0]] = kept
    return bool(removed)


def _signalsOf(cls: type) -> Iterator[SignalMember]:
    for base in cls.__mro__:
        yield from (m for m in vars(base).values() if isinstance(m, SignalMember))


def _slot(callee: Callable, arity: int, translate: Callable[..., tuple] | None) -> Callable:
    """What is really connected: trims the arguments to what the callee takes and swallows its exceptions."""
    accepted = _positionals(callee)

    def handler(*arguments: Any) -> None:
        try:
            given = translate(*arguments) if translate else arguments
            given = [wrap(argument) for argument in given[:arity]]
            if isinstance(callee, BoundSignal) or isinstance(getattr(callee, "__func__", None), MethodMember):
                _callTrimmed(callee, given)
            else:
                callee(*given[:accepted])
        except Exception as error:
            errors.record(error)

    return handler


def _positionals(callee: Callable) -> int | None:
    try:
        parameters = inspect.signature(callee).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _callTrimmed(callee: Callable, arguments: list) -> None:
    """A Qt method as a slot (`dialog.close`): drop arguments from the end until it takes them."""
    for count in range(len(arguments), -1, -1):
        try:
            callee(*arguments[:count])
            return
        except ValueError:
            if count == 0:
                raise


# --- methods that PythonQt does differently from PySide6 ----------------------------------------------


def _firstOnly(member: MethodMember, instance: Wrapped | None, arguments: tuple) -> Any:
    """File dialogs: PySide6 returns (value, filter), PythonQt the value."""
    return callNative(member.function, arguments)[0]


def _singleShot(member: MethodMember, instance: Wrapped | None, arguments: tuple) -> Any:
    milliseconds, callee = arguments[0], arguments[-1]
    QtCore.QTimer.singleShot(int(milliseconds), _slot(callee, 0, None))
    return None


def _className(member: MethodMember, instance: Wrapped, arguments: tuple) -> str:
    native = instance._native()
    return native.metaObject().className() if isinstance(native, QtCore.QObject) else type(native).__name__


def _inherits(member: MethodMember, instance: Wrapped, arguments: tuple) -> bool:
    native = instance._native()
    if isinstance(native, QtCore.QObject):
        return native.inherits(arguments[0])
    return any(base.__name__ == arguments[0] for base in type(native).__mro__)


#: Objects to delete as soon as the host turns the event loop.
toDelete: list[QtCore.QObject] = []


def _deleteLater(member: MethodMember, instance: Wrapped, arguments: tuple) -> None:
    """In Slicer an event loop is always running, and an object lives until control is back in it. A test runs
    outside of any; Qt would then delete the object in the next dialog's loop, or the dialog itself."""
    if QtCore.QThread.currentThread().loopLevel():
        instance._native().deleteLater()
    else:
        toDelete.append(instance._native())


SPECIAL_METHODS: dict[str, Callable[[MethodMember, Wrapped | None, tuple], Any]] = {
    **dict.fromkeys(("getOpenFileName", "getOpenFileNames", "getSaveFileName"), _firstOnly),
    "singleShot": _singleShot,
    "className": _className,
    "inherits": _inherits,
    "deleteLater": _deleteLater,
}
