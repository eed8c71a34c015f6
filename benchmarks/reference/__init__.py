"""The method in PyTorch and Pillow, written from its formulas: what the package is tested and timed against.

Nothing here imports the package, and nothing in the package imports this.
"""
