"""The method in PyTorch and Pillow, written from its formulas; the package is tested and timed against it.

Nothing here imports the package, and nothing in the package imports this.
"""
