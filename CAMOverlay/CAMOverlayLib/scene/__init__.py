"""The side of Slicer: nodes, overlays and pictures. Imports slicer, vtk and numpy; never torch, monai or nibabel.

Names follow Slicer (camelCase), arrays are K, J, I with IJKToRAS as in Slicer; the turn to the I, J, K of the
computation happens in :mod:`CAMOverlayLib.scene.io.volumes` and nowhere else. This package imports nothing by itself,
so that it costs nothing; its modules import Slicer when they are imported:

- :mod:`core`: a scene outside Slicer, loading a volume, saving the scene
- :mod:`io`: a volume node out to an array file, a heatmap back in, geometry; DICOM, photographs, NIfTI
- :mod:`overlay`: name, colours, opacity, provenance, slice views, rendering
- :mod:`figure`: the three slices through the peak as a PNG
- :mod:`target_regions`: segments, labels and points of the scene as a target
"""
