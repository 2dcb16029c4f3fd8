"""The lines that Slicer and the worker exchange, whole, broken and in pieces."""

from __future__ import annotations

import contextlib
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import examples

from CAMOverlayLib.contract import errors
from CAMOverlayLib.contract.model import ModelSource
from CAMOverlayLib.contract.request import Progress, Request
from CAMOverlayLib.contract.target import VolumeFile
from CAMOverlayLib.worker.protocol import (
    Answer,
    Beat,
    Call,
    Cancel,
    Failure,
    Hello,
    Lines,
    ProtocolError,
    Ready,
    Report,
    decode,
    encode,
)
from CAMOverlayLib.worker.server import Server

EYE = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, 0.0, 0.0, 1.0))
MESSAGES = [
    Call("1", "explain", Request((VolumeFile("/tmp/ä.npy", EYE),), ModelSource("/b"), "/o").to_dict(), ("/o",)),
    Cancel("1"),
    Hello(42, "3.12.1", "/usr/bin/python", {"torch": "2.13.0"}),
    Ready(),
    Beat(),
    Report("1", Progress("forward", 0.5, "»Ü«")),
    Answer("1", {"a": [1, 2.5, None, "\n"]}),
    Failure("1", "VolumeError", "Volume 'x' is\n4-D."),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_a_message_is_one_line_and_comes_back(message):
    line = encode(message)
    assert line.count(b"\n") == 1 and line.endswith(b"\n") and line.isascii()
    back = decode(line)
    assert type(back) is type(message)
    assert encode(back) == line
    if not isinstance(message, Call):  # whose payload has lists for tuples
        assert back == message


def test_a_request_survives_the_way():
    request = Request((VolumeFile("/tmp/\udcff.npy", EYE, "x"),), ModelSource("/b"), "/o", target="lesion")
    assert Request.from_dict(decode(encode(Call("1", "explain", request.to_dict()))).payload) == request


def test_what_json_cannot_say_is_refused_whole():
    with pytest.raises(ValueError):
        encode(Answer("1", {"x": float("nan")}))
    with pytest.raises(TypeError):
        encode(Answer("1", {"x": object()}))


@pytest.mark.parametrize(
    "line",
    [
        b"Epoch 1/10",
        b"{",
        b"[]",
        b"null",
        b'"answer"',
        b"{}",
        b'{"type": 3}',
        b'{"type": []}',
        b'{"type": "nonsense"}',
        b'{"type": "answer"}',
        b'{"type": "report", "run": "1"}',
        b'{"type": "report", "run": "1", "progress": {"stage": "forward"}}',
        b'{"type": "hello", "pid": 1}',
        b"\xff\xfe\x00",
        b"[" * 100000,
        encode(MESSAGES[0])[:-20],
    ],
    ids=lambda line: repr(line[:30]),
)
def test_what_is_no_message_is_quoted(line):
    with pytest.raises(ProtocolError) as caught:
        decode(line)
    assert len(str(caught.value)) < 250
    assert line.decode("utf-8", "replace").strip()[:10].replace("\x00", "·") in str(caught.value)


@settings(max_examples=examples(100))
@given(st.binary(max_size=200))
def test_no_line_does_any_other_harm(line):
    with contextlib.suppress(ProtocolError):
        decode(line)


@settings(max_examples=examples(100))
@given(st.lists(st.sampled_from(MESSAGES), max_size=5), st.lists(st.integers(0, 600), max_size=8))
def test_lines_are_the_same_however_the_stream_is_cut(messages, cuts):
    stream = b"".join(map(encode, messages))
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    lines = Lines()
    found = [line for a, b in itertools.pairwise(edges) for line in lines.feed(stream[a:b])]
    assert [line + b"\n" for line in found] == [encode(m) for m in messages]
    assert lines.rest() == b""


def test_empty_lines_and_the_line_ends_of_windows_do_not_matter():
    assert list(Lines().feed(b"\r\n\na\r\n\nb\n")) == [b"a", b"b"]


def test_what_is_left_without_an_end_is_known():
    lines = Lines()
    assert list(lines.feed(b"a\nbc")) == [b"a"]
    assert lines.rest() == b"bc"


def test_a_line_without_end_does_not_fill_the_memory():
    lines = Lines(longest=1000)
    with pytest.raises(ProtocolError, match="'xxx"):
        for _ in range(20):
            list(lines.feed(b"x" * 100))


KINDS = [
    n
    for n, k in vars(errors).items()
    if isinstance(k, type) and issubclass(k, (errors.CAMOverlayError, errors.Cancelled))
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("setting", ["", "configs"])
def test_a_failure_is_the_error_that_was_raised(kind, setting):
    """Class, words and the setting that mends it, on the whole way; one of a bundle's own subclasses as what it is
    here."""
    cls = getattr(errors, kind)
    given = {"setting": setting} if issubclass(cls, errors.CAMOverlayError) and setting else {}
    for raised in (cls("so it is", **given), type("Own", (cls,), {})("so it is", **given)):
        error = decode(encode(Server(None, 60.0)._told("1", raised))).error()
        assert type(error) is cls and str(error) == "so it is"
        assert getattr(error, "setting", "") == getattr(raised, "setting", "")


def test_the_kinds_are_all_there():
    assert len(KINDS) >= 15 and {"VolumeError", "Cancelled", "NotSeenError", "NetworkError"} <= set(KINDS)


@pytest.mark.parametrize("kind", ["ValueError", "annotations", "", "Nonsense"])
def test_any_other_failure_is_the_workers(kind):
    assert type(Failure("1", kind, "so it is").error()) is errors.WorkerError
