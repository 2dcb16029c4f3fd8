"""What can be read off a heatmap, computed: NumPy and SciPy only, for the computation, the scene and the command line.

Heatmaps are float32 I×J×K, 0 to 1 and 0 where the network never saw; fastest in Fortran order, as both sides keep them.
"""
