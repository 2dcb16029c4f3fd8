"""What is known of a bundle before anything of it runs, with and without PyYAML, is what the engine will run."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from support import SHARED, read_bundle

from CAMOverlayLib.contract import bundle_files
from CAMOverlayLib.contract.errors import BundleError

CONFIG = {
    "imports": ["$import torch"],
    "network_def": {"_target_": "monai.networks.nets.UNet", "channels": "$[1, 2]"},
    "preprocessing": {"_target_": "Compose", "transforms": [{"_target_": "LoadImaged", "keys": "image"}]},
    "price": "5 $ and more",
}


def as_read_here(folder):
    return bundle_files.code_of(folder, bundle_files.read_configs(folder, bundle_files.config_files(folder)))


def test_both_sides_agree_on_hash_and_code(make_bundle):
    folder = make_bundle(config={"extra": {"_target_": "os.system", "command": "$'l' + 's'"}})
    bundle = read_bundle(folder)
    assert bundle.content_hash == bundle_files.content_hash(folder)
    assert bundle.code == as_read_here(folder)
    assert bundle.info == bundle_files.info_of(folder, bundle_files.read_metadata(folder))


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared here")
@pytest.mark.parametrize(
    "name", ["spleen_ct_segmentation", "brats_mri_segmentation", "endoscopic_inbody_classification"]
)
def test_real_bundles_too(name):
    folder = SHARED / "bundles" / name
    assert read_bundle(folder).code == as_read_here(folder)


@pytest.mark.parametrize("style", [False, None, True])
def test_yaml_without_pyyaml_is_shown_as_it_is(tmp_path, monkeypatch, style):
    path = tmp_path / "inference.yaml"
    path.write_text(yaml.safe_dump(CONFIG, default_flow_style=style, width=30))
    monkeypatch.setitem(sys.modules, "yaml", None)
    listed = bundle_files.code_of(tmp_path, bundle_files.read_configs(tmp_path, [path]))
    assert listed.raw == tuple(dict.fromkeys(path.read_text().splitlines()))
    assert "YAML" in listed.summary()


def test_no_byte_moves_between_files_unnoticed(tmp_path):
    hashes = set()
    for names in ({"a": "bc"}, {"ab": "c"}, {"a": "b", "c": ""}):
        folder = tmp_path / "-".join(names)
        folder.mkdir()
        for name, text in names.items():
            (folder / name).write_text(text)
        hashes.add(bundle_files.content_hash(folder))
    assert len(hashes) == 3


def test_a_broken_config_says_so(tmp_path):
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read as a configuration"):
        bundle_files.read_configs(tmp_path, [tmp_path / "c.json"])
    (tmp_path / "c.json").write_text(json.dumps({"_target_": "x", "y": [{"_target_": "x"}]}))
    assert bundle_files.code_of(tmp_path, bundle_files.read_configs(tmp_path, [tmp_path / "c.json"])).targets == ("x",)
