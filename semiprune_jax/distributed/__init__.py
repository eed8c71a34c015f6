"""Devices and processes: how arrays lie on them, and how several processes act as one run."""
