"""How far the alignment's verdict can be believed, measured: ``python Testing/Benchmarks/proof.py [--quick] [--jobs
N]``.

Every misplacement of ``misplacements.py`` is hidden in a chain behind the usual steps, on several volumes, and so is
every harmless change; MONAI's own ``Resized`` is run on phantoms. Printed as tables, and written to
``output/proof.json``. It fails where an image that is off by more than the stated bound was called verified.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "CAMOverlay"), str(ROOT / "Testing")]

import nibabel
import numpy as np
import torch
from monai import transforms
from monai.data import MetaTensor
from scipy import ndimage

from Benchmarks.misplacements import HARMLESS, MISPLACEMENTS, Grid, Kind, phantoms
from CAMOverlayLib.contract.errors import PlacementError
from CAMOverlayLib.demo import DEMO_VOLUME
from CAMOverlayLib.engine.geometry.volume import Volume, write_nifti
from CAMOverlayLib.engine.preprocessing.trace import trace_preprocessing
from CAMOverlayLib.engine.restore.plan import InversionPlan, plan_inversion

IMAGE = "image"
SHARED = ROOT.parent / "shared" / "data"


@dataclass(frozen=True)
class Row:
    """One run: ``outcome`` is ``named``, ``inconclusive`` or ``verified``; ``bound`` the one that was stated, in the
    unit of ``size``."""

    table: str
    volume: str
    kind: str
    outcome: str
    size: float = 0.0
    bound: float | None = None
    words: str = ""
    seconds: float = 0.0

    @property
    def beyond(self) -> bool:
        """Called verified although it is off by more than was stated."""
        return self.outcome == "verified" and (self.bound is None or self.size > 1.05 * self.bound)


class Hidden(transforms.MapTransform):
    """A transform that changes voxels or affine and says nothing."""

    def __init__(self, change) -> None:
        super().__init__(IMAGE)
        self.change = change

    def __call__(self, data):
        image = data[IMAGE]
        values, claim = self.change(image)
        made = MetaTensor(values, meta=image.meta, applied_operations=image.applied_operations)
        made.affine = image.affine @ torch.as_tensor(claim, dtype=torch.float64)
        return {**data, IMAGE: made}


def chain(*culprits) -> transforms.Compose:
    return transforms.Compose(
        [
            transforms.LoadImaged(IMAGE),
            transforms.EnsureChannelFirstd(IMAGE),
            transforms.Orientationd(IMAGE, axcodes="RAS", labels=None),
            transforms.Spacingd(IMAGE, (2, 2, 2)),
            transforms.ResizeWithPadOrCropd(IMAGE, (96, 96, 96)),
            *culprits,
        ]
    )


def misplace(path: Path, name: str, kind: Kind) -> Row:
    size = 0.0

    def change(image):
        nonlocal size
        spacing = np.linalg.norm(image.affine.numpy()[:3, :3], axis=0)
        size = kind.displacement(image.as_tensor()[0], spacing)
        if kind.family != "other":
            size = kind.size(Grid(tuple(image.shape[1:]), spacing))
        return kind.apply(image.as_tensor(), spacing)

    outcome, words, seconds, plan = run(path, Hidden(change))
    bound = None
    if plan is not None:
        a = plan.agreement
        bound = {"shift": a.shift_mm, "turn": a.turn_degrees, "zoom": a.zoom_percent, "other": a.parts_mm}[kind.family]
    return Row("misplacements", name, kind.name, outcome, float(size), _number(bound), words, seconds)


def leave(path: Path, name: str, change: str) -> Row:
    def apply(image):
        return torch.from_numpy(np.asarray(HARMLESS[change](image.numpy()[0]), np.float32))[None], np.eye(4)

    outcome, words, seconds, _ = run(path, Hidden(apply))
    return Row("harmless", name, change, outcome, words=words, seconds=seconds)


def resize(name: str) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        path = write_nifti(
            Volume(phantoms()[name].astype(np.float32), np.diag([1.5, 1.5, 2, 1]), name), Path(folder) / "v.nii"
        )
        steps = [
            transforms.LoadImaged(IMAGE),
            transforms.EnsureChannelFirstd(IMAGE),
            transforms.Resized(IMAGE, (40, 48, 44)),
        ]
        outcome, words, seconds, _ = run(path, chain_=transforms.Compose(steps))
    return Row("phantoms", name, "Resized", outcome, words=words, seconds=seconds)


def state(path: Path, name: str) -> Row:
    """The bounds of a volume that was not touched."""
    outcome, words, seconds, plan = run(path, transforms.NormalizeIntensityd(IMAGE))
    return Row("bounds", name, "untouched", outcome, words=words if plan is None else _bounds(plan), seconds=seconds)


def _bounds(plan: InversionPlan) -> str:
    a = plan.agreement
    units = (
        ("shift", a.shift_mm, "mm"),
        ("turn", a.turn_degrees, "°"),
        ("zoom", a.zoom_percent, "%"),
        ("parts", a.parts_mm, "mm"),
    )
    return ", ".join(f"{n} {'none noticed' if v is None else f'{v:.3g} {u}'}" for n, v, u in units)


def run(path: Path, culprit=None, chain_=None) -> tuple[str, str, float, InversionPlan | None]:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    trace = trace_preprocessing(chain_ or chain(culprit), [path])
    try:
        plan = plan_inversion(trace)
    except PlacementError as error:
        return "named", str(error), trace.monitor.seconds, None
    return plan.agreement.verdict, "", trace.monitor.seconds, plan


def _number(value) -> float | None:
    return None if value is None else float(value)


def volumes(folder: Path) -> dict[str, Path]:
    """Real volumes where they are at hand, the demo's, and others made from it: other geometry, contrast,
    resolution."""
    found = {path.name.split(".")[0]: path for path in sorted(SHARED.glob("*.nii.gz"))}
    found["demo"] = Path(DEMO_VOLUME)
    demo = nibabel.load(DEMO_VOLUME)
    array = np.asarray(demo.dataobj, np.float32)

    def save(name: str, values: np.ndarray, affine: np.ndarray) -> None:
        found[name] = write_nifti(
            Volume(np.ascontiguousarray(values, np.float32), affine, name), folder / f"{name}.nii"
        )

    save("demo, inverted", array.max() - array, demo.affine)
    save(
        "demo, thick slices",
        ndimage.uniform_filter1d(array, 3, axis=2)[:, :, 1::3],
        demo.affine @ np.diag([1, 1, 3, 1]) @ _offset(1 / 3),
    )
    noisy = array + 0.08 * array.std() * np.random.default_rng(0).standard_normal(array.shape)
    save("demo, noisy and permuted", noisy.transpose(2, 0, 1), demo.affine[:, [2, 0, 1, 3]])
    try:
        from nilearn.datasets import load_mni152_template
    except ImportError:
        return found
    template = load_mni152_template(resolution=2)
    save("MNI template", np.asarray(template.dataobj), template.affine)
    return found


def _offset(k: float) -> np.ndarray:
    shift = np.eye(4)
    shift[2, 3] = k
    return shift


def _one(job: tuple) -> Row:
    function, *arguments = job
    return {"misplace": misplace, "leave": leave, "resize": resize, "state": state}[function](*_resolved(arguments))


def _resolved(arguments: list) -> list:
    return [MISPLACEMENTS[a] if isinstance(a, int) else a for a in arguments]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the kinds, on the demo volume alone")
    parser.add_argument("--every", type=int, default=1, help="take every Nth kind only")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=ROOT / "output" / "proof.json")
    options = parser.parse_args()
    started = time.time()
    with tempfile.TemporaryDirectory() as folder:
        paths = volumes(Path(folder))
        step = options.every
        if options.quick:
            paths, step = {"demo": paths["demo"]}, 4
        jobs = [("state", p, n) for n, p in paths.items()]
        jobs += [("misplace", p, n, k) for k in range(0, len(MISPLACEMENTS), step) for n, p in paths.items()]
        jobs += [("leave", p, n, c) for c in list(HARMLESS)[::step] for n, p in paths.items()]
        jobs += [("resize", name) for name in list(phantoms())[::step]]
        with ProcessPoolExecutor(options.jobs, get_context("spawn")) as pool:
            rows = []
            for row in pool.map(_one, jobs):
                rows.append(row)
                if (row.beyond and row.table == "misplacements") or (
                    row.outcome == "named" and row.table != "misplacements"
                ):
                    print(
                        f"  {row.volume}: {row.kind}: {row.outcome} ({row.size:.3g}; {row.bound}) {row.words}",
                        file=sys.stderr,
                    )
    print(report(rows))
    print(f"\n{len(rows)} runs in {(time.time() - started) / 60:.1f} minutes.")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps([asdict(r) | {"beyond": r.beyond} for r in rows], indent=1), encoding="utf-8")
    return int(any(r.beyond for r in rows if r.table == "misplacements"))


def report(rows: list[Row]) -> str:
    lines = ["Smallest misplacement that each volume betrays (untouched, behind the usual chain):"]
    lines += [f"  {r.volume:28s} {r.outcome:13s} {r.words}" for r in rows if r.table == "bounds"]
    lines += [
        "",
        f"{'Misplacements':30s} {'runs':>5s} {'named':>6s} {'inconclusive':>13s} {'verified':>9s} {'beyond the bound':>17s}",  # noqa: E501
    ]
    lines += _table(rows, "misplacements", "named")
    lines += ["", f"{'Harmless changes':30s} {'runs':>5s} {'alarm':>6s} {'inconclusive':>13s} {'verified':>9s}"]
    lines += _table(rows, "harmless", "named")
    lines += [
        "",
        "Phantoms, resized by MONAI: " + ", ".join(f"{n} {o}" for o, n in _outcomes(rows, "phantoms").items()),
    ]
    for title, chosen in (
        ("Verified beyond the stated bound", [r for r in rows if r.table == "misplacements" and r.beyond]),
        ("False alarms", [r for r in rows if r.table in ("harmless", "phantoms") and r.outcome == "named"]),
        ("Not named", [r for r in rows if r.table == "misplacements" and r.outcome == "inconclusive"]),
    ):
        lines += ["", f"{title}: {len(chosen)}"]
        lines += [f"  {r.volume}: {r.kind}" + (f" ({r.size:.3g}; stated {r.bound})" if r.size else "") for r in chosen]
    return "\n".join(lines)


def _table(rows: list[Row], table: str, first: str) -> list[str]:
    chosen = [r for r in rows if r.table == table]
    lines = []
    for volume in [*dict.fromkeys(r.volume for r in chosen), "all"]:
        own = [r for r in chosen if volume in (r.volume, "all")]
        count = Counter(r.outcome for r in own)
        line = f"{volume:30s} {len(own):5d} {count[first]:6d} {count['inconclusive']:13d} {count['verified']:9d}"
        lines.append(line + (f" {sum(r.beyond for r in own):17d}" if table == "misplacements" else ""))
    return lines


def _outcomes(rows: list[Row], table: str) -> dict[str, int]:
    return dict(Counter("alarm" if r.outcome == "named" else r.outcome for r in rows if r.table == table))


if __name__ == "__main__":
    sys.exit(main())
