"""Benchmarks of the package beside PyTorch."""
