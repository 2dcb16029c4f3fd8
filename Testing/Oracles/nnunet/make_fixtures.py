"""Writes the models, inputs and answers in `fixtures/`, by nnunetv2 itself. README.md says in which environment.

python make_fixtures.py                                  models, drawn inputs, answers
python make_fixtures.py --data FOLDER --real OUT         the answers for real volumes too; their cuts go to OUT
python make_fixtures.py --only regions two_folds         some of the cases
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import numpy as np
import oracle
import torch
from cases import CASES, FIXTURES, Case, real_input
from plans import plans_and_dataset
from volumes import write_inputs, write_volume


def make(case: Case) -> None:
    """The whole folder of a case, from nothing."""
    shutil.rmtree(case.folder, ignore_errors=True)
    case.model.mkdir(parents=True)
    plans, dataset = plans_and_dataset(case.name)
    (case.model / "plans.json").write_text(json.dumps(plans, indent=1) + "\n")
    (case.model / "dataset.json").write_text(json.dumps(dataset, indent=1) + "\n")
    write_inputs(case.name, case.input_files)
    oracle.write_checkpoints(case, plans, dataset)
    answer = oracle.ask(case, list(case.input_files), with_voxels=True)
    np.savez_compressed(case.folder / "answer.npz", **answer)
    _tell(case, "answer", answer)


def make_real(case: Case, data: Path, out: Path) -> None:
    """The answer for the case's real cut. The voxels go to `out`, never into the project."""
    channels, affine = real_input(case, data)
    files = [out / f"{case.name}_{c:04d}.nii.gz" for c in range(len(channels))]
    for voxels, path in zip(channels, files, strict=True):
        write_volume(path, voxels, affine)
    answer = oracle.ask(case, files, with_voxels=False)
    np.savez_compressed(case.folder / "real.npz", **answer)
    _tell(case, "real", answer)


def _tell(case: Case, what: str, answer: dict) -> None:
    shares = np.bincount(answer["labels"].ravel()) / answer["labels"].size
    unsure = np.unpackbits(answer["unsure"]).sum() / answer["labels"].size
    apart = np.abs(answer["logits"] - answer["logits_float32"]).max()
    print(
        f"{case.name:20} {what:7} {answer['labels'].shape} → {answer['preprocessed_shape'].tolist()}, labels",
        " ".join(f"{share:.0%}" for share in shares),
        f"unsure {unsure:.1%}, half and float32 at most {apart:.3f} apart",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", help="names of cases", default=[case.name for case in CASES])
    parser.add_argument("--data", type=Path, help="the folder of the real volumes that cases.py names")
    parser.add_argument("--real", type=Path, help="a folder outside the project for what is cut from them")
    options = parser.parse_args()
    if (options.data is None) != (options.real is None):
        parser.error("--data and --real belong together")
    torch.set_num_threads(1)
    for case in CASES:
        if case.name not in options.only:
            continue
        make(case)
        if options.real and case.cuts:
            options.real.mkdir(parents=True, exist_ok=True)
            make_real(case, options.data, options.real)
    (FIXTURES / "versions.json").write_text(json.dumps(oracle.versions(), indent=1) + "\n")


if __name__ == "__main__":
    main()
