"""DICOM: a series in, and what was found out again as objects that lie beside it in an archive.

``series`` finds the slices and where they lie, ``voxels`` reads them, ``objects`` writes heat, regions and a picture,
``read_back`` holds what was written against the series, and ``deliver`` does both for a folder. NumPy, pydicom and
highdicom; neither torch nor Slicer, so that command line, console and panel share it.

Names, dates and numbers of a patient go from the series into the objects and nowhere else: a series is called by its
modality and number, and a slice by where it lies.
"""
