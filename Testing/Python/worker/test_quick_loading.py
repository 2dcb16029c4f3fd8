"""How threads wait in a process that loads its libraries quickly: as GNU's OpenMP itself tells, and by the time of a
core that OpenBLAS takes where nothing is to be done."""

import os
import subprocess
import sys

import pytest

from CAMOverlayLib.contract.quick_loading import WAITS
from CAMOverlayLib.worker.interpreter import LIBRARY

CODE = """
import os
from CAMOverlayLib.contract.quick_loading import quick_loading
before = dict(os.environ)
with quick_loading():
    import numpy
    import torch
assert dict(os.environ) == before, "what is started later has its own way to wait"
"""

OPENMP = "torch.ones(100_000).sum()"

OPENBLAS = """
import time
numbers = numpy.ones((400, 400))
idle = 0.0
for _ in range(20):
    numbers @ numbers
    began = time.process_time()
    time.sleep(0.01)
    idle += time.process_time() - began
print(idle)
"""


def run(code: str, **said: str) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in (*WAITS, "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS")}
    environment |= {"PYTHONPATH": str(LIBRARY), "OMP_DISPLAY_ENV": "VERBOSE", "OMP_NUM_THREADS": "2"} | said
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)


def told(**said: str) -> str:
    words = run(CODE + OPENMP, **said).stderr
    if "GOMP_SPINCOUNT" not in words:
        pytest.skip("this PyTorch has another OpenMP")
    return words


def test_threads_that_wait_soon_sleep():
    assert f"GOMP_SPINCOUNT = '{WAITS['GOMP_SPINCOUNT']}'" in told()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"GOMP_SPINCOUNT": "77"}, "GOMP_SPINCOUNT = '77'"),
        ({"OMP_WAIT_POLICY": "PASSIVE"}, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_what_the_user_says_of_it_counts(said, found):
    assert found in told(**said)


def test_after_a_product_nothing_keeps_a_core_busy():
    """OpenBLAS by itself has a core for the whole of the 10 ms after each; and so it does where the user wants it."""
    by_itself = float(run("import numpy" + OPENBLAS).stdout)
    if by_itself < 0.04:
        pytest.skip("this NumPy computes in one thread, or waits asleep by itself")
    assert float(run(CODE + OPENBLAS).stdout) < by_itself / 2
    assert float(run(CODE + OPENBLAS, OPENBLAS_THREAD_TIMEOUT="26").stdout) > by_itself / 2
