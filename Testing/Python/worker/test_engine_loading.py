"""How threads wait in a process that loads the engine's libraries, as GNU's OpenMP itself tells."""

import os
import subprocess
import sys

import pytest

from CAMOverlayLib.contract.engine_loading import SPINS
from CAMOverlayLib.worker.interpreter import LIBRARY

CODE = """
import os
from CAMOverlayLib.contract.engine_loading import engine_loading
before = dict(os.environ)
with engine_loading():
    import torch
assert dict(os.environ) == before, "what is started later has its own way to wait"
torch.ones(100_000).sum()
"""


def told(**said: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment |= {"PYTHONPATH": str(LIBRARY), "OMP_DISPLAY_ENV": "VERBOSE"} | said
    run = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    if "GOMP_SPINCOUNT" not in run.stderr:
        pytest.skip("this PyTorch has another OpenMP")
    return run.stderr


def test_threads_that_wait_soon_sleep():
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in told()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_what_the_user_says_of_it_counts(said, found):
    assert found in told(**said)
