"""Watches the chain and says how far the voxels confirm what it tells of itself."""
