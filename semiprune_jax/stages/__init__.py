"""The stages of the method, one file each.

Another stage is a file of this folder that declares a record named STAGE, and its name in ``ORDER``. Importing this
module does not import JAX.
"""

# In the order of the method, as far as their sources allow: a stage runs after all stages that it reads from.
ORDER = ("label", "embed", "pseudolabel", "score", "search", "select", "retrain", "report")
