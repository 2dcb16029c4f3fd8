"""Bundles that misbehave on demand, and warm workers."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from support import UNET, request
from worker.helpers import gone, wrapper
from worker.ssh_server import NoServer, SshServer

from CAMOverlayLib.contract.request import Request
from CAMOverlayLib.worker.client import Worker
from CAMOverlayLib.worker.transport import PipeTransport

PYTHON = sys.executable
"""As it is before Slicer's side is the process's."""

NETWORK = {"_target_": "scripts.faults.sleepy_network"}


@pytest.fixture(scope="session")
def shared(zygote):
    # Every test has a bundle of its own, and every bundle a process of its own: from the zygote it is there at once.
    with Worker(zygote.python, transport=PipeTransport(), hang_after=20) as worker:
        worker.start()
        yield worker


@pytest.fixture
def worker(shared):
    """A warm worker, started as a user's is, for tests that leave it alive."""
    shared.call("versions", {}).wait(120)
    return shared


@pytest.fixture
def victim(zygote):
    """A warm worker for tests that end it, without the seconds in which the libraries load."""
    with Worker(zygote.python, transport=PipeTransport(), hang_after=20) as worker:
        worker.call("versions", {}).wait(120)
        yield worker
    assert worker.pid == 0


@pytest.fixture
def fault_bundle(make_bundle):
    """A function that makes a bundle with a fault in it; without one it is an ordinary, tiny bundle."""
    numbers = iter(range(1000))

    def make(*steps: dict, network=NETWORK, **options) -> Path:
        name = f"bundle{next(numbers)}"
        scripts = Path("scripts")
        chain = [
            {"_target_": "LoadImaged", "keys": "image"},
            {"_target_": "EnsureChannelFirstd", "keys": "image"},
            *(
                {"_target_": "scripts.faults.Fault", "keys": "image", **step} if "what" in step else step
                for step in steps
            ),
            {"_target_": "EnsureTyped", "keys": "image"},
        ]
        folder = make_bundle(name=name, chain=chain, weights=None, network=network, **options)
        (folder / scripts).mkdir()
        (folder / scripts / "__init__.py").touch()
        shutil.copy(Path(__file__).with_name("faults.py"), folder / scripts)
        import torch

        torch.manual_seed(0)
        convolution = torch.nn.Conv3d(1, 3, 4, 4).state_dict()
        torch.save({f"0.{key}": value for key, value in convolution.items()}, folder / "models" / "model.pt")
        return folder

    return make


@pytest.fixture
def ask(export, tmp_path):
    """A function that makes a request for a small volume, with a run folder of its own."""
    numbers = iter(range(1000))
    array = np.random.default_rng(0).normal(100, 20, (24, 20, 16)).astype(np.int16)
    volume = export(array, np.diag([1, 1, 2, 1]))

    def make(bundle: Path, **options) -> Request:
        folder = tmp_path / f"run{next(numbers)}"
        folder.mkdir()
        return request(**({"volumes": (volume,), "folder": bundle, "output": folder} | options))

    return make


@pytest.fixture(scope="session")
def the_server(tmp_path_factory):
    try:
        server = SshServer(tmp_path_factory.mktemp("ssh"))
    except NoServer as problem:
        pytest.skip(str(problem))
    yield server
    server.stop()


@pytest.fixture
def server(the_server, monkeypatch):
    """An ssh server on the loopback address, which the user's ``ssh`` knows."""
    monkeypatch.setenv("PATH", f"{the_server.bin}{os.pathsep}{os.environ['PATH']}")
    yield the_server
    assert gone(lambda: not the_server.left()), the_server.left()  # whatever happened, nothing is left over there


@pytest.fixture(scope="session")
def python(zygote, the_server):
    """A Python over there whose worker starts at once; everything before the worker is the real thing."""
    quick = f"import sys; sys.executable = '{zygote.python}'; "
    lines = [f'[ "$1" = -c ] && exec "{PYTHON}" -c "{quick}$2"', f'exec "{zygote.python}" "$@"']
    return wrapper(the_server.far / "python", *lines)


@pytest.fixture
def far(server, python):
    """A warm worker over there."""
    with Worker(server.url(python), transport=PipeTransport(), hang_after=20) as worker:
        worker.call("versions", {}).wait(120)
        yield worker


@pytest.fixture
def segmenting(make_bundle):
    chain = [{"_target_": f"{name}d", "keys": "image"} for name in ("LoadImage", "EnsureChannelFirst", "EnsureType")]
    return make_bundle(network=UNET, chain=chain)
