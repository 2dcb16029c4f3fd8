"""SlicerHost offers what the real Slicer offers, and nothing else."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from SlicerHost import offered

LISTS = Path(__file__).resolve().parents[4] / "shared" / "slicer-api"
needsLists = pytest.mark.skipif(not LISTS.is_dir(), reason="the lists of the real Slicer are not here")

#: PythonQt gives these to every object of the kind, though not every list has them.
ALWAYS = {"className", "delete", "help", "inherits", "name"}
#: Words of Python that PythonQt also answers to with an underscore; never in the lists.
PRIVATE = {"exec_", "raise_", "print_"}


def public(cls) -> set[str]:
    return {name for name in dir(cls) if not name.startswith("_") and name != "mro"} - ALWAYS - PRIVATE


@needsLists
def test_the_extract_says_what_the_lists_say():
    full, names = offered.readLists(LISTS)
    for module, listed in names.items():
        assert offered.names(module) == set(listed)
    for name, entry in full.items():
        own = offered.fromList(entry)
        expected = own.names()
        for base in own.inherits:
            if base in ("QWidget", "QObject"):
                expected |= offered.fromList(full[base]).names()
        assert offered.offer(name).names() == expected, name


@needsLists
@pytest.mark.parametrize("module", ["qt", "ctk"])
def test_classes_have_the_listed_members(host, module):
    listed = json.loads((LISTS / f"{module}.json").read_text())
    wrapped, looked = __import__(module), 0
    for name in listed:
        cls = getattr(wrapped, name, None)
        if cls is None or offered.offer(name) is None:
            continue
        looked += 1
        assert public(cls) - ALWAYS == offered.offer(name).names() - ALWAYS, name
    assert looked == len(offered.classes(module))


@needsLists
def test_qmrml_widgets_have_the_listed_members(host):
    import slicer

    for name in offered.classes("qmrml"):
        assert public(getattr(slicer, name)) == offered.offer(name).names() - ALWAYS, name


def test_slicer_has_no_name_that_the_real_one_lacks(host):
    import slicer

    extra = {name for name in vars(slicer) if not name.startswith("_")} - offered.names("slicer")
    assert not {name for name in extra if not inspect.ismodule(getattr(slicer, name))}


def test_names_that_the_real_modules_lack_are_missing(host):
    import ctk
    import qt
    import slicer

    missing = {"QVariant": qt, "QTest": qt, "pyqtSignal": qt, "ctkNoSuchWidget": ctk, "getNode": slicer}
    for name, module in missing.items():
        assert not hasattr(module, name), name
    with pytest.raises(ImportError):
        from qt import QTest  # noqa: F401


@pytest.mark.parametrize("name", ["QListWidget", "QPainter", "QSizePolicy", "Signal", "Property", "ctkDoubleSlider"])
def test_what_the_panel_does_not_use_does_not_exist(host, name):
    """Slicer has these. Without the list of their members SlicerHost would be kinder than Slicer."""
    import ctk
    import qt

    module = ctk if name.startswith("ctk") else qt
    assert name in offered.names(module.__name__) and not hasattr(module, name)


def test_a_value_of_such_a_class_is_refused(host):
    import qt

    with pytest.raises(NotImplementedError, match="QRect"):
        qt.QWidget().rect  # noqa: B018


@needsLists
@pytest.mark.parametrize("package", ["packaging", "ScriptedLoadableModule", "i18n"])
def test_python_functions_have_the_listed_signatures(host, package):
    import importlib

    listed = json.loads((LISTS / "python.json").read_text())[f"slicer.{package}"]
    module = importlib.import_module(f"slicer.{package}")
    for name, entry in listed.items():
        if name not in vars(module):
            continue  # the panel does not use it
        if isinstance(entry, str) and inspect.getmodule(getattr(module, name)) is module:
            words = {
                p.split(":")[0].split("=")[0].strip() for p in entry.partition("(")[2].rpartition(")")[0].split(",")
            }
            assert set(inspect.signature(getattr(module, name)).parameters) <= words, name
        elif isinstance(entry, dict) and name.startswith("Scripted"):
            cls = getattr(module, name)
            for method, signature in entry["methods"].items():
                if method not in vars(cls):
                    continue
                parameters = list(inspect.signature(getattr(cls, method)).parameters)
                assert parameters == [w.split("=")[0].strip(" *()") for w in signature.split(",")], f"{name}.{method}"
            public = {m for m in vars(cls) if not m.startswith("_")}
            assert public <= set(entry["methods"]), name


@needsLists
def test_parameter_nodes_offer_only_listed_names(host):
    import slicer.parameterNodeWrapper as package

    listed = json.loads((LISTS / "python.json").read_text())["slicer.parameterNodeWrapper"]
    assert set(package.__all__) <= set(listed)
