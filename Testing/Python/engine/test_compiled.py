"""TorchScript and exported programs: what needs input and output only, and a plain word about the rest."""

import json

import numpy as np
import pytest
import torch
from geometries import GEOMETRIES, blob
from support import SLOW, USUAL_CHAIN, read_bundle, request

from CAMOverlayLib.contract.errors import MethodError, UntrustedBundleError, WeightsError
from CAMOverlayLib.engine.pipeline import explain

AFFINE = GEOMETRIES["oblique"]
FROM_OUTSIDE = ("saliency", "smoothgrad", "integratedgradients", "occlusion")


@pytest.fixture
def bundles(make_bundle, request):
    """The same network as code with weights, and as TorchScript or as an exported program, which takes seconds."""
    chain = [*USUAL_CHAIN[:2], {"_target_": "Resized", "keys": "image", "spatial_size": [24, 24, 24]}, USUAL_CHAIN[5]]
    folders = {"code": make_bundle("code", chain=chain)}
    network = read_bundle(folders["code"], trust=True).network(torch.device("cpu"))
    example = torch.zeros(1, 1, 24, 24, 24)
    callspec = getattr(request.node, "callspec", None)
    for kind in [callspec.params["kind"]] if callspec else ["ts"]:
        folder = folders[kind] = make_bundle(kind, chain=chain, weights=None)
        config = json.loads((folder / "configs/inference.json").read_text())
        del config["network_def"]
        (folder / "configs/inference.json").write_text(json.dumps(config))
        path = folder / "models" / f"model.{kind}"
        if kind == "ts":
            torch.jit.save(torch.jit.trace(network, example), path)
        else:
            torch.export.save(torch.export.export(network, (example,)), path)
    return folders


@pytest.fixture
def ask(export, tmp_path):
    shape = (30, 28, 26)
    array = (100 + 400 * blob(shape, AFFINE, AFFINE[:3] @ [19, 12, 13, 1], 6)).astype(np.int16)
    (tmp_path / "out").mkdir()
    file = export(array, AFFINE)

    def run(folder, **options):
        result = explain(request((file,), str(folder), str(tmp_path / "out"), **({"trust": True} | options)))
        return result, np.load(result.heatmap.path)

    return run


@pytest.mark.parametrize("kind", [SLOW("ts"), "pt2"])
def test_methods_that_look_from_outside_give_the_same_as_for_the_code(bundles, ask, kind, monkeypatch):
    from CAMOverlayLib.engine.methods import integratedgradients, occlusion, smoothgrad

    monkeypatch.setattr(integratedgradients, "STEPS", 4)
    monkeypatch.setattr(occlusion, "PARTS", 2)
    monkeypatch.setattr(smoothgrad, "SAMPLES", 3)
    for method in FROM_OUTSIDE:
        one, map_of_code = ask(bundles["code"], method=method, target=1)
        other, map_of_program = ask(bundles[kind], method=method, target=1)
        assert map_of_program.std() > 0
        np.testing.assert_allclose(map_of_program, map_of_code, atol=2e-3, err_msg=method)
        assert other.prediction.probabilities == pytest.approx(one.prediction.probabilities, abs=1e-5)


@pytest.mark.parametrize("kind", ["ts", SLOW("pt2")])
def test_methods_that_look_at_layers_say_why_they_cannot(bundles, ask, kind):
    for method in ("gradcam", "refined", "eigencam", "scorecam"):
        with pytest.raises(MethodError, match="compiled.*nothing inside can be reached. Use saliency"):
            ask(bundles[kind], method=method)
    with pytest.raises(MethodError, match="defined for ReLU"):
        ask(bundles[kind], method="guidedbackprop")


def test_a_program_needs_trust_too_and_a_broken_one_says_so(bundles, ask):
    with pytest.raises(UntrustedBundleError):
        ask(bundles["ts"], trust=False)
    (bundles["ts"] / "models/model.ts").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be read as TorchScript"):
        ask(bundles["ts"], method="saliency")


def test_code_with_weights_goes_before_a_program(bundles):
    (bundles["code"] / "models/model.ts").write_bytes(b"nothing")
    assert type(read_bundle(bundles["code"], trust=True).network(torch.device("cpu"))).__name__ == "DenseNet"
