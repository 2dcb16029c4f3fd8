"""What somebody would write without this project: load, transform, MONAI's GradCAM, Compose.inverse, a file.

python Testing/Benchmarks/naive_script.py VOLUME BUNDLE LAYER OUTPUT.nii.gz
"""

from __future__ import annotations

import sys
from copy import deepcopy
from pathlib import Path


def main(volume: str, bundle: str, layer: str, output: str) -> None:
    import nibabel
    import numpy as np
    import torch
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.transforms.utils import allow_missing_keys_mode
    from monai.visualize import GradCAM

    parser = ConfigParser()
    parser.read_config(str(Path(bundle) / "configs" / "inference.json"))
    steps, network = parser.get_parsed_content("preprocessing"), parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(Path(bundle) / "models" / "model.pt", weights_only=True))
    image = steps({"image": volume})["image"]
    heat = GradCAM(network.eval(), layer)(image.as_tensor()[None])[0]
    mapped = MetaTensor(heat.detach(), affine=image.affine, applied_operations=deepcopy(image.applied_operations))
    with allow_missing_keys_mode(steps):
        restored = steps.inverse({"image": mapped})["image"]
    nibabel.save(nibabel.Nifti1Image(np.asarray(restored[0]), nibabel.load(volume).affine), output)


if __name__ == "__main__":
    main(*sys.argv[1:])
