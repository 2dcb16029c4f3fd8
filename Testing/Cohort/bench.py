"""How many volumes a minute a cohort explains, beside a loop over ``cam-overlay explain`` and a plain MONAI script.

    python Testing/Cohort/bench.py [--volumes 32] [--loop 8] [--long 0] [--json output/bench-cohort.json]

All compute Grad-CAM of the same small bundle at the same layer. The cohort and the loop also say where the heatmap
belongs and write picture and page; the loop writes a scene as well. ``figures only`` is the cohort without
them, which is what the MONAI script does: chain, map, inverse of the chain, NIfTI. Wall time and processor time are
both told, as other programs may share the cores; ratios are of wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "CAMOverlay")]

import material

PLAIN = """
import sys
from pathlib import Path
import nibabel, torch
from monai.bundle import ConfigParser
from monai.transforms import allow_missing_keys_mode
from monai.visualize import GradCAM

bundle, out, layer, *volumes = sys.argv[1:]
parser = ConfigParser()
parser.read_config(f"{bundle}/configs/inference.json")
chain = parser.get_parsed_content("preprocessing")
net = parser.get_parsed_content("network_def").eval()
net.load_state_dict(torch.load(f"{bundle}/models/model.pt", weights_only=True))
cam = GradCAM(net, layer)
for path in volumes:
    image = chain({"image": path})["image"]
    heat = image.clone()
    heat.copy_(cam(image[None])[0])
    with allow_missing_keys_mode(chain):
        back = chain.inverse({"image": heat})["image"]
    original = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image(back[0].numpy(), original.affine), Path(out) / Path(path).name)
"""

ONE = """
import sys, tempfile, resource
sys.argv, volume, bundle = [""], *sys.argv[1:]
from CAMOverlayLib import explain_many
with tempfile.TemporaryDirectory() as out:
    explain_many(volume, bundle, out + "/one", trust=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


SPIN = "import time; end = time.perf_counter() + 3\nwhile time.perf_counter() < end: pass\nprint(time.process_time())"


def cores_to_be_had() -> float:
    """How many of two cores two busy processes get, while other programs run: more than a second worker can gain."""
    words = [sys.executable, "-c", SPIN]
    spinning = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    return sum(float(one.communicate()[0]) for one in spinning) / 3


def run(words: list, environment: dict) -> tuple[float, float]:
    """Wall and processor seconds of a command, children included."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))[:200]}\n{done.stderr[-3000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


class Peak:
    """The largest memory of a worker process, in kB, while the context lasts: of every process that wrote a journal."""

    def __init__(self, output: Path) -> None:
        self._output, self.kilobytes, self._over = output, 0, threading.Event()

    def __enter__(self) -> Peak:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            for log in (self._output / "log").glob("*.jsonl"):
                try:
                    status = Path(f"/proc/{log.stem.rpartition('-')[2]}/status").read_text()
                except OSError:
                    continue
                found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
                self.kilobytes = max([self.kilobytes, *map(int, found)])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--volumes", type=int, default=32)
    parser.add_argument("--loop", type=int, default=8, help="volumes of the loop, whose every pass starts anew")
    parser.add_argument("--long", type=int, default=0, help="also so many volumes on one worker")
    parser.add_argument("--json", type=Path, default=ROOT / "output" / "bench-cohort.json")
    options = parser.parse_args()
    environment = os.environ | {
        "PYTHONPATH": str(ROOT / "CAMOverlay"),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [sys.executable, "-m", "CAMOverlayLib"]
    told: dict[str, dict[str, float]] = {}

    def say(name: str) -> None:
        one = told[name]
        words = f"{one['seconds']:7.1f} s, {one['cpu']:6.1f} s CPU, {one['a_minute']:6.1f} a minute"
        print(f"{name:34s} {one['volumes']:4d} volumes {words}", flush=True)

    def measured(name: str, count: int, words: list) -> None:
        wall, cpu = run(words, environment)
        told[name] = {"volumes": count, "seconds": wall, "cpu": cpu, "a_minute": 60 * count / wall}
        say(name)

    with tempfile.TemporaryDirectory(prefix="bench-cohort-") as place:
        folder = Path(place)
        bundle = material.write_bundle(folder / "bundle")
        volumes = material.write_volumes(folder / "volumes", max(options.volumes, options.long))
        some = volumes[: options.volumes]

        def cohort(name: str, workers: int, several: list[Path], *more: str) -> int:
            output = folder / name.replace(" ", "-").replace(",", "")
            words = [
                *command,
                "cohort",
                *several,
                "--model",
                bundle,
                "--trust",
                "--output",
                output,
                "--workers",
                workers,
            ]
            with Peak(output) as peak:
                measured(name, len(several), [*words, *more])
            return peak.kilobytes

        for path in volumes[: options.loop]:
            words = [*command, "explain", path, "--model", bundle, "--trust", "--output", folder / "loop" / path.stem]
            wall, cpu = run(words, environment)
            one = told.setdefault("loop over explain", {"volumes": 0, "seconds": 0.0, "cpu": 0.0})
            one["volumes"], one["seconds"], one["cpu"] = one["volumes"] + 1, one["seconds"] + wall, one["cpu"] + cpu
        cores = [cores_to_be_had()]
        loop = told["loop over explain"]
        loop["a_minute"] = 60 * loop["volumes"] / loop["seconds"]
        say("loop over explain")
        peak = cohort("cohort, 1 worker", 1, some)
        cohort("cohort, 2 workers", 2, some)
        cores.append(cores_to_be_had())
        quick = ["--keep", "heatmap", "--checks", "none"]
        cohort("cohort, 1 worker, figures only", 1, some, *quick)
        cohort("cohort, 2 workers, figures only", 2, some, *quick)
        layer = json.loads(next((folder / "cohort-1-worker" / "cases").glob("[!.]*/report.json")).read_text())["layer"]
        (folder / "plain.py").write_text(PLAIN)
        (folder / "plain").mkdir()
        measured(
            "plain MONAI script",
            len(some),
            [sys.executable, folder / "plain.py", bundle, folder / "plain", layer, *some],
        )
        if options.long:
            cohort("cohort, 1 worker, long", 1, volumes[: options.long], *quick)
        single = subprocess.run(
            [sys.executable, "-c", ONE, some[0], bundle], env=environment, capture_output=True, text=True
        )
    alone = int(single.stdout.split()[-1])
    rates = {name: one["a_minute"] for name, one in told.items()}
    ratios = {
        "one worker ÷ loop": rates["cohort, 1 worker"] / rates["loop over explain"],
        "two workers ÷ one": rates["cohort, 2 workers"] / rates["cohort, 1 worker"],
        "one worker, figures only ÷ MONAI script": rates["cohort, 1 worker, figures only"]
        / rates["plain MONAI script"],
        "memory of a worker ÷ of one explanation": peak / alone,
    }
    print(f"{'cores to be had, before and after':42s} {' and '.join(f'{one:.2f} of 2' for one in cores)}")
    for name, value in ratios.items():
        print(f"{name:42s} {value:.2f}")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(
        json.dumps({"told": told, "ratios": ratios, "cores": cores, "load": os.getloadavg()}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
