"""The settings of a run: every field once, whether they fit together, and recipes of experiments."""
