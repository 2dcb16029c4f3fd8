"""Reading what strangers wrote ends soon, and in one of the package's errors."""

from __future__ import annotations

import json
import os
import time

import pytest

from CAMOverlayLib.contract import bounded, bundle_files
from CAMOverlayLib.contract.errors import BundleError

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join(f'*a{n - 1}' for _ in range(9))}]\n" for n in range(1, 9)
)
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n} {{<<: [{', '.join(f'*a{n - 1}' for _ in range(9))}]}}\n" for n in range(1, 9)
)
TEXTS = {
    "laughs.yaml": LAUGHS,
    "merges.yaml": MERGES,
    "itself.yaml": "a: &a [*a]\n",
    "deep.yaml": "[" * 700 + "]" * 700,
    "deep.json": "[" * 100_000 + "]" * 100_000,
    "nested.json": "[" * 900 + "]" * 900,
    "wide.json": json.dumps([0] * 300_000),
    "cut.json": '{"a": ',
    "latin.json": "é",
    "tag.yaml": "!!python/object/apply:os.system ['true']",
    "tab.yaml": "a:\n\t- b: [",
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_that_does_not_end_is_refused_soon(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(TEXTS[name].encode("latin-1" if name.startswith("latin") else "utf-8"))
    started = time.monotonic()
    with pytest.raises(BundleError) as caught:
        bounded.read_values(path)
    assert time.monotonic() - started < 20 and len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device", "folder", "large", "none", "nul", "long"])
@pytest.mark.parametrize("name", ["inference.json", "metadata.json", "inference.yaml"])
def test_what_is_not_an_ordinary_file_is_not_read(tmp_path, kind, name):
    (tmp_path / "configs").mkdir()
    path = tmp_path / "configs" / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "link to a device"):
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    elif kind == "large":
        with path.open("wb") as file:
            file.truncate(1 << 30)
    elif kind == "nul":
        path = tmp_path / "a\0b.json"
    elif kind == "long":
        path = tmp_path / ("a" * 5000 + ".json")
    with pytest.raises(BundleError):
        bounded.read_values(path)
    if kind == "pipe":  # and a bundle that holds one is hashed and listed all the same
        assert bundle_files.content_hash(tmp_path)
        with pytest.raises(BundleError):
            bundle_files.read_configs(tmp_path, bundle_files.config_files(tmp_path))


def test_links_in_a_circle_and_out_of_the_bundle_end(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "again").symlink_to(folder)
    (folder / "up").symlink_to(tmp_path)
    assert bundle_files.content_hash(folder)
