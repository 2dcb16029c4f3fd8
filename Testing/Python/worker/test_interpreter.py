"""Which Python computes: found, refused in one sentence, and started in a clean environment."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import venv
from pathlib import Path

import pytest
from worker.helpers import explain, fails, vanishes, wrapper

from CAMOverlayLib.contract.errors import WorkerError
from CAMOverlayLib.worker.client import Worker
from CAMOverlayLib.worker.interpreter import HEAP, LIBRARY, child_environment, find_python, own_python
from CAMOverlayLib.worker.transport import PipeTransport


def test_by_path_by_folder_and_by_name(tmp_path, monkeypatch):
    python = wrapper(tmp_path / "python", "exit 0")
    assert find_python(None) == os.path.abspath(sys.executable)
    assert find_python(python) == str(python)
    (tmp_path / "environment" / "bin").mkdir(parents=True)
    inside = tmp_path / "environment" / "bin" / "python"
    inside.symlink_to(python)
    assert find_python(tmp_path / "environment") == str(inside)  # not where the link leads
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_python("python") == str(python)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "nix", "does not exist"),
        (lambda folder: "no-such-python-anywhere", "does not exist"),
        (lambda folder: folder, "contains no Python"),
        (lambda folder: (folder / "x.txt").write_text("x") and folder / "x.txt", "is not executable"),
    ],
    ids=["missing", "unknown name", "empty folder", "text file"],
)
def test_refused_before_anything_starts(tmp_path, make, words):
    worker = Worker(make(tmp_path))
    with pytest.raises(WorkerError, match=words):
        worker.call("versions", {})
    assert worker.pid == 0


def not_an_executable(folder):
    path = folder / "python"
    path.write_bytes(b"\x00\x01\x02")
    path.chmod(0o755)
    return path


AT_START = {
    "not a program": (not_an_executable, "cannot be started: Exec format error"),
    "not a Python": (lambda folder: "/bin/ls", "ended with exit code 2 before it answered; it may be no Python"),
    "exits at start": (
        lambda f: wrapper(f / "p", "echo licence expired >&2", "exit 3"),
        "ended with exit code 3",
        "licence expired",
    ),
    "killed at start": (lambda f: wrapper(f / "p", "kill -9 $$"), "it was killed (signal 9)"),
    "talks rubbish": (lambda f: wrapper(f / "p", "exec yes"), "not an answer: 'y' is not JSON"),
    "a line without end": (lambda f: wrapper(f / "p", "exec cat /dev/zero"), "begins a line of more than 16 MiB"),
    "hangs": (lambda f: wrapper(f / "p", "exec sleep 60"), "did not answer within 1 s of its start"),
}


@pytest.mark.parametrize("name", AT_START)
def test_what_is_wrong_at_the_start_is_said_in_one_sentence(tmp_path, name):
    make, *words = AT_START[name]
    with Worker(make(tmp_path), start_within=1 if name == "hangs" else 30) as worker:
        run = worker.call("versions", {})
        pid = worker.pid
        message = fails(run, *words)
        assert message.splitlines()[0].count(". ") <= 1 and len(message.splitlines()) <= 12
        assert worker.pid == 0 and (not pid or vanishes(pid))


def old_python() -> str | None:
    roots = [Path(p) for p in os.environ.get("PATH", "").split(os.pathsep)]
    for path in (r / f"python{v}" for r in roots for v in ("2.7", "3.6", "3.7", "3.8", "3.9")):
        if path.exists() and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return str(path)
    return None


def test_too_old():
    python = old_python()
    if python is None:
        pytest.skip("no old Python here; the next test says what it would")
    fails(Worker(python).call("versions", {}), "3.10 or later is needed", "Choose another Python")


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9)])
def test_too_old_by_its_own_account(version):
    """The program that an old Python would run, with its version, and in a grammar that it can read."""
    import ast

    source = (LIBRARY / "CAMOverlayLib" / "worker" / "__main__.py").read_text(encoding="ascii")
    if version >= (3, 6):
        for name in ("__init__.py", "worker/__init__.py", "worker/__main__.py"):
            ast.parse((LIBRARY / "CAMOverlayLib" / name).read_text(encoding="utf-8"), feature_version=version)
    program = f"import sys; sys.version_info = {(*version, 0)}; exec({source!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1 and f"is version {version[0]}.{version[1]}; 3.10 or later is needed" in done.stdout


@pytest.fixture(scope="module")
def bare(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("bare") / "environment"
    venv.create(folder, symlinks=True, with_pip=False)
    return folder


def test_packages_are_missing(bare):
    with Worker(bare) as worker:
        fails(
            worker.call("versions", {}),
            "lacks numpy, torch, monai and nibabel",
            f"{bare / 'bin' / 'python'} -m pip install numpy torch monai nibabel",
        )


def test_a_package_is_broken(bare, tmp_path):
    packages = next((bare / "lib").glob("python*/site-packages"))
    for name in ("torch", "monai", "numpy", "nibabel"):
        (packages / f"{name}-9.0.dist-info").mkdir()
        (packages / f"{name}-9.0.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.0\n"
        )
        (packages / f"{name}.py").write_text("raise ImportError('libcudart.so.99: cannot open shared object file')\n")
    with Worker(bare) as worker:
        fails(worker.call("versions", {}), "cannot load the libraries", "libcudart.so.99", "choose another Python")


@pytest.mark.slow
def test_any_environment_with_the_packages_will_do(fault_bundle, ask, tmp_path):
    """Not the Python of the tests but one beside it, which sees the same packages; without this extension in it."""
    other = tmp_path / "other"
    venv.create(other, symlinks=True, with_pip=False)
    packages = next((other / "lib").glob("python*/site-packages"))
    (packages / "these.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")))
    with Worker(other) as worker:
        explain(worker, ask(fault_bundle())).wait(60)
        assert worker.hello.executable == str(other / "bin" / "python")


def test_a_launcher_between_is_no_obstacle(tmp_path):
    """PythonSlicer starts the real Python as its child: ending the launcher alone would leave the child."""
    launcher = wrapper(tmp_path / "PythonSlicer", "echo a greeting", f'"{sys.executable}" "$@"', "exit $?")
    with Worker(launcher) as worker:
        run = worker.call("versions", {})
        while worker.hello is None:
            worker._transport.pump(0.01)
        python, outer = worker.pid, worker._transport.pid
        assert python != outer and "a greeting" in worker.log
        os.kill(python, 9)
        fails(run, "killed (signal 9)")
        assert vanishes(python) and vanishes(outer)
        run = worker.call("versions", {})
        while worker.hello is None:
            worker._transport.pump(0.01)
        python = worker.pid
        worker.stop()
        assert run.state == "cancelled" and vanishes(python)


SLICERS_OWN = {
    "PYTHONHOME": "/opt/Slicer/lib/Python",
    "PYTHONPATH": "/opt/Slicer/bin/Python",
    "PYTHONNOUSERSITE": "1",
    "QT_PLUGIN_PATH": "/opt/Slicer/lib/QtPlugins",
    "LD_LIBRARY_PATH": os.pathsep.join(["/opt/Slicer/lib", "/usr/local/cuda/lib64"]),
    "PATH": os.pathsep.join(["/opt/Slicer/bin", "/usr/bin"]),
    "HOME": "/home/somebody",
}


class Startup(dict):
    """What ``slicer.app.startupEnvironment()`` returns, as far as it is used."""

    value = dict.__getitem__


def in_slicer(monkeypatch, startup):
    app = types.SimpleNamespace(startupEnvironment=lambda: Startup(startup), slicerHome="/opt/Slicer")
    monkeypatch.setitem(sys.modules, "slicer", types.SimpleNamespace(app=app))


def test_another_python_gets_nothing_of_slicers(monkeypatch):
    in_slicer(monkeypatch, SLICERS_OWN)
    found = child_environment("/home/somebody/env/bin/python")
    assert "/opt/Slicer" not in str(found) and not [k for k in found if k.startswith("QT_")]
    assert found["PYTHONPATH"] == str(LIBRARY) and "PYTHONHOME" not in found
    assert found["LD_LIBRARY_PATH"] == "/usr/local/cuda/lib64" and found["PATH"] == "/usr/bin"
    assert found["HOME"] == "/home/somebody"


def test_slicers_own_python_starts_as_slicer_was_started(monkeypatch):
    in_slicer(monkeypatch, {"HOME": "/home/somebody", "PYTHONPATH": "/mine"})
    monkeypatch.setenv("PYTHONHOME", "/opt/Slicer/lib/Python")
    found = child_environment(own_python())
    assert found["PYTHONPATH"] == os.pathsep.join([str(LIBRARY), "/mine"])
    assert "PYTHONHOME" not in found and found["HOME"] == "/home/somebody"


def test_the_process_keeps_its_heap_whole_and_what_the_user_says_of_it_counts(monkeypatch):
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert child_environment(own_python())["GLIBC_TUNABLES"] == HEAP
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=7")  # of two that say the same the last one holds
    assert child_environment(own_python())["GLIBC_TUNABLES"] == f"{HEAP}:glibc.malloc.tcache_count=7"


def test_a_relative_python_is_the_one_from_where_it_was_named(tmp_path, monkeypatch):
    (tmp_path / "environment/bin").mkdir(parents=True)
    python = wrapper(tmp_path / "environment/bin/python", "exit 7")
    monkeypatch.chdir(tmp_path)
    for named in ("environment", "environment/bin/python", Path("environment"), "~/environment"):
        monkeypatch.setenv("HOME", str(tmp_path))
        worker = Worker(named, transport=PipeTransport())
        monkeypatch.chdir("/")
        assert worker.python == named and find_python(worker._python) == str(python)
        fails(worker.call("versions", {}), "exit code 7")
        monkeypatch.chdir(tmp_path)


def test_a_relative_search_path_is_the_callers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "mine", "/elsewhere"]))
    path = child_environment(own_python())["PYTHONPATH"].split(os.pathsep)
    assert path == [str(LIBRARY), str(tmp_path / "mine"), "/elsewhere"]
