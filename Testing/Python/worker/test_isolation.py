"""One process runs the code of one bundle as it was then; another bundle, or another content, gets a new process."""

from __future__ import annotations

import json

import pytest

from CAMOverlayLib.contract import bundle_files
from CAMOverlayLib.contract.errors import UntrustedBundleError


def test_another_content_is_run_by_another_process(worker, fault_bundle, ask):
    bundle = fault_bundle()

    def run(**changes):
        worker.explain(ask(bundle, **changes)).wait(90)
        return worker.pid

    first = run()
    assert run() == first
    hashed = bundle_files.content_hash(bundle)
    assert run(trust=False, trusted_hash=hashed) == first
    metadata = bundle / "configs/metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "version": "0.0.2"}))
    with pytest.raises(UntrustedBundleError, match="changed since"):
        run(trust=False, trusted_hash=hashed)
    assert run(trust=False, trusted_hash=bundle_files.content_hash(bundle)) != first
