"""A slice of the fuzzing campaign, the same cases every time; `make fuzz` tries many more, and others."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).resolve().parents[1] / "Fuzz" / "run.py"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases run in forked processes")


def fuzz(*options: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, str(RUN), *options], capture_output=True, text=True, timeout=300)


def test_every_door_answers_odd_input_with_a_sentence():
    done = fuzz("--cases", "680", "--seed", "0")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " 680 " in done.stdout.splitlines()[-1]


# Each of these raised, hung or wrote several lines before it was repaired.
FOUND = (
    ("weights", 1, 25),
    ("volume", 1, 2),
    ("volume", 1, 6),
    ("image", 1, 18),
    ("mask", 1, 4),
    ("mask", 1, 16),
    ("target", 1, 9),
    ("zoo-archive", 1, 8),
    ("zoo-archive", 3, 769),
    ("chain", 3, 145),
    ("protocol", 3, 179),
    ("volume", 3, 450),
    ("chain", 1, 479),
    ("bundle", 1, 654),
    ("zoo-list", 1, 651),
)


def test_what_was_found_once_stays_repaired(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(RUN.parent))
    import run

    for number, (door, seed, case) in enumerate(FOUND):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert not run.try_case(door, seed, case, folder), (door, seed, case)
