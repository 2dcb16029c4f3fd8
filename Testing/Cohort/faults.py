"""SIGKILL for the workers, the scheduler and the command of a cohort, at random moments, and one more run after each.

    python Testing/Cohort/faults.py [--rounds 20] [--volumes 24] [--seed 0] [--minutes M]

A scheduler and two workers run as a user starts them (``dask scheduler``, ``dask worker``). In each round the command
begins anew, one of the three is killed, what was killed is started again, and the command is run once more. Then all
cases must be there, none half written, each begun at most twice, every heatmap equal voxel by voxel to that of an
undisturbed run, and ``cohort.csv`` the same but for the seconds.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "CAMOverlay")]

import material

VICTIMS = ("worker", "scheduler", "command")
CASE_FILES = {"case.json", "report.json", "findings.csv", "heatmap.nii.gz"}
LIMIT = 900
"""Seconds for anything to happen."""


class Cluster:
    """A scheduler and two workers, each a process group of its own."""

    def __init__(self, folder: Path) -> None:
        self.file, self._folder = folder / "scheduler.json", folder
        self._environment = os.environ | {"PYTHONPATH": str(ROOT / "CAMOverlay"), "OMP_NUM_THREADS": "1"}
        self._log = open(folder / "dask.log", "ab")
        self.start()

    def start(self) -> None:
        self.file.unlink(missing_ok=True)
        self.scheduler = self._run(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(self.file), "--no-dashboard"
        )
        until(self.file.exists, "the scheduler")
        worker = ("worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--memory-limit", "0",
                  "--no-dashboard", "--local-directory", str(self._folder))  # fmt: skip
        self.workers = [self._run(*worker) for _ in range(2)]

    def _run(self, *words: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "dask", *words]
        return subprocess.Popen(
            command, env=self._environment, stdout=self._log, stderr=self._log, start_new_session=True
        )

    def kill_worker(self) -> None:
        """The process that computes; the one that watches it starts another."""
        import psutil

        watching = psutil.Process(random.choice(self.workers).pid)
        children = [
            one for one in watching.children(recursive=True) if "resource_tracker" not in " ".join(one.cmdline())
        ]
        (children or [watching])[-1].kill()

    def kill_scheduler(self) -> None:
        os.kill(self.scheduler.pid, signal.SIGKILL)
        self.scheduler.wait()

    def stop(self) -> None:
        for one in (*self.workers, self.scheduler):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def until(true, what: str) -> None:
    end = time.monotonic() + LIMIT
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"{what} did not come within {LIMIT} s")
        time.sleep(0.05)


def command(folder: Path, output: Path, file: Path, log) -> subprocess.Popen:
    words = [
        sys.executable,
        "-m",
        "CAMOverlayLib",
        "cohort",
        folder / "list.csv",
        "--model",
        folder / "bundle",
        "--trust",
    ]
    words += ["--output", output, "--scheduler-file", file, "--keep", "heatmap", "--checks", "none"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "CAMOverlay")}
    return subprocess.Popen(list(map(str, words)), env=environment, stdout=log, stderr=log)


def table(output: Path) -> list[dict[str, str]]:
    with (output / "cohort.csv").open(newline="", encoding="utf-8") as file:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(file)]


def voxels(output: Path) -> dict[str, str]:
    import nibabel

    found = {}
    for path in sorted((output / "cases").glob("[!.]*/heatmap.nii.gz")):
        image = nibabel.load(path)
        content = image.get_fdata().tobytes() + image.affine.tobytes()
        found[path.parent.name] = hashlib.sha256(content).hexdigest()
    return found


def problems(output: Path, reference: Path) -> list[str]:
    """What is not as it must be; empty where all is well."""
    found = []
    if table(output) != table(reference):
        found.append("cohort.csv differs")
    if voxels(output) != voxels(reference):
        found.append("heatmaps differ")
    for path in (output / "cases").iterdir():
        if path.name.startswith("."):
            found.append(f"{path.name} is left over")
        elif {one.name for one in path.iterdir()} != CASE_FILES:
            found.append(f"{path.name} is half written")
        else:
            json.loads((path / "report.json").read_text())
    begun = collections.Counter(
        event["id"]
        for log in (output / "log").glob("*.jsonl")
        for event in map(json.loads, log.read_text().splitlines())
        if event["event"] == "begun"
    )
    return found + [f"{name} was begun {count} times" for name, count in begun.items() if count > 2]


def one_round(number: int, folder: Path, cluster: Cluster, reference: Path, seconds: float, log) -> list[str]:
    victim, output = VICTIMS[number % 3], folder / f"round-{number}"
    running = command(folder, output, cluster.file, log)
    cases = output / "cases"
    until(lambda: running.poll() is not None or any(cases.glob("*")), "the first case")
    time.sleep(random.uniform(0, 0.9 * seconds))
    before = len(list(cases.glob("[!.]*")))
    at = "after its end" if running.poll() is not None else f"with {before} done"
    if victim == "command":
        running.kill()
    elif victim == "worker":
        cluster.kill_worker()
    else:
        cluster.kill_scheduler()
    code = running.wait(LIMIT)
    if victim == "scheduler":
        cluster.stop()
        cluster.start()
    there = len(list(cases.glob("[!.]*")))
    if code > 0:
        print("  " + Path(log.name).read_text().strip().splitlines()[-1])
    again = command(folder, output, cluster.file, log).wait(LIMIT)
    found = problems(output, reference) + ([f"the second run ended with {again}"] if again else [])
    print(
        f"round {number + 1}: {victim} killed {at}, the command ended with {code} and {there} cases there; then: "
        f"{'; '.join(found) or 'all well'}",
        flush=True,
    )
    if not found:
        shutil.rmtree(output)
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--volumes", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no round after so long")
    options = parser.parse_args()
    random.seed(options.seed)
    began, wrong, done = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="cohort-faults-") as place:
        folder = Path(place)
        material.write_bundle(folder / "bundle")
        material.write_list(
            folder / "list.csv", material.write_volumes(folder / "volumes", options.volumes, (18, 20, 16))
        )
        cluster = Cluster(folder)
        try:
            with (folder / "command.log").open("ab") as log:
                warm = command(folder, folder / "warm", cluster.file, log).wait(LIMIT)
                started = time.monotonic()
                code = command(folder, folder / "reference", cluster.file, log).wait(LIMIT)
                seconds = time.monotonic() - started
                print(f"undisturbed: {seconds:.0f} s for {options.volumes} volumes", flush=True)
                if warm or code:
                    print((folder / "command.log").read_text()[-3000:])
                    return 1
                for number in range(options.rounds):
                    if time.monotonic() - began > 60 * options.minutes:
                        break
                    wrong += bool(one_round(number, folder, cluster, folder / "reference", seconds, log))
                    done += 1
                if wrong:
                    print((folder / "command.log").read_text()[-6000:])
        finally:
            cluster.stop()
    print(f"{done} rounds, {wrong} with something wrong")
    return 1 if wrong or not done else 0


if __name__ == "__main__":
    sys.exit(main())
