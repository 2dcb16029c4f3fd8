"""MONAI and nibabel load without what they might want, find it when they want it, and nobody else notices."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[3] / "CAMOverlay"

INSTALLED = [
    name
    for name in (
        "matplotlib",
        "pandas",
        "pydicom",
        "requests",
        "scipy.ndimage",
        "scipy.signal",
        "scipy.sparse.linalg",
        "sklearn",
    )
    if importlib.util.find_spec(name.partition(".")[0])
]

FLAGS = """
import json, sys, monai, monai.bundle, monai.transforms, monai.networks.nets
flags = {f"{name}.{key}": value for name, module in list(sys.modules.items()) if name.startswith("monai")
         for key, value in vars(module).items() if key.startswith("has_") and isinstance(value, bool)}
print("FOUND", json.dumps(flags))
"""

LATE = (
    "from CAMOverlayLib.contract.late_imports import late_imports, StandIn, Later\nwith late_imports(): import monai\n"
)


def run(program: str):
    """What a process of its own prints behind FOUND."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; sys.path.insert(0, {str(PACKAGE)!r})\n{program}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))[6:])


def test_monai_is_told_of_the_same_libraries():
    assert run(LATE + FLAGS) == run(FLAGS)


def test_what_is_late_is_not_loaded_and_not_in_the_way():
    loaded, real = run(
        LATE + "import json, importlib\n"
        f"names = {INSTALLED!r}\n"
        "loaded = [name for name in names if name in sys.modules]\n"
        "modules = [importlib.import_module(name) for name in names]\n"
        "print('FOUND', json.dumps([loaded, [not isinstance(one, StandIn) and bool(one.__spec__.origin) "
        "for one in modules]]))"
    )
    assert loaded == []
    assert all(real) and len(real) == len(INSTALLED)


def test_monai_gets_the_library_at_its_first_use():
    """The confidence map of an ultrasound image is of scipy.signal's Hilbert transform: the same numbers as without."""
    program = (
        "import json, monai, torch\nfrom monai.transforms import UltrasoundConfidenceMapTransform\n"
        "image = torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0))\n"
        "found = UltrasoundConfidenceMapTransform(mode='RF', sink_mode='all')(image)\n"
        "print('FOUND', json.dumps([found.tolist(), 'scipy.signal' in sys.modules]))"
    )
    late, plain = run(LATE + program), run(program)
    assert late == plain and late[1]


def test_other_libraries_get_the_real_thing_at_once():
    """Whoever imports one while MONAI loads and inherits from what is in it must not get a stand-in."""
    found = run(
        "import json, types\n"
        "from CAMOverlayLib.contract.late_imports import late_imports, StandIn, Later, _Finder\n"
        "with late_imports():\n"
        "    monai = types.ModuleType('monai.pretended')\n"
        "    exec('import scipy.signal as held\\nfrom scipy.signal import hilbert', vars(monai))\n"
        "    before = [type(monai.held).__name__, type(monai.hilbert).__name__, 'scipy.stats' in sys.modules]\n"
        "    from scipy.signal import hilbert, windows\n"
        "    import scipy.signal.windows as others\n"
        "same = windows is others and hilbert.__module__.startswith('scipy.signal')\n"
        "import numpy as np, scipy\n"
        "equal = np.array_equal(monai.hilbert(np.arange(5.0)), hilbert(np.arange(5.0)))\n"
        "print('FOUND', json.dumps([before, same, bool(equal), monai.held.hilbert is hilbert, "
        "type(scipy.signal).__name__]))"
    )
    assert found == [["StandIn", "Later", False], True, True, True, "module"]


def test_what_is_loaded_already_is_left_alone():
    assert run(
        "import json, scipy.signal\n" + LATE + "from monai.data.ultrasound_confidence_map import hilbert\n"
        "print('FOUND', json.dumps(hilbert is scipy.signal.hilbert))"
    )


@pytest.mark.skipif("pandas" not in INSTALLED, reason="pandas is not installed")
def test_a_table_is_a_table():
    assert run(
        LATE + "import json, pandas\nfrom monai.data import utils\n"
        "frame = pandas.DataFrame({'a': [1, 2]})\n"
        "found = utils.convert_tables_to_dicts([frame])\n"
        "class Mine(utils.DataFrame): pass\n"
        "print('FOUND', json.dumps([one['a'] for one in found] == [1, 2] and isinstance(frame, utils.DataFrame) "
        "and issubclass(Mine, pandas.DataFrame)))"
    )


@pytest.mark.skipif("pydicom" not in INSTALLED, reason="pydicom is not installed")
def test_nibabel_reads_the_dicom_of_a_header():
    """The class that it made while it loaded, and what it does with a data set: as without."""
    program = (
        "import json, io, nibabel\nfrom nibabel.nifti1 import Nifti1DicomExtension, extension_codes\n"
        "late = 'pydicom' not in sys.modules\n"
        "import pydicom\ndata = pydicom.Dataset()\ndata.PatientID = 'somebody'\n"
        "kept = Nifti1DicomExtension(2, data)\nout = io.BytesIO()\nkept.write_to(out, False)\n"
        "again = Nifti1DicomExtension(2, out.getvalue()[8:])\n"
        "print('FOUND', json.dumps([late, again.get_content().PatientID, isinstance(again.get_content(), "
        "pydicom.Dataset), extension_codes.handler[2] is Nifti1DicomExtension, len(out.getvalue())]))"
    )
    late, plain = run(LATE + program), run(program)
    assert late[0] and not plain[0]
    assert late[1:] == plain[1:] and late[1:4] == ["somebody", True, True]


@pytest.mark.skipif("pydicom" not in INSTALLED, reason="pydicom is not installed")
def test_a_chain_that_loads_waits_for_what_reads_dicom_too():
    program = (
        "import json\nfrom monai.transforms import LoadImage\n"
        "with late_imports():\n    load = LoadImage(image_only=True)\n"
        "before = 'pydicom' in sys.modules\n"
        "import pydicom\nfrom pydicom.data import get_testdata_file\n"
        "image = load(get_testdata_file('CT_small.dcm'))\n"
        "print('FOUND', json.dumps([before, list(image.shape), float(image.mean())]))"
    )
    late = run(LATE + program)
    assert late == [False, *run("from contextlib import nullcontext as late_imports\n" + program)[1:]]
