"""What comes out of a cohort: read from its folder, measured over its cases, and told on one page.

NumPy, SciPy, Pillow, nibabel; never torch, and nothing of Slicer.
"""
