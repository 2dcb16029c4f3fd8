"""The question that is asked before a bundle runs: what it shows, and which content the answer is for."""

from __future__ import annotations

import time


def test_the_listing_shows_everything_within_bounds(host):
    from CAMOverlayLib.contract.bundle_files import Code
    from CAMOverlayLib.panel.dialogs import trust

    code = Code(
        ("os.system",), (), ("net.pyc", "scripts → /elsewhere (a link)"), ("models/model.ts",), ("y: os.system",)
    )
    for part in vars(code).values():
        assert all(value in trust.listing(code) for value in part)
    assert len(trust.listing(Code(tuple(map(str, range(100_000))), (), ())).splitlines()) < 2100


def test_a_changed_folder_is_not_the_one_that_was_trusted(host, make_bundle):
    from CAMOverlayLib.panel.dialogs import trust

    folder = make_bundle()
    said, wrong = [], []
    trust.Hashing(folder, said.append, wrong.append)
    until = time.monotonic() + 20
    while not said and time.monotonic() < until:
        host.app.processEvents() if hasattr(host, "app") else __import__("slicer").app.processEvents()
    assert said == [trust.hashOf(folder)] and not wrong
    trust.remember(said[0], folder)
    assert trust.isTrusted(trust.hashOf(folder))
    (folder / "scripts").symlink_to(folder.parent)
    assert not trust.isTrusted(trust.hashOf(folder)) and not trust.isTrusted(trust.hashOf(folder / "none"))
