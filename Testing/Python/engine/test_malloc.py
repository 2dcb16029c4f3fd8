"""Freed memory that is kept, and large blocks that go back all the same: what the system counts, in a process of its
own, and the C library as it was."""

import subprocess
import sys
from pathlib import Path

import pytest

LIBRARY = Path(__file__).resolve().parents[3] / "CAMOverlay"

PROBE = """
import sys
sys.path.insert(0, {library!r})
import torch
from CAMOverlayLib.engine.network.malloc import freed_memory_kept, large_blocks_returned

def held():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

def after_freeing(megabytes):
    before = held()
    tensor = torch.ones(megabytes << 18)
    del tensor
    return held() - before

after_freeing(8)
with freed_memory_kept():
    kept = after_freeing(64)
returned = held()
with large_blocks_returned():
    alone = after_freeing(64)
with freed_memory_kept():
    with large_blocks_returned():
        large, small = after_freeing(64), after_freeing(16)
    again = after_freeing(96)
print(kept, alone, large, small, again)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the C library of Linux")
def test_what_goes_back_to_the_system_and_what_is_kept():
    command = [sys.executable, "-c", PROBE.format(library=str(LIBRARY))]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    kept, alone, large, small, again = map(float, answer.split())
    assert kept > 60, "freed, and still there for the next one"
    assert abs(alone) < 4, "by itself it changes nothing: a large block goes back as ever"
    assert abs(large) < 4, "a large block goes back although memory is kept"
    assert small > 12, "a small one stays"
    assert again > 60, "and afterwards large ones stay again"
