"""The errors a user can meet. Each message says what is wrong, the value found, and the remedy, in one sentence or two.

They cross the border between the computation and Slicer by class name and message, so the panel, the Python
console and the command line all show the same sentence.
"""


class CAMOverlayError(Exception):
    """Base class: whatever goes wrong in a way that the user can mend."""


class VolumeError(CAMOverlayError):
    """The input volume cannot be read or explained: missing file, 4-D, NaN, zero size, singular geometry."""


class BundleError(CAMOverlayError):
    """The folder is not a bundle that can be explained, or its configuration does not evaluate."""


class UntrustedBundleError(BundleError):
    """The bundle's configuration runs code, and the caller has not said that it trusts it."""


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


class OutputError(CAMOverlayError):
    """The result cannot be written where it was asked for."""


class WorkerError(CAMOverlayError):
    """The process that computes could not start, ended early, or answered with something that is not an answer."""


class Cancelled(CAMOverlayError):
    """The run was cancelled; nothing was changed."""


def root_cause(error: BaseException) -> BaseException:
    """The error that a chain of ``raise … from …`` began with: libraries wrap the one that says what happened."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
