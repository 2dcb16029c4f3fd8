"""Python files that come along in a bundle that is written: a network's or a transform's own, under ``scripts``."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import Any

from ...contract.bounded import read_bytes
from ...contract.errors import BundleError

IN_FILE = re.compile(r"(?P<file>.+\.py):(?P<name>\w+)")
"""``file.py:Name``."""


def is_reference(value: Any) -> bool:
    """Whether a configuration's value stands for another one, or is an expression."""
    return isinstance(value, str) and value[:1] in ("@", "%", "$")


class Scripts:
    """The Python files that go into a bundle, each under the name by which its configuration finds it."""

    def __init__(self) -> None:
        self._modules: dict[Path, str] = {}

    def gather(self, node: Any, folder: Path) -> Any:
        """The configuration with every ``_target_`` in a file as one in the bundle.

        Raises:
            BundleError: a file is not there, does not define the name, or needs files beside it.
        """
        if isinstance(node, dict):
            return {k: self._gathered(k, v, folder) for k, v in node.items()}
        return [self.gather(value, folder) for value in node] if isinstance(node, list) else node

    def _gathered(self, key: Any, value: Any, folder: Path) -> Any:
        if key == "_target_" and isinstance(value, str) and not is_reference(value):
            return self.target(value, folder)
        return self.gather(value, folder)

    def target(self, text: str, folder: Path) -> str:
        """``file.py:Name`` as ``scripts.file.Name``; any other target as it is."""
        if (match := IN_FILE.fullmatch(text)) is None:
            return text
        path = (folder / Path(match["file"]).expanduser()).resolve()
        _check_file(path, match["name"], text)
        if path not in self._modules:
            stem = re.sub(r"\W|^(?=\d)", "_", path.stem)
            taken = set(self._modules.values()) | {"__init__"}
            names = (stem, *(f"{stem}_{number}" for number in range(2, len(taken) + 3)))
            self._modules[path] = next(name for name in names if name not in taken)
        return f"scripts.{self._modules[path]}.{match['name']}"

    def write(self, folder: Path) -> None:
        """Copy the files into a folder; without any there is none."""
        if self._modules:
            folder.mkdir()
            (folder / "__init__.py").touch()
        for path, name in self._modules.items():
            shutil.copyfile(path, folder / f"{name}.py")


def _check_file(path: Path, name: str, text: str) -> None:
    """A Python file that can go into a bundle alone and defines the name. It is read, not run."""
    if not os.path.isfile(path):
        raise BundleError(f"'{text}' is in a Python file that does not exist: '{path}'. Correct the path.")
    try:
        tree = ast.parse(read_bytes(path), str(path))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BundleError(f"'{path}' is not a Python file that can be read: {error}. Correct it.") from error
    defined = [n.name for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))]
    assigned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    imports = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    imported = {alias.asname or alias.name for n in imports for alias in n.names}
    if name not in {*defined, *assigned, *imported} and "*" not in imported:
        raise BundleError(f"'{path}' does not define '{name}'. It defines {', '.join(defined) or 'nothing'}.")
    for node in imports:
        for module in _imported(node):
            if module.startswith(".") or _only_beside(module, path.parent):
                raise BundleError(
                    f"'{path}' imports '{module}' from a file beside it, and only the file itself goes into a bundle. "
                    "Put both into one file, or install them as a package and give my_package.module.Name."
                )


def _imported(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return ["." * node.level + (node.module or node.names[0].name)]
    return [alias.name for alias in node.names]


def _only_beside(module: str, folder: Path) -> bool:
    """Whether a module lies in that folder and is nowhere on Python's path."""
    name = module.split(".")[0]
    return ((folder / f"{name}.py").is_file() or (folder / name).is_dir()) and importlib.util.find_spec(name) is None
