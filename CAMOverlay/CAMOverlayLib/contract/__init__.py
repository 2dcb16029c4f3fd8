"""What both sides of the border know: requests, results, errors, what a bundle says of itself. No torch, no slicer."""
