"""Grids, affines, volumes and slices: arrays are C×I×J×K, affines go to RAS in mm."""
