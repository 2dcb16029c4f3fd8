"""What can be read off a heatmap, with NumPy and SciPy alone."""
