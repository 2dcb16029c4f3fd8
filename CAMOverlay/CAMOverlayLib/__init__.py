"""CAMOverlay: where a MONAI network looked, shown on the volume in 3D Slicer.

The main story is :func:`CAMOverlayLib.engine.pipeline.explain`; what crosses between Slicer and the computation is in
:mod:`CAMOverlayLib.contract.request`. ``explain`` explains what is in memory, ``explain_many`` many volumes
with a model on disk. Importing this package imports neither torch nor slicer.
"""

__version__ = "0.1.0"
__all__ = ["explain", "explain_many"]


def __getattr__(name: str):
    """``CAMOverlayLib.explain`` explains what is in memory; torch is loaded when it is first asked for."""
    if name == "explain":
        from .engine.api import explain

        return explain
    if name == "explain_many":
        from .cohort.face import explain_many

        return explain_many
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
