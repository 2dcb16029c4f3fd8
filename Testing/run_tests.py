"""Runs every group of tests in a process of its own, all of them whatever happens, and counts everything.

There is one Slicer per process, so what runs under SlicerHost needs processes of its own. A group that ends early, by a
crash of a library say, counts as one failure, and the others still run. As many groups run side by side as there are
cores, at most two, and each computes with its share of them: small tensors gain nothing by being split among threads.

    python Testing/run_tests.py [pytest options]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = "Testing/Python"
ENGINE = f"{TESTS}/engine"
HOSTED = [f"{TESTS}/panel", f"{TESTS}/slicerhost", f"{TESTS}/worker/test_qt.py"]
FILES = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / ENGINE).glob("test_*.py"))
GROUPS = [  # the longest first, so that both lanes end at about the same time; the engine in three parts
    [TESTS, *(f"--ignore={folder}" for folder in (ENGINE, *HOSTED))],
    [HOSTED[0]],
    *(FILES[third::3] for third in range(3)),
    *([folder] for folder in reversed(HOSTED[1:])),
]
SIDE_BY_SIDE = max(1, min(2, os.cpu_count() or 1))

NO_TESTS = 5
"""pytest's exit code where options such as ``-k`` leave nothing of a group."""


def run(group: list[str], options: list[str]) -> tuple[str, dict[str, int]]:
    """What the tests of a group printed, and how many passed, failed and were skipped."""
    threads = str(max(1, (os.cpu_count() or 1) // SIDE_BY_SIDE))
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *group, f"--junitxml={report}", *options],
            cwd=REPOSITORY,
            env=os.environ | {"OMP_NUM_THREADS": threads},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        counts = read(report)
    words = f"\n== {group[0]}{' …' if len(group) > 1 else ''}\n{done.stdout}"
    if done.returncode not in (0, NO_TESTS) and not counts["failed"]:
        words += f"{group[0]} ended with exit code {done.returncode} before its tests did.\n"
        counts["failed"] += 1
    return words, counts


def read(report: Path) -> dict[str, int]:
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    if not report.is_file():
        return counts
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        total, skipped = int(suite.get("tests", 0)), int(suite.get("skipped", 0))
        failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        for name, count in (("passed", total - failed - skipped), ("failed", failed), ("skipped", skipped)):
            counts[name] += count
    return counts


def main(options: list[str]) -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    subprocess.run([sys.executable, "Testing/SlicerHost/system_libraries.py"], cwd=REPOSITORY)
    total = {"passed": 0, "failed": 0, "skipped": 0}
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        for words, counts in pool.map(lambda group: run(group, options), GROUPS):
            print(words, flush=True)
            for name, count in counts.items():
                total[name] += count
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
