"""The computation: torch, MONAI and nibabel; never slicer, vtk or Qt."""
