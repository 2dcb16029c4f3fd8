"""What is taken away: the page, the montage, plots, tables, and the words that compute a result again.

Written from the :class:`~CAMOverlayLib.contract.request.Result` and the voxels, with NumPy and Pillow alone, so that
Slicer, the command line and a notebook show the same.
"""
