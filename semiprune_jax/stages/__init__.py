"""The stages of the method, one file each.

To add a stage, write a file in this folder that declares a record named STAGE, and put the file's name into ``ORDER``.
Importing this module does not import JAX.
"""

# The order of the method. A run departs from it where a stage reads from a later one.
ORDER = ("label", "embed", "pseudolabel", "score", "search", "select", "retrain", "judge", "report")
