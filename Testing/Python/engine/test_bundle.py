import json

import pytest
import torch
import yaml
from monai.networks.nets import DenseNet
from monai.transforms import Compose, Resized
from support import SHARED, SMALL_NETWORK, USUAL_CHAIN, read_bundle

from CAMOverlayLib.contract.errors import BundleError, UntrustedBundleError, WeightsError


def test_a_trusted_bundle_gives_its_network_and_its_chain(make_bundle):
    bundle = read_bundle(make_bundle(), trust=True)
    network = bundle.network(torch.device("cpu"))
    assert isinstance(network, DenseNet) and not network.training
    chain = bundle.preprocessing()
    assert isinstance(chain, Compose) and isinstance(chain.transforms[6], Resized)
    assert bundle.info.classes == ("healthy", "lesion", "artefact")
    assert (bundle.info.channels, bundle.info.name, bundle.info.version) == (1, "bundle", "0.1.0")


def test_yaml_is_as_good_as_json(make_bundle):
    folder = make_bundle()
    config = json.loads((folder / "configs/inference.json").read_text())
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(yaml.safe_dump(config))
    assert isinstance(read_bundle(folder, trust=True).network(torch.device("cpu")), DenseNet)


def test_nothing_runs_before_the_caller_trusts(make_bundle, tmp_path):
    mark = tmp_path / "ran"
    folder = make_bundle(
        config={
            "imports": [f"$open({str(mark)!r}, 'w')"],
            "network_def": f"$open({str(mark)!r}, 'w')",
            "preprocessing": f"$open({str(mark)!r}, 'w')",
        }
    )
    (folder / "scripts").mkdir()
    (folder / "scripts/__init__.py").write_text(f"open({str(mark)!r}, 'w')")
    bundle = read_bundle(folder)
    assert bundle.info.name == "bundle" and bundle.content_hash
    for evaluate in (lambda: bundle.network(torch.device("cpu")), bundle.preprocessing):
        with pytest.raises(UntrustedBundleError, match=r"runs code.*open\(.*scripts/__init__.py.*Trust it only if"):
            evaluate()
    assert not mark.exists()


def test_the_refusal_lists_what_would_run(make_bundle):
    code = read_bundle(make_bundle(config={"extra": {"_target_": "os.system", "command": "$'l' + 's'"}})).code
    assert "os.system" in code.targets and "LoadImaged" in code.targets
    assert code.expressions == ("import torch", "'l' + 's'")


def test_the_content_hash_follows_every_file(make_bundle):
    folder = make_bundle()
    first = read_bundle(folder).content_hash
    assert read_bundle(folder).content_hash == first
    (folder / "scripts").mkdir()
    (folder / "scripts/evil.py").write_text("")
    assert read_bundle(folder).content_hash != first


def test_what_is_not_a_bundle_says_so(make_bundle, tmp_path):
    with pytest.raises(BundleError, match="is not a folder"):
        read_bundle(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match="not a MONAI bundle: it has no configs/inference.json"):
        read_bundle(tmp_path / "empty")
    folder = make_bundle("broken")
    (folder / "configs/inference.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read as a configuration"):
        read_bundle(folder)
    (folder / "configs/inference.json").write_text("{}")
    (folder / "configs/metadata.json").write_text("[]")
    with pytest.raises(BundleError, match="metadata.json.*an object is needed"):
        read_bundle(folder)


def test_a_config_that_does_not_evaluate_names_the_reason(make_bundle):
    folder = make_bundle(network=dict(SMALL_NETWORK), chain=[*USUAL_CHAIN, {"_target_": "NoSuchTransformd"}])
    bundle = read_bundle(folder, trust=True)
    with pytest.raises(BundleError, match="'preprocessing' of bundle 'bundle' does not evaluate.*NoSuchTransformd"):
        bundle.preprocessing()
    folder = make_bundle("headless", config={"network_def": {"_target_": "torch.nn.Sigmoid", "_disabled_": True}})
    with pytest.raises(BundleError, match="is a NoneType, not a network"):
        read_bundle(folder, trust=True).network(torch.device("cpu"))


def test_missing_weights_are_named(make_bundle):
    bundle = read_bundle(make_bundle(weights=None), trust=True)
    with pytest.raises(WeightsError, match="models/model.pt' do not exist"):
        bundle.network(torch.device("cpu"))


def test_two_bundles_with_scripts_of_the_same_name_stay_apart(make_bundle):
    networks = []
    for number in (1, 2):
        folder = make_bundle(
            f"own{number}",
            network={"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1},
        )
        (folder / "scripts").mkdir()
        (folder / "scripts/__init__.py").write_text("")
        (folder / "scripts/net.py").write_text(
            f"import torch\nclass Net(torch.nn.Conv3d):\n    number = {number}\n"
            "    def __init__(self):\n        super().__init__(1, 1, 1)\n"
        )
        config = json.loads((folder / "configs/inference.json").read_text())
        config["network_def"] = {"_target_": "scripts.net.Net"}
        (folder / "configs/inference.json").write_text(json.dumps(config))
        networks.append(read_bundle(folder, trust=True).network(torch.device("cpu")))
    assert [n.number for n in networks] == [1, 2]


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared here")
@pytest.mark.parametrize(
    "name", ["spleen_ct_segmentation", "brats_mri_segmentation", "endoscopic_inbody_classification"]
)
def test_real_bundles_are_understood(name):
    bundle = read_bundle(SHARED / "bundles" / name, trust=True)
    assert bundle.info.channels == {"spleen": 1, "brats_": 4, "endosc": 3}[name[:6]]
    assert len(bundle.preprocessing().transforms) > 1
    with pytest.raises(WeightsError):
        bundle.network(torch.device("cpu"))
