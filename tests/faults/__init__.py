"""Faults of a run: kills, signals, lost peers, other devices, disks, damaged files, hostile input, leaks."""
