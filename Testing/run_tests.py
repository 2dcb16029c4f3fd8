"""Runs every group of tests in a process of its own, all of them whatever happens, and counts everything.

There is one Slicer per process, so what runs under SlicerHost needs processes of its own. A group that ends early, by a
crash of a library say, counts as one failure, and the others still run.

    python Testing/run_tests.py [pytest options]
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[1]
TESTS = "Testing/Python"
HOSTED = [f"{TESTS}/slicerhost", f"{TESTS}/panel", f"{TESTS}/worker/test_qt.py"]
GROUPS = [[TESTS, *(f"--ignore={folder}" for folder in HOSTED)], *([folder] for folder in HOSTED)]

NO_TESTS = 5
"""pytest's exit code where options such as ``-k`` leave nothing of a group."""


def run(group: list[str], options: list[str]) -> dict[str, int]:
    """How many tests of a group passed, failed and were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = subprocess.run(
            [sys.executable, "-m", "pytest", *group, f"--junitxml={report}", *options], cwd=REPOSITORY
        ).returncode
        counts = read(report)
    if code not in (0, NO_TESTS) and not counts["failed"]:
        print(f"{group[0]} ended with exit code {code} before its tests did.", flush=True)
        counts["failed"] += 1
    return counts


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
    for group in GROUPS:
        for name, count in run(group, options).items():
            total[name] += count
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped", flush=True)
    return 1 if total["failed"] or not total["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
