"""The options are one record at every door, and what they were called once keeps working."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json

import pytest

from CAMOverlayLib.cli.main import _parser
from CAMOverlayLib.cli.options import FORMER_FLAGS
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.options import FORMER_NAMES, Options, current_names, option_fields
from CAMOverlayLib.contract.records import SpoiltRecord
from CAMOverlayLib.contract.request import Request

EXPLAIN = ["explain", "head.nii.gz", "--bundle", "b", "--output", "o"]


def parsed(*words):
    return vars(_parser().parse_args([*EXPLAIN, *words]))


def test_the_command_line_offers_every_field_with_the_default_of_the_record():
    said = parsed()
    assert {one.name for one in option_fields()} == {one.name for one in dataclasses.fields(Options)}
    for one in option_fields():
        assert said[one.name] == one.default


@pytest.mark.parametrize(
    ("former", "now"),
    [
        (["--mixed"], ["--amp"]),
        (["--blocks"], ["--interpolation", "nearest"]),
        (["--trail", "steps"], ["--save-intermediates", "steps"]),
    ],
    ids=["mixed", "blocks", "trail"],
)
def test_former_flags_do_what_todays_do_and_are_not_advertised(former, now, capsys):
    assert parsed(*former) == parsed(*now) != parsed()
    with pytest.raises(SystemExit):
        _parser().parse_args(["explain", "--help"])
    help_text = capsys.readouterr().out
    assert now[0] in help_text and former[0] not in help_text
    assert former[0] in FORMER_FLAGS.values()


def test_former_names_in_python_and_in_saved_requests():
    given = {"mixed": True, "blocks": True, "trailFolder": "steps", "verify": True}
    now = {"amp": True, "interpolation": "nearest", "intermediates_folder": "steps", "verify": True}
    assert current_names(given) == now == current_names(now)
    assert current_names({"intermediatesFolder": "steps", "blocks": False}) == {
        "intermediates_folder": "steps",
        "interpolation": "linear",
    }
    saved = json.loads(Request((), ModelSource("/b"), "/o").to_json())
    for name in now:
        del saved[name]
    old = saved | {"mixed": True, "blocks": True, "trail_folder": "/steps"}
    assert Request.from_dict(old) == Request(
        (), ModelSource("/b"), "/o", amp=True, interpolation="nearest", intermediates_folder="/steps"
    )
    assert set(FORMER_NAMES.values()) <= {one.name for one in dataclasses.fields(Options)}


def test_a_request_is_its_options_and_what_they_are_for():
    assert issubclass(Request, Options)
    named = set(inspect.signature(Request).parameters) - {one.name for one in dataclasses.fields(Options)}
    assert named == {"volumes", "model", "output_folder", "target", "sketch", "unchecked", "schema"}
    with pytest.raises(SpoiltRecord, match="amp is 3 where true or false belongs"):
        Request.from_dict(json.loads(Request((), ModelSource("/b"), "/o").to_json()) | {"amp": 3})


def test_numbers_of_the_command_line_are_numbers(monkeypatch):
    """An option of another type than text is one there too."""
    from CAMOverlayLib.cli import options

    shown = dataclasses.make_dataclass(
        "Shown",
        [
            (
                "share",
                float,
                dataclasses.field(default=0.5, metadata={"help": "", "flag": "", "choices": (), "metavar": "S"}),
            )
        ],
    )
    monkeypatch.setattr(options, "option_fields", lambda: dataclasses.fields(shown))
    parser = argparse.ArgumentParser()
    options.add_options(parser)
    assert parser.parse_args(["--share", "0.25"]).share == 0.25


def test_what_else_is_wanted_in_one_text_or_several_at_every_door():
    from CAMOverlayLib.contract.errors import MethodError

    assert parsed("--also", "entropy,prediction", "--also", "probability")["also"] == (
        "entropy,prediction",
        "probability",
    )
    for given in (
        "entropy, prediction,probability",
        ["entropy,prediction", "probability"],
        ("probability", "entropy", "prediction"),
    ):
        assert Options(also=given).wanted == ("prediction", "probability", "entropy")
    assert Options(also=None).wanted == Options(also="").wanted == ()
    assert Options(also="probability,prediction?").wanted == ("prediction?", "probability")
    saved = Options(also="entropy,entropy")
    assert Options.from_json(saved.to_json()) == saved and saved.also == ("entropy",)
    for wrong in ("heat", 3, ["entropy", None]):
        with pytest.raises(MethodError, match="to compute beside the heatmap; choose from prediction"):
            _ = Options(also=wrong).wanted
