"""Examples in docstrings say what they say."""

import doctest
import importlib
import pkgutil

import CAMOverlayLib
import CAMOverlayLib.contract
import CAMOverlayLib.engine


def modules():
    for room in (CAMOverlayLib.contract, CAMOverlayLib.engine):
        for found in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
            yield importlib.import_module(found.name)


def test_every_example_in_a_docstring_runs():
    tried = 0
    for module in modules():
        failed, count = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
        assert not failed, module.__name__
        tried += count
    assert tried >= 10
