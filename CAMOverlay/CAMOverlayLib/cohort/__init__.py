"""Many volumes: one explanation for each, kept on disk case by case, through Dask or in this process.

``cases`` reads the list, ``plan`` is what all cases have in common, ``folder`` is a case on disk, ``compute`` is the
task that a worker runs, ``workers`` are those who run it, ``run`` is the story, ``table`` what comes out of it.
Importing any of it imports neither torch nor Dask nor Slicer.
"""
