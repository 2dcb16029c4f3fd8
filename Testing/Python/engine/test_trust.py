"""What is trusted is what runs: hash, listing, and what the engine loads are of the same files."""

from __future__ import annotations

import json
import os
import py_compile
import sys
from pathlib import Path

import pytest
import torch
from support import read_bundle

from CAMOverlayLib.contract import bundle_content, bundle_files
from CAMOverlayLib.contract.errors import BundleError, UntrustedBundleError
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.engine.bundle import isolation
from CAMOverlayLib.engine.cache import Cache

NET = "import torch\nclass Net(torch.nn.Conv3d):\n    number = {}\n    def __init__(self):\n        super().__init__(1, 1, 1)\n"  # noqa: E501
CONV = {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1}
CPU = torch.device("cpu")


@pytest.fixture
def own_code(make_bundle):
    """A function that makes a bundle whose network is in a file of its own."""

    def make(name="own", module="scripts.net", number=1):
        folder = make_bundle(name, network=CONV)
        path = folder / (module.replace(".", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(NET.format(number))
        config = json.loads((folder / "configs/inference.json").read_text())
        config["network_def"] = {"_target_": f"{module}.Net"}
        (folder / "configs/inference.json").write_text(json.dumps(config))
        return folder

    return make


def number(folder, **trust):
    return read_bundle(folder, **(trust or {"trust": True})).network(CPU).number


def listed(folder):
    return bundle_files.code_of(folder, bundle_files.read_configs(folder, bundle_files.config_files(folder)))


def plant(folder, name):
    other = folder.parent / "other.py"
    other.write_text(NET.format(666))
    target = folder / name
    target.parent.mkdir(parents=True, exist_ok=True)
    py_compile.compile(str(other), str(target), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def test_byte_code_beside_a_source_neither_runs_nor_goes_unnoticed(own_code):
    folder = own_code()
    before = bundle_files.content_hash(folder)
    name = f"scripts/__pycache__/net.{sys.implementation.cache_tag}.pyc"
    plant(folder, name)
    assert number(folder) == 1
    assert bundle_files.content_hash(folder) != before and name in listed(folder).scripts
    with pytest.raises(UntrustedBundleError, match="changed since"):
        number(folder, trusted_hash=before)


def test_running_leaves_no_byte_code_that_would_change_the_hash(own_code):
    folder = own_code()
    before = bundle_files.content_hash(folder)
    number(folder)
    assert bundle_files.content_hash(folder) == before and not list(folder.rglob("*.pyc"))


@pytest.mark.parametrize(
    "change",
    [
        "byte code without source",
        "machine code",
        "linked folder",
        "content of a linked folder",
        "linked file",
        "broken link",
        "link leads elsewhere",
        "name with a space",
        "name that is no text",
        "hidden file",
        "same size and time",
        "weights",
    ],
)
def test_any_change_is_another_content(own_code, tmp_path, change):
    folder, elsewhere = own_code(), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x.py").write_text("x = 1\n")
    if "linked folder" in change and "content" in change:
        (folder / "more").symlink_to(elsewhere)
    if change == "link leads elsewhere":
        (folder / "more").symlink_to("a")
    before, signed = bundle_files.content_hash(folder), bundle_content.signature(folder)
    script = folder / "scripts/net.py"
    stat = script.stat()
    if change == "byte code without source":
        plant(folder, "scripts/extra.pyc")
    elif change == "machine code":
        (folder / "scripts/extra.so").write_bytes(b"ELF")
    elif change == "linked folder":
        (folder / "more").symlink_to(elsewhere)
    elif change == "content of a linked folder":
        (elsewhere / "x.py").write_text("x = 2\n")
    elif change == "linked file":
        (folder / "scripts/x.py").symlink_to(elsewhere / "x.py")
    elif change == "broken link":
        (folder / "scripts/x.py").symlink_to(elsewhere / "none.py")
    elif change == "link leads elsewhere":
        (folder / "more").unlink()
        (folder / "more").symlink_to("b")
    elif change == "name with a space":
        (folder / "configs/my +other.JSON").write_text("{}")
    elif change == "name that is no text":
        (folder / os.fsdecode(b"scripts/\xff.py")).write_text("")
    elif change == "hidden file":
        (folder / "scripts/.hidden.py").write_text("")
    elif change == "weights":
        (folder / "models/model.pt").write_bytes(b"other")
    else:
        script.write_text(NET.format(2))
        os.utime(script, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert script.stat().st_size == stat.st_size and script.stat().st_mtime_ns == stat.st_mtime_ns
    assert bundle_files.content_hash(folder) != before and bundle_content.signature(folder) != signed
    with pytest.raises(UntrustedBundleError):
        read_bundle(folder, trusted_hash=before).network(CPU)
    code = listed(folder)
    if change in (
        "byte code without source",
        "machine code",
        "linked folder",
        "linked file",
        "broken link",
        "hidden file",
    ):
        assert any(name in one for one in code.scripts for name in ("extra", "x.py", "more", ".hidden"))


def test_what_changes_while_it_is_hashed_is_hashed_again(own_code):
    folder = own_code()
    (folder / "models/large.bin").write_bytes(bytes(3 << 20))
    hashing, known = None, {}
    hashing = bundle_content.ContentHash(folder, known)
    for count, _ in enumerate(hashing.steps()):
        if count == 12:
            (folder / "scripts/net.py").write_text(NET.format(2))
    assert hashing.value == bundle_files.content_hash(folder)
    assert known[bundle_content.signature(folder)] == hashing.value


def test_what_changes_between_reading_and_running_is_refused(own_code):
    folder = own_code()
    trusted = bundle_files.content_hash(folder)
    assert number(folder, trusted_hash=trusted) == 1
    bundle = read_bundle(folder, trusted_hash=trusted)
    bundle.require_trust()
    (folder / "scripts/net.py").write_text(NET.format(2))
    with pytest.raises(UntrustedBundleError):
        bundle.network(CPU)


def test_same_size_and_time_is_another_model(own_code):
    folder, cache = own_code(), Cache()
    config = folder / "configs/inference.json"
    text = (
        config.read_text()
        .replace("scripts.net.Net", "torch.nn.Conv3d")
        .replace('"torch.nn.Conv3d"', '"torch.nn.Conv3d", "in_channels": 1, "out_channels": 1, "kernel_size": 1')
    )
    config.write_text(text)
    stat = config.stat()
    first = cache.model(ModelSource(str(folder), trust=True), CPU)
    assert cache.model(ModelSource(str(folder), trust=True), CPU) is first
    config.write_text(text.replace("1, 1", "1, 1"))
    os.utime(config, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.model(ModelSource(str(folder), trust=True), CPU) is not first


@pytest.mark.parametrize(
    "macro", ["%../x.json::n", "%{}/x.json::n", "%x/../../x.json", "%../X.JSON", "%../my x+.yaml#n", "%../x.json\n"]
)
def test_a_macro_that_leads_out_of_the_bundle_is_refused(make_bundle, tmp_path, macro):
    (tmp_path / "x.json").write_text('{"n": {"_target_": "os.system", "command": "true"}}')
    folder = make_bundle(config={"extra": macro.format(tmp_path)})
    with pytest.raises(BundleError, match="not in the bundle"):
        read_bundle(folder)


@pytest.mark.parametrize(
    "config",
    [
        {"y": "os.system", "x": {"_target_": "@y"}},
        {"y": "os.system", "x": {"_target_": "%y"}},
        {"x": {"_target_": "LoadImaged", "reader": "os.system"}},
        {"y": {"z": "os.system"}, "x": {"_target_": "A", "f": "@y::z"}},
        {"x": {"_target_": "A", "f": [{"g": "os.system"}]}},
    ],
    ids=str,
)
def test_the_listing_shows_what_a_name_comes_to(make_bundle, config):
    assert any("os.system" in target for target in listed(make_bundle(config=config)).targets)


def test_the_listing_shows_programs_and_nothing_that_a_terminal_obeys(make_bundle):
    folder = make_bundle(config={"x": "$1 \x1b[1A\x1b[2K\n\u202e2"})
    (folder / "models/model.ts").write_bytes(b"")
    code = listed(folder)
    assert code.programs == ("models/model.ts",)
    assert all(text.isprintable() for part in vars(code).values() for text in part)


def test_modules_of_any_name_are_each_bundles_own(own_code):
    for module in ("nets", "src.net", "scripts.net"):
        folders = [own_code(f"{module}{n}", module, n) for n in (1, 2)]
        assert [number(folder) for folder in (*folders, folders[0])] == [1, 2, 1]
        (folders[0] / (module.replace(".", "/") + ".py")).write_text(NET.format(3))
        assert number(folders[0]) == 3


def test_a_module_is_found_when_the_bundles_code_imports_it_late(own_code):
    folder = own_code()
    (folder / "scripts/late.py").write_text("value = 5\n")
    with isolation.at_home(folder):
        import scripts.late  # type: ignore[import-not-found]

        assert scripts.late.value == 5
    isolation.forget_bundles()
    assert "scripts.late" not in sys.modules and str(folder) not in sys.path


@pytest.mark.parametrize("up", [0, 1, 2], ids=["site-packages", "the folder above", "two above"])
def test_libraries_are_no_bundles_whatever_folder_is_given_as_one(tmp_path, up, monkeypatch):
    """Their modules must stay: what is imported a second time is not the same class."""
    monkeypatch.setattr(isolation, "_homes", set())
    libraries = [Path(torch.__file__).parents[1], *Path(torch.__file__).parents[2:]][up]
    loaded = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("torch", "monai", "json")}
    for folder in (libraries, tmp_path):
        with isolation.at_home(folder):
            pass
    isolation.forget_bundles()
    assert len(loaded) > 500 and all(sys.modules.get(name) is module for name, module in loaded.items())


def test_a_bundle_inside_an_environment_is_a_bundle(tmp_path, monkeypatch):
    monkeypatch.setattr(isolation, "_homes", set())
    monkeypatch.setattr(isolation, "_INSTALLED", (*isolation._INSTALLED, os.path.join(tmp_path, "")))
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "itsown.py").write_text("value = 1")
    with isolation.at_home(folder):
        import itsown  # type: ignore[import-not-found]

        assert itsown.value == 1
    isolation.forget_bundles()
    assert "itsown" not in sys.modules


@pytest.mark.parametrize(
    "code",
    [
        "torch.set_grad_enabled(False)",
        "torch.set_default_dtype(torch.float64)",
        "torch.set_default_device('meta')",
        "monai.data.set_track_meta(False)",
        "os.chdir('/')",
        "setattr(torch, 'relu', torch.sigmoid)",
        "setattr(torch.Tensor, 'mean', torch.Tensor.sum)",
        "sys.path.insert(0, '/nowhere')",
        "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0)",
        "torch.use_deterministic_algorithms(True)",
    ],
)
def test_what_code_does_to_the_process_is_put_back_and_noted(code):
    import monai

    state = isolation.ProcessState()
    noted = len(isolation.left_behind)
    isolation.leaves_no_trace(lambda: exec(code, {"torch": torch, "monai": monai, "os": os, "sys": sys}))()
    assert len(isolation.left_behind) > noted and state.restore() == []
    del isolation.left_behind[noted:]


@pytest.mark.parametrize("key", ["network_def", "preprocessing"])
@pytest.mark.parametrize("end", ["raise SystemExit(0)", "import sys; sys.exit()", "raise GeneratorExit"])
def test_a_bundle_that_ends_the_program_is_an_error(own_code, key, end):
    folder = own_code()
    (folder / "scripts/net.py").write_text(end + "\n")
    config = json.loads((folder / "configs/inference.json").read_text())
    config[key] = {"_target_": "scripts.net.Net"}
    (folder / "configs/inference.json").write_text(json.dumps(config))
    with pytest.raises(BundleError):
        read_bundle(folder, trust=True)._evaluate(key)
