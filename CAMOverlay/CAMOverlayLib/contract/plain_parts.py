"""What a configuration may hold that needs no trust: MONAI's own networks, transforms and inferers, with plain values.

MONAI builds whatever a configuration names, and some of its own classes import, call, open, write or download what
their arguments name (``LoadImage(reader="os.system")``). So nothing is looked for that could be harmful; instead every
class and every argument that was read and found harmless is listed in ``plain_names``, and all else needs trust: other
classes, other arguments, other kinds of values, expressions, files of code, compiled networks. Nothing is imported to
tell.
"""

from __future__ import annotations

import re
from typing import Any

from .plain_names import DOWNLOADERS, READERS, ROOMS

_WORD = re.compile(r"[\w +\-]{0,100}")  # no dot, slash or sign that MONAI reads: a word, never the name of a thing
_DTYPE = re.compile(r"((torch|np|numpy)\.)?(bool|u?int(8|16|32|64)|b?float(16|32|64)|half|float|double|int|long|short)")
_DEVICE = re.compile(r"cpu|cuda(:\d{1,2})?|mps")
_POSITIONS = re.compile(r"[\w:.+\-]{0,100}")
MOST = 20_000
"""Values that are looked at, references followed included."""


def needs_trust(config: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Everything in a configuration that is not one of MONAI's own parts with plain values.

    Args:
        config: the whole configuration, as a mapping, with what it takes from other files in it.

    Returns:
        components (``LoadImaged(reader=os.system)``) and expressions, in words; both empty where no trust is needed.
    """
    judge = _Judge(config)
    judge.value(config, (), "")
    return tuple(dict.fromkeys(judge.components)), tuple(dict.fromkeys(judge.expressions))


class _Judge:
    def __init__(self, config: Any) -> None:
        self.config = config
        self.components: list[str] = []
        self.expressions: list[str] = []
        self._left = MOST

    def value(self, value: Any, following: tuple[str, ...], where: str) -> None:
        """Look at a value; ``following`` are the references on the way to it, ``where`` names the argument."""
        self._left -= 1
        if self._left < 0 or len(following) > 20:
            if self._left == -1 or len(following) > 20:
                self.components.append(f"{where or 'the configuration'}: too much to look through")
            return
        if isinstance(value, dict):
            self._mapping(value, following, where)
        elif isinstance(value, (list, tuple)):
            for item in value:
                self.value(item, following, where)
        elif isinstance(value, str):
            self._text(value, following, where)
        elif not (value is None or isinstance(value, (bool, int, float))):
            self.components.append(f"{where or 'the configuration'}: a {type(value).__name__}")

    def _mapping(self, node: dict, following: tuple[str, ...], where: str) -> None:
        for key in node:
            if not isinstance(key, (str, int)) or (isinstance(key, str) and not _plain_key(key)):
                self.components.append(f"{where or 'the configuration'}: the key {str(key)[:80]!r}")
        if "_target_" in node:
            self._component(node, following)
            return
        for key, value in node.items():
            self.value(value, following, _inside(where, key))

    def _component(self, node: dict, following: tuple[str, ...]) -> None:
        target = node["_target_"]
        arguments = _arguments_of(target)
        if arguments is None:
            self.components.append(str(target)[:200])
            arguments = frozenset()
            allowed = False
        else:
            allowed = True
        name = str(target).rpartition(".")[2]
        if name in DOWNLOADERS and "pretrained" not in node:
            self.components.append(f"{name}(pretrained=True, which is its default)")
        for key, value in node.items():
            if key == "_target_" or (key == "_disabled_" and isinstance(value, bool)):
                continue
            if key == "_desc_":  # words, but MONAI evaluates them like any other
                self.value(value, following, "")
                continue
            if allowed and key == "pretrained" and value is not False:  # a download
                self.components.append(f"{name}(pretrained={str(value)[:200]})")
            if allowed and key not in arguments:
                self.components.append(f"{name}({str(key)[:80]}={str(value)[:200]})")
            if allowed and key == "reader" and not self._is_reader(value, following):
                self.components.append(f"{name}(reader={str(value)[:200]})")
            self.value(value, following, f"{name}({key})")

    def _is_reader(self, value: Any, following: tuple[str, ...]) -> bool:
        if isinstance(value, str) and value[:1] in ("@", "%"):
            found, there = self._resolved(value)
            return found and value not in following and self._is_reader(there, (*following, value))
        if isinstance(value, (list, tuple)):
            return all(self._is_reader(one, following) for one in value)
        return value is None or (isinstance(value, str) and value in READERS)

    def _text(self, text: str, following: tuple[str, ...], where: str) -> None:
        if text.startswith("$"):
            self.expressions.append(text[1:])
        elif text[:1] in ("@", "%"):
            found, there = self._resolved(text)
            if text in following or not found:
                self.components.append(f"{where or 'the configuration'}: {text[:200]!r}")
            else:
                self.value(there, (*following, text), where)
        elif not where.endswith(")") or _is_plain(text, where):
            return  # beside the components a text is only a text
        else:
            self.components.append(f"{where[:-1]}={text[:200]})")

    def _resolved(self, reference: str) -> tuple[bool, Any]:
        """What ``@a::b#0`` or ``%a`` refers to within the configuration."""
        if not re.fullmatch(r"[@%]\w+((::|#)\w+)*", reference):
            return False, None
        node = self.config
        for part in re.split("::|#", reference[1:]):
            if isinstance(node, dict) and part in node:
                node = node[part]
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return False, None
        return True, node


def _plain_key(key: str) -> bool:
    """Whether a key is only a name: others MONAI takes as a place in the configuration, or as an order."""
    if key in ("_target_", "_desc_", "_disabled_"):
        return True
    return re.fullmatch(r"(?!_)[\w \-]{1,100}(?<!_)", key) is not None


def _arguments_of(target: Any) -> frozenset[str] | None:
    """The arguments that a harmless class may have; None where the class is not one of them."""
    if not isinstance(target, str):
        return None
    for package, names, arguments in ROOMS:
        bare = target.removeprefix(package)
        if bare in names and (target != bare or package != "torch.nn."):  # a bare name is one of MONAI's
            return arguments
    return None


def _is_plain(text: str, where: str) -> bool:
    argument = where.rpartition("(")[2][:-1].partition(":")[0]
    if argument == "dtype" or argument == "data_type":
        return _DTYPE.fullmatch(text) is not None or text in ("tensor", "numpy")
    if argument in ("device", "sw_device"):
        return _DEVICE.fullmatch(text) is not None
    if argument == "blocks_args_str":  # of EfficientNet: r1_k3_s11_e1_i32_o16_se0.25
        return _POSITIONS.fullmatch(text) is not None
    return _WORD.fullmatch(text) is not None


def _inside(where: str, key: Any) -> str:
    return where if where.endswith(")") else str(key)[:80]
