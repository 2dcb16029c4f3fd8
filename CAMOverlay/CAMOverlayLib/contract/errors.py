"""The errors a user can meet. Each message says what is wrong, the value found, and the remedy, in one sentence or two.

They cross the border between the computation and Slicer by class name and message, so the panel, the Python
console and the command line all show the same sentence.
"""

from __future__ import annotations

from collections.abc import Iterator


class CAMOverlayError(Exception):
    """Base class: whatever goes wrong in a way that the user can fix.

    Attributes:
        setting: field of a :class:`CAMOverlayLib.contract.request.Request` that would fix it, such as ``device``;
            empty where
            there is none. The sentence names no option of any program: each face says what the field is called there.
    """

    setting = ""
    has_details = False
    """Lines after the first are details, to be shown apart from it."""

    def __init__(self, message: str = "", *, setting: str = "") -> None:
        super().__init__(message if self.has_details else sentence(message))
        if setting:
            self.setting = setting


class VolumeError(CAMOverlayError):
    """The input volume cannot be read or explained: missing file, 4-D, NaN, zero size, singular geometry."""


class BundleError(CAMOverlayError):
    """The folder is not a bundle that can be explained, or its configuration does not evaluate."""


class UntrustedBundleError(BundleError):
    """The bundle's configuration runs code, and the caller has not said that it trusts it."""

    setting = "trust"


class WeightsError(BundleError):
    """The weights are missing, unreadable, or belong to another network."""


class PreprocessingError(CAMOverlayError):
    """The bundle's own transforms failed on this volume."""


class PlacementError(CAMOverlayError):
    """The heatmap cannot be put back on the volume's own grid with certainty."""


class LayerError(CAMOverlayError):
    """The layer does not exist or has no spatial extent that a heatmap could be made of."""


class TargetError(CAMOverlayError):
    """The class, mask or voxel to explain does not exist in this network's output."""


class NotSeenError(TargetError):
    """The place to explain lies outside what the network saw."""


class MethodError(CAMOverlayError):
    """The method is unknown, or cannot explain this kind of model."""


class NetworkError(BundleError):
    """The network failed on its input, or answered with NaN, infinite values, or something that is not a tensor."""


class DeviceError(CAMOverlayError):
    """The device does not exist, or has too little memory."""


class ComparisonError(CAMOverlayError):
    """What was to be compared cannot be: one map alone, maps on different grids, or magnitudes of different units."""


class CohortError(CAMOverlayError):
    """The list of a cohort cannot be read, its folder holds another cohort, or those who compute it are gone."""


class OutputError(CAMOverlayError):
    """The result cannot be written where it was asked for."""


class WorkerError(CAMOverlayError):
    """The process that computes could not start, ended early, or answered with something that is not an answer."""

    has_details = True


class Cancelled(BaseException):
    """The run was cancelled; nothing was changed.

    No error and no ``Exception``, like ``KeyboardInterrupt``: code that expects a failure, of this package, of a
    library or of a bundle, must not take the end of a run for one and go on.
    """


def causes(error: BaseException | None, context: bool = False) -> Iterator[BaseException]:
    """An exception and what led to it, the first cause last; each once, also where they cause each other in a circle.

    Args:
        context: go on with what was being handled where no cause is named.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (error.__context__ if context else None)


def root_cause(error: BaseException) -> BaseException:
    """The error that a chain of ``raise … from …`` began with: libraries wrap the one that says what happened."""
    *_, first = causes(error)
    return first


LONGEST = 2000
"""Characters of a message from elsewhere that a person is shown."""


def reason(error: BaseException, longest: int = 300) -> str:
    """What an exception of a library says, in one line of at most ``longest`` characters; its kind where it says
    nothing.

    An exception of a bundle may fail while it is printed, hold megabytes, or characters that move a terminal's cursor.
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001
        text = ""
    return one_line(text, longest) or type(error).__name__


LONGEST_SENTENCE = 1500
"""Characters of an error's message: names in it come from files, and a file may call anything by a name of
megabytes."""


def sentence(text: str) -> str:
    """A message in one line, whatever names it quotes: what a terminal would obey is marked, and too long a quotation
    loses its middle, so that the remedy at the end stays."""
    text = str(text)
    if len(text) > LONGEST_SENTENCE:
        text = f"{text[:1000]} … {text[-400:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str, longest: int = LONGEST) -> str:
    r"""A text with its line breaks as blanks, without control characters, and cut where it is too long.

    >>> one_line("out of\nmemory \x07")
    'out of memory �'
    """
    text = " ".join(text[: 4 * longest].split())
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return text if len(text) <= longest else text[: longest - 1] + "…"
