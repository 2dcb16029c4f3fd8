"""The Python packages of Slicer that the PyPI core lacks, with the same names and behaviour.

Each file here becomes `slicer.<its name>` while the host runs; SampleData, a module of its own, just that.
"""
