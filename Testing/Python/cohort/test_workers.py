"""Those who compute a cohort, for real: a scheduler and workers of Dask that somebody else started, over tcp, by its
file and over tls; and heatmaps that are those of ``explain`` to the bit, whoever computes them, in whatever order."""

from __future__ import annotations

import csv
import datetime
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

import nibabel
import numpy as np
import pytest
from Cohort import material
from support import REPOSITORY

from CAMOverlayLib.cli.main import main

ENVIRONMENT = {"PYTHONPATH": str(REPOSITORY / "CAMOverlay"), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

QUICK = ("--trust", "--keep", "heatmap", "--checks", "none")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("workers")
    material.write_bundle(folder / "bundle")
    material.write_volumes(folder / "volumes", 8, (18, 20, 16))
    return folder


def shuffled(data, path, count):
    """A list of volumes in an order of its own."""
    volumes = sorted((data / "volumes").glob("*.nii.gz"))[:count]
    random.Random(str(path)).shuffle(volumes)
    path.write_text("volume,id\n" + "".join(f"{one},{one.name[:10]}\n" for one in volumes), encoding="utf-8")
    return path


def cohort(data, listed, output, *words, environment=()):
    """The command in a process of its own; returns what it printed."""
    command = [sys.executable, "-m", "CAMOverlayLib", "cohort", listed, "--model", data / "bundle", "--output", output]
    done = subprocess.run(
        [*map(str, command), *QUICK, *words],
        env=os.environ | ENVIRONMENT | dict(environment),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def states(output):
    with open(output / "cohort.csv", newline="", encoding="utf-8") as file:
        return {row["id"]: row["state"] for row in csv.DictReader(file)}


def heat(folder):
    return np.asarray(nibabel.load(folder / "heatmap.nii.gz").dataobj)


def require_those_of_explain(data, output, tmp_path):
    for case in sorted((output / "cases").glob("[!.]*")):
        alone = tmp_path / "alone" / case.name
        if not alone.exists():
            words = [
                "explain",
                data / "volumes" / f"{case.name}.nii.gz",
                "--model",
                data / "bundle",
                "--report",
                "none",
            ]
            assert main([*map(str, words), "--trust", "--checks", "none", "--output", str(alone)]) == 0
        assert heat(case).any() and heat(case).tobytes() == heat(alone).tobytes(), case.name


@pytest.mark.slow
def test_on_one_worker_and_on_four_in_any_order_heatmaps_are_those_of_explain(data, tmp_path):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as those of the workers
    try:
        for workers in (1, 4):
            output = tmp_path / f"by-{workers}"
            listed = shuffled(data, tmp_path / f"list-{workers}.csv", 8)
            said = cohort(data, listed, output, "--workers", str(workers))
            assert f"{workers} worker process" in said and set(states(output).values()) == {"done"}
            require_those_of_explain(data, output, tmp_path)
            assert len(list((output / "log").iterdir())) == workers, "each computed some"
    finally:
        torch.set_num_threads(threads)
    orders = [list(states(tmp_path / f"by-{workers}")) for workers in (1, 4)]
    assert orders[0] != orders[1] and sorted(orders[0]) == sorted(orders[1])


# Somebody else's scheduler ------------------------------------------------------------------------------------------


@contextmanager
def dask(folder, *more, environment=()):
    """``dask scheduler`` and one ``dask worker``, gone afterwards; yields the path of the scheduler's file."""
    file, log = folder / "scheduler.json", folder / "dask.log"
    environment = os.environ | ENVIRONMENT | dict(environment)
    settings = {"env": environment, "stdout": log.open("ab"), "stderr": subprocess.STDOUT, "cwd": folder}
    start = [sys.executable, "-m", "dask"]
    where = ["--host", "127.0.0.1", "--port", "0", "--scheduler-file", str(file), "--no-dashboard"]
    with ExitStack() as stack:
        for words in (["scheduler", *where], ["worker", "--scheduler-file", str(file), "--no-dashboard", "--no-nanny"]):
            process = stack.enter_context(subprocess.Popen([*start, *words, *more], **settings))
            stack.callback(process.kill)
            end = time.monotonic() + 60
            while not file.exists() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.05)
            assert file.exists(), log.read_text()
        yield file


def address_of(file):
    import json

    return json.loads(file.read_text())["address"]


def test_a_dry_run_asks_the_workers_of_a_scheduler(data, tmp_path, capfd):
    listed = shuffled(data, tmp_path / "list.csv", 2)
    listed.write_text(listed.read_text() + f"{data / 'none.nii'},none\n")
    words = ["cohort", listed, "--model", data / "bundle", "--output", tmp_path / "out", *QUICK, "--dry-run"]
    with dask(tmp_path) as file:
        assert main([*map(str, words), "--scheduler", address_of(file)]) == 2
    seen = capfd.readouterr()
    assert f"the workers of {address_of(file)}" in seen.out and "none.nii' does not exist" in seen.out
    assert "1 of 3 cases" in seen.err and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["address", "file", "tls"])
def test_the_workers_of_a_scheduler_compute_what_explain_does(data, tmp_path, how):
    listed, environment, more = shuffled(data, tmp_path / "list.csv", 2), {}, ()
    if how == "tls":
        more, environment = certificates(tmp_path)
    with dask(tmp_path, *more, environment=environment) as file:
        address = address_of(file)
        assert address.startswith("tls://" if how == "tls" else "tcp://")
        words = ("--scheduler-file", str(file)) if how == "file" else ("--scheduler", address)
        said = cohort(data, listed, tmp_path / "out", *words, environment=environment)
    assert "the workers of" in said and set(states(tmp_path / "out").values()) == {"done"}
    require_those_of_explain(data, tmp_path / "out", tmp_path)
    if how == "tls":  # and without the certificates nobody answers
        with dask(tmp_path / "again", *more, environment=environment) as file, pytest.raises(AssertionError) as refused:
            cohort(data, listed, tmp_path / "none", "--scheduler", address_of(file))
        assert "No scheduler answers at 'tls://" in str(refused.value)


def certificates(folder):
    """A certificate of its own authority, for scheduler, worker and client; returns the options of ``dask`` and the
    environment of the command: Dask's own configuration."""
    x509 = pytest.importorskip("cryptography.x509", reason="cryptography is not installed, which makes certificates")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    (folder / "again").mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cohort")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1))
    made = made.not_valid_after(now + datetime.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    (folder / "cert.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(*plain))
    certificate, secret = str(folder / "cert.pem"), str(folder / "key.pem")
    more = ("--tls-ca-file", certificate, "--tls-cert", certificate, "--tls-key", secret)
    environment = {"DASK_DISTRIBUTED__COMM__TLS__CA_FILE": certificate}
    for who in ("SCHEDULER", "WORKER", "CLIENT"):
        environment[f"DASK_DISTRIBUTED__COMM__TLS__{who}__CERT"] = certificate
        environment[f"DASK_DISTRIBUTED__COMM__TLS__{who}__KEY"] = secret
    return (*more, "--protocol", "tls"), environment


def test_a_scheduler_that_goes_while_a_result_is_fetched_is_called_gone():
    """A case was done, and its scheduler was killed before the command had heard what came of it."""
    distributed = pytest.importorskip("distributed")
    from CAMOverlayLib.cohort.cases import Case
    from CAMOverlayLib.cohort.workers import OnDask
    from CAMOverlayLib.contract.errors import CohortError

    class Fetched:
        status = "finished"

        def result(self):
            raise distributed.comm.core.CommClosedError("in <TCP (closed) ConnectionPool.gather>: ConnectionResetError")

    with pytest.raises(CohortError, match="scheduler cannot be reached any more .the connection was lost.. What is do"):
        OnDask._outcome(None, Case("a", ("a.nii",)), Fetched())
