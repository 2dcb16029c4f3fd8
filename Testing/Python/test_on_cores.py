"""Several threads share the parts of a work."""

import threading

import pytest

from CAMOverlayLib.contract.on_cores import CORES, on_cores


@pytest.mark.parametrize("count", [0, 1, 2, 3, 1000])
def test_each_part_is_worked_on_once_and_comes_back_in_its_place(count):
    seen = []

    def squared(number):
        seen.append(number)
        return number * number

    assert on_cores(squared, iter(range(count))) == [number * number for number in range(count)]
    assert sorted(seen) == list(range(count))


@pytest.mark.skipif(CORES < 2, reason="one core has nobody to share with")
def test_the_threads_work_at_the_same_time():
    together = threading.Barrier(2, timeout=10)
    on_cores(lambda _: together.wait(), range(2))


def test_what_fails_ends_the_work():
    begun = []

    def fail_at_once(number):
        begun.append(number)
        raise ValueError(f"part {number}")

    with pytest.raises(ValueError, match="part"):
        on_cores(fail_at_once, range(1000))
    assert len(begun) <= CORES
