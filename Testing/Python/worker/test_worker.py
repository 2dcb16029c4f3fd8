"""The process when nothing goes wrong: answers, warmth, progress, the streams, and how it ends."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worker.helpers import exists, explain, fails, vanishes, wait_for_stage

from CAMOverlayLib.contract.errors import (
    BundleError,
    Cancelled,
    LayerError,
    UntrustedBundleError,
    VolumeError,
    WorkerError,
)
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import SCHEMA, STAGES, Result
from CAMOverlayLib.contract.target import TargetSpec
from CAMOverlayLib.worker.client import Worker
from CAMOverlayLib.worker.transport import PipeTransport


def test_the_result_is_that_of_the_engine_in_this_process(worker, fault_bundle, ask):
    from CAMOverlayLib.engine.pipeline import explain as explain_here

    bundle, seen = fault_bundle(), []
    request = ask(bundle)

    def keep(result: Result):
        return result, np.load(result.heatmap.path)

    result, heatmap = explain(worker, request, on_progress=seen.append, finish=keep).wait(60)
    here = explain_here(ask(bundle))
    assert np.allclose(
        heatmap, np.load(here.heatmap.path), atol=1e-5
    )  # another number of threads may round differently
    assert result.prediction == here.prediction and result.steps[0].affine == here.steps[0].affine
    assert next(p.stage for p in seen if p.stage not in ("import",)) == "volume"
    assert {p.stage for p in seen} <= set(STAGES) and seen[-1].stage == "check"
    assert [p.fraction for p in seen] == sorted(p.fraction for p in seen)
    assert not os.path.exists(request.output_folder)  # the run's own, gone with it


def made(what: str, value=None) -> dict:
    return {"_target_": "scripts.faults.network_after", "what": what, "value": value}


@pytest.fixture
def ahead_of(zygote, ask):
    """A function that asks a process of its own, which was told of the model before, for an explanation."""

    def answer(bundle: Path, told: bool = True, **options) -> Result:
        request = ask(bundle, **options)
        ahead = {"model": request.model.absolute().to_dict(), "device": request.device} if told else None
        with Worker(zygote.python, transport=PipeTransport(), hang_after=20, alone=True, ahead=ahead) as worker:
            worker.call("versions", {}).wait(60)

            def keep(result: Result):
                return result, np.load(result.heatmap.path)

            return explain(worker, request, finish=keep).wait(60)

    return answer


def test_a_model_is_opened_before_it_is_asked_for(ahead_of, fault_bundle):
    bundle = fault_bundle(network=made("sleep", 1.0))
    (late, one), (soon, other) = ahead_of(bundle, told=False), ahead_of(bundle)
    assert late.timings["bundle"] > 1 > 0.5 > soon.timings["bundle"]
    assert one.tobytes() == other.tobytes() and one.max() == 1
    assert soon.prediction == late.prediction and soon.checks == late.checks


@pytest.mark.parametrize(
    ("network", "options", "kind"),
    [
        (made("exit", 3), {}, BundleError),
        (made("raise", "it cannot be made"), {}, BundleError),
        (made("sleep", 0.0), {"trust": False}, UntrustedBundleError),
        (made("sleep", 0.0), {"layer": "nowhere"}, LayerError),
        (made("crash"), {}, WorkerError),
        (made("leave", 0), {}, WorkerError),
    ],
)
def test_what_is_wrong_with_a_model_is_said_when_it_is_asked_for(ahead_of, fault_bundle, network, options, kind):
    with pytest.raises(kind) as late:
        ahead_of(fault_bundle(network=network), told=False, **options)
    with pytest.raises(kind) as soon:
        ahead_of(fault_bundle(network=network), **options)
    assert type(soon.value) is type(late.value)
    if kind is not WorkerError:
        names = [str(one.value).replace("bundle1", "bundle0") for one in (late, soon)]
        assert names[0] == names[1]


def test_the_process_stays_warm(worker, fault_bundle, ask):
    bundle = fault_bundle()
    explain(worker, ask(bundle)).wait(60)  # perhaps in a new process: it runs the code of one bundle only
    pid = worker.pid
    for _ in range(2):
        explain(worker, ask(bundle)).wait(60)
    assert worker.pid == pid
    started = time.monotonic()
    worker.call("versions", {}).wait(60)
    assert time.monotonic() - started < 0.5


def test_callbacks_tell_what_wait_would(worker, fault_bundle, ask):
    told = []
    run = explain(worker, ask(fault_bundle()), on_result=told.append, on_error=told.append)
    assert run.wait(60) is told[0] and len(told) == 1 and run.state == "done"
    run = explain(worker, ask("/nowhere"), on_result=told.append, on_error=told.append)
    with pytest.raises(BundleError) as caught:
        run.wait(60)
    assert caught.value is told[1] and len(told) == 2 and run.state == "failed"


@pytest.mark.parametrize(
    ("options", "kind", "word"),
    [
        ({"trust": False}, UntrustedBundleError, "runs code"),
        ({"layer": "nix"}, LayerError, "no layer 'nix'"),
        ({"volumes": ()}, WorkerError, "unexpectedly"),
    ],
    ids=["not trusted", "no such layer", "nobody thought of this"],
)
def test_an_error_keeps_its_kind_and_its_words_and_the_process(worker, fault_bundle, ask, options, kind, word):
    bundle = fault_bundle()
    explain(worker, ask(bundle)).wait(60)  # a process runs the code of one bundle only: from here on it is this one's
    pid = worker.pid
    message = fails(explain(worker, ask(bundle, **options)), word, kind=kind)
    assert "Traceback" not in message or kind is WorkerError
    assert worker.pid == pid


def test_a_missing_volume(worker, fault_bundle, ask):
    request = ask(fault_bundle())
    Path(request.volumes[0].path).unlink()
    fails(explain(worker, request), "volume", kind=VolumeError)


def test_inspect(worker, make_bundle):
    bundle = make_bundle()
    plain = worker.inspect(ModelSource(str(bundle))).wait(60)
    assert plain.summary.info.classes == ("healthy", "lesion", "artefact") and not plain.layers and not plain.transforms
    assert "LoadImaged" in plain.summary.code.targets and len(plain.content_hash) == 64
    trusted = worker.inspect(ModelSource(str(bundle), trust=True)).wait(60)
    assert trusted.transforms[0] == "LoadImaged" and trusted.summary == plain.summary
    named = {layer.name: layer for layer in trusted.layers}
    assert trusted.default in named and set(trusted.stages) <= set(named)
    assert all(len(layer.stride) == len(layer.shape) - 1 for layer in trusted.layers)
    assert len({layer.number for layer in trusted.layers}) == len(trusted.layers)


def test_an_operation_that_does_not_exist(worker):
    fails(worker.call("dance", {}), "'dance' is no operation", "explain")


def test_what_libraries_print_is_the_log_and_never_an_answer(worker, fault_bundle, ask):
    bundle = fault_bundle({"what": "print", "value": "hello-from-a-library"}, {"what": "read"})
    explain(worker, ask(bundle)).wait(60)
    pid = worker.pid
    end = time.monotonic() + 5
    while worker.log.count("hello-from-a-library") < 4 and time.monotonic() < end:  # puts() has a buffer of its own
        worker._transport.pump(0.05)
    assert worker.log.count("hello-from-a-library") >= 4
    assert "read ''" in worker.log  # and nobody reads Slicer's words either
    explain(worker, ask(bundle)).wait(60)
    assert worker.pid == pid


def test_the_log_is_bounded(worker, fault_bundle, ask):
    explain(worker, ask(fault_bundle({"what": "print", "value": "x" * 30000}))).wait(60)
    assert len(worker.log) <= 1 << 16


def test_a_progress_callback_can_end_the_run(worker, fault_bundle, ask):
    class Enough(Exception):
        pass

    def stop(progress):
        if progress.stage == "preprocess":
            raise Enough

    request = ask(fault_bundle())
    with pytest.raises(Enough):
        explain(worker, request, on_progress=stop).wait(60)
    assert not os.path.exists(request.output_folder)
    explain(worker, ask(fault_bundle())).wait(60)


def test_a_broken_callback_does_not_break_the_worker(worker, fault_bundle, ask, capsys):
    explain(worker, ask(fault_bundle()), on_result=lambda value: 1 / 0).wait(60)
    assert "ZeroDivisionError" in capsys.readouterr().err
    explain(worker, ask(fault_bundle())).wait(60)


def test_a_second_run_takes_the_place_of_the_first(worker, fault_bundle, ask):
    told = []
    slow = fault_bundle(network={"_target_": "scripts.faults.sleepy_network", "forward": 0.1, "layers": 8})
    requests = [ask(slow) for _ in range(3)]
    first = explain(worker, requests[0], on_error=told.append)
    wait_for_stage(first, "forward")
    pid = worker.pid
    second = explain(worker, requests[1], on_error=told.append)
    third = explain(worker, requests[2])
    assert third.wait(60).prediction.classes
    assert [first.state, second.state, third.state] == ["cancelled", "cancelled", "done"]
    assert [type(error) for error in told] == [Cancelled, Cancelled]
    assert worker.pid == pid  # it had not to be killed for this
    assert not any(os.path.exists(request.output_folder) for request in requests)


def test_wait_can_be_limited(worker, fault_bundle, ask):
    run = explain(worker, ask(fault_bundle({"what": "sleep", "value": 0.3})))
    with pytest.raises(TimeoutError):
        run.wait(0.05)
    run.wait(60)


def test_every_relative_path_is_meant_from_here(worker, make_bundle, ask, monkeypatch, tmp_path):
    """Bundle, volume, mask, trail and the run's own folder; where the process works, there is nothing of these
    names."""
    import nibabel

    chain = [{"_target_": f"{name}d", "keys": "image"} for name in ("LoadImage", "EnsureChannelFirst", "EnsureType")]
    unet = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
    }
    bundle, mask = make_bundle(network=unet, chain=chain), np.zeros((24, 20, 16), np.uint8)
    mask[4:12, 6:10, 2:6] = 1
    nibabel.save(nibabel.Nifti1Image(mask, np.diag([1, 1, 2, 1])), tmp_path / "lesion.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for number, here in enumerate(("", "./", "~/")):
        (tmp_path / f"trail{number}").mkdir()
        targets = (f"1@mask={here}lesion.nii.gz", TargetSpec(1, mask=f"{here}lesion.nii.gz"))
        for target in targets:
            request = ask(Path(f"{here}{bundle.name}"), target=target, intermediates_folder=f"{here}trail{number}")
            (volume,) = request.volumes
            request = replace(
                request,
                output_folder=f"{here}{Path(request.output_folder).name}",
                volumes=(replace(volume, path=f"{here}{Path(volume.path).name}"),),
            )
            result = explain(worker, request).wait(60)
            assert "over the 128 voxels of mask" in result.target.description
            assert not os.path.exists(os.path.expanduser(request.output_folder))
        assert any((tmp_path / f"trail{number}").iterdir())
        assert worker.inspect(ModelSource(f"{here}{bundle.name}")).wait(60).summary.info.name == "bundle"


def test_numpy_in_every_field_of_a_request(worker, make_bundle, ask, tmp_path):
    """What a notebook has at hand: one request in NumPy's own types gives what the plain one gives."""
    chain = [{"_target_": f"{name}d", "keys": "image"} for name in ("LoadImage", "EnsureChannelFirst", "EnsureType")]
    unet = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
    }
    bundle = make_bundle(network=unet, chain=chain)
    plain = ask(
        bundle,
        target=TargetSpec(1, 0, voxel=(5, 6, 7)),
        device="cpu",
        inverse="affine",
        configs=("configs/inference.json",),
    )
    (volume,) = plain.volumes
    numpy = ask(
        np.str_(bundle),
        target=TargetSpec(np.int64(1), np.uint8(0), voxel=np.array([5.0, 6.0, 7.0])),
        volumes=[replace(volume, path=Path(volume.path), affine=np.array(volume.affine), name=np.str_(volume.name))],
        trust=np.bool_(True),
        method=np.str_("gradcam"),
        device=np.str_("cpu"),
        inverse=np.array("affine"),
        verify=np.bool_(False),
        interpolation=np.str_("linear"),
        amp=np.bool_(False),
        configs=np.array(["configs/inference.json"]),
        intermediates_folder=None,
        schema=np.int32(SCHEMA),
    )

    def seen(result):
        return result.prediction, result.target, result.peak, np.load(result.heatmap.path).copy()

    one, other = (explain(worker, request, finish=seen).wait(60) for request in (plain, numpy))
    assert one[:3] == other[:3] and np.array_equal(one[3], other[3])
    source = ModelSource(Path(bundle), np.bool_(True), configs=np.array(["configs/inference.json"]))
    assert worker.inspect(source).wait(60).layers


def test_it_steps_back_for_slicer(worker):
    if hasattr(os, "getpriority"):
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) > os.getpriority(os.PRIO_PROCESS, os.getpid()) - 1
        assert os.getpriority(os.PRIO_PROCESS, worker.pid) > 0


def test_stop_ends_it_and_the_next_run_starts_a_new_one(victim, fault_bundle, ask):
    pid, request = victim.pid, ask(fault_bundle({"what": "sleep", "value": 60}))
    run = explain(victim, request)
    wait_for_stage(run, "preprocess")
    started = time.monotonic()
    victim.stop()
    assert time.monotonic() - started < 1 and not exists(pid) and run.state == "cancelled"
    assert not os.path.exists(request.output_folder)
    explain(victim, ask(fault_bundle())).wait(60)
    assert victim.pid != pid
    victim.stop()
    victim.stop()


def test_a_process_that_died_between_two_runs_is_replaced_unnoticed(victim, fault_bundle, ask):
    os.kill(victim.pid, 9)
    explain(victim, ask(fault_bundle())).wait(60)


def test_closing_the_stream_ends_it():
    worker = Worker(transport=PipeTransport())
    worker.start()
    while worker.hello is None:
        worker._transport.pump(0.01)
    pid = worker.pid
    worker._transport._process.stdin.close()
    assert vanishes(pid)


def test_making_a_worker_starts_nothing_and_loads_nothing():
    import subprocess

    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from CAMOverlayLib.worker.client import Worker; worker = Worker(); worker.stop()\n"
        "print(worker.pid, *{'torch', 'monai', 'nibabel', 'numpy', 'slicer'} & set(sys.modules))"
    )
    library = Path(__file__).resolve().parents[3] / "CAMOverlay"
    done = subprocess.run([sys.executable, "-c", program, library], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0"]
