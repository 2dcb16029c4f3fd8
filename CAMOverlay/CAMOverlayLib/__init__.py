"""CAMOverlay: where a MONAI network looked, shown on the volume in 3D Slicer.

The main story is :func:`CAMOverlayLib.engine.explain.explain`; what crosses between Slicer and the computation
is in :mod:`CAMOverlayLib.request`. Importing this package imports neither torch nor slicer.
"""

__version__ = "0.1.0"
