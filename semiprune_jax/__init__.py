"""SemiPrune in JAX: choose which examples of an image pool are worth keeping or labelling.

The method is arXiv:2605.23198. Importing the package is cheap: nothing here imports JAX.
"""

__version__ = "0.1.0"
