"""From a press of Apply to the overlay, in which order, with plain objects in the places of panel and process."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from CAMOverlayLib.contract.errors import Cancelled, VolumeError
from CAMOverlayLib.panel.run_controller import RunController

WORDS = type("Words", (), {"notTrusted": "not trusted", "otherBundle": "another bundle", "cancelled": "cancelled"})


@dataclass
class UnderWay:
    callbacks: tuple
    hash: str = ""
    cancelled: bool = False
    checked: bool = True

    def cancel(self):
        self.cancelled = True


@dataclass
class Face:
    """Remembers what it was told; what is chosen is set by the test."""

    said: list = field(default_factory=list)
    chosen: str = "class 1"
    bundle: str = "bundle"
    trouble: str = ""
    layers: bool = False
    first: bool = False

    def problem(self):
        return self.trouble

    def folder(self):
        return Path(self.bundle)

    def bundleProblem(self):
        return ""

    def wantsLayers(self):
        return self.layers

    def showsFirst(self):
        return self.first

    def words(self, error):
        return str(error)

    def wanted(self):
        return ("volume", self.bundle, self.chosen)

    def __getattr__(self, name):
        return lambda *arguments: self.said.append((name, *arguments))

    def told(self, *names):
        return [what for what in self.said if what[0] in names]


class Gate:
    def __init__(self):
        self.trusted, self.asked, self.missing, self.meanwhile = {"h"}, [], "", lambda: None

    def hash(self, folder, onHash, onError):
        self.hashing = UnderWay((onHash, onError))
        return self.hashing

    def done(self, contentHash="h"):
        self.hashing.callbacks[0](contentHash)

    def allows(self, folder, contentHash, ask):
        if ask and contentHash not in self.trusted:
            self.asked.append(contentHash)
        self.meanwhile()
        return contentHash in self.trusted

    def install(self, ask):
        return self.missing


class Computation:
    def __init__(self):
        self.runs, self.listings, self.refuse = [], [], None

    def explain(self, trustedHash, onProgress, onResult, onError, checked=True):
        if self.refuse:
            raise self.refuse
        self.runs.append(UnderWay((onProgress, onResult, onError), trustedHash, checked=checked))
        return self.runs[-1]

    def layers(self, folder, trustedHash, onResult, onError):
        self.listings.append(UnderWay((onResult, onError), trustedHash))
        return self.listings[-1]


@pytest.fixture
def parts():
    face, gate, computation = Face(), Gate(), Computation()
    return RunController(face, gate, computation, WORDS), face, gate, computation


def test_a_press_of_apply_from_trust_to_the_overlay(parts):
    runs, face, gate, computation = parts
    runs.apply()
    assert runs.busy and not computation.runs and face.told("checking")
    gate.done()
    (run,) = computation.runs
    assert run.hash == "h" and runs.run is run and face.told("contentKnown") == [("contentKnown", "h")]
    run.callbacks[1]("node")
    assert not runs.busy and runs.explained == ("volume", "bundle", "class 1")
    assert face.told("show", "finish") == [("show", "node", runs.explained), ("finish", "")]


def test_what_is_not_trusted_does_not_run_and_what_is_missing_is_said(parts):
    runs, face, gate, computation = parts
    runs.apply()
    gate.done("other")
    assert gate.asked == ["other"] and not computation.runs and face.told("finish") == [("finish", "not trusted")]
    gate.missing = "torch is missing"
    runs.apply()
    gate.done()
    assert not computation.runs and face.told("finish")[1:] == [("finish", "torch is missing")]


def test_another_bundle_chosen_while_the_question_was_open(parts):
    runs, face, gate, computation = parts
    gate.meanwhile = lambda: setattr(face, "bundle", "other")
    runs.apply()
    gate.done()
    assert not computation.runs and not runs.busy and face.told("finish") == [("finish", "another bundle")]


def test_what_is_followed_is_shown_first_and_checked_then(parts):
    runs, face, gate, computation = parts
    face.first = True
    runs.apply()
    gate.done()
    computation.runs[0].callbacks[1]("applied")
    assert computation.runs[0].checked and not runs.busy
    face.chosen = "class 2"
    runs.follow()
    gate.done()
    computation.runs[1].callbacks[1]("shown")
    assert not computation.runs[1].checked and runs.busy, "it is on the screen, and will be checked"
    gate.done()
    computation.runs[2].callbacks[1]("checked")
    assert computation.runs[2].checked and not runs.busy
    assert [what[1] for what in face.told("show")] == ["applied", "shown", "checked"]
    assert face.told("finish") == [("finish", "")] * 2
    # Who goes on browsing waits for no check.
    for number in (3, 4):
        face.chosen = f"class {number}"
        runs.follow()
        gate.done()
        computation.runs[-1].callbacks[1](f"shown {number}")
    gate.done()
    assert [run.checked for run in computation.runs[3:]] == [False, False, True]
    computation.runs[-1].callbacks[2](Cancelled())
    assert not runs.busy and face.told("finish")[-1] == ("finish", "cancelled")
    assert runs.explained == ("volume", "bundle", "class 4"), "what is shown stays"


def test_a_run_that_was_superseded_is_heard_no_more(parts):
    runs, face, gate, computation = parts
    runs.apply()
    gate.done()
    computation.runs[0].callbacks[1]("first")
    for name in ("class 2", "class 3"):
        face.chosen = name
        runs.follow()
        gate.done()
    _, older, newer = computation.runs
    older.callbacks[0]("progress")
    older.callbacks[2](Cancelled())
    assert runs.run is newer and not face.told("report", "fail")
    newer.callbacks[1]("third")
    older.callbacks[1]("second")
    assert [what[1] for what in face.told("show")] == ["first", "third"] and not runs.busy
    runs.follow()
    assert not runs.busy, "it is shown already"


def test_cancel_at_every_stage(parts):
    runs, face, gate, computation = parts
    runs.apply()
    runs.cancel()
    assert gate.hashing.cancelled and face.told("finish") == [("finish", "cancelled")]
    gate.done()
    assert not computation.runs, "a hash that comes late starts nothing"
    runs.apply()
    gate.done()
    runs.cancel()
    assert computation.runs[0].cancelled and runs.busy, "it says itself when it has ended"
    computation.runs[0].callbacks[2](Cancelled())
    assert not runs.busy and face.told("finish")[-1] == ("finish", "cancelled")


def test_a_run_that_cannot_begin_leaves_the_one_under_way(parts):
    runs, face, gate, computation = parts
    runs.apply()
    gate.done()
    computation.refuse = VolumeError("no voxels")
    runs.apply()
    gate.done()
    assert runs.run is computation.runs[0] and face.told("say") == [("say", "no voxels")]
    computation.runs[0].callbacks[1]("node")
    assert face.told("show")


def test_layers_are_listed_after_a_run_without_a_question_and_give_way_to_the_next(parts):
    runs, face, gate, computation = parts
    face.layers = True
    runs.apply()
    gate.done()
    computation.runs[0].callbacks[1]("node")
    gate.done("changed")
    assert not computation.listings and not gate.asked, "what is not trusted is left alone"
    runs.listLayers()
    gate.done()
    assert runs.isListing
    runs.apply()
    gate.done()
    (listing,) = computation.listings
    assert listing.cancelled and not runs.isListing
    listing.callbacks[0]({"layers": []})
    assert not face.told("showLayers")
