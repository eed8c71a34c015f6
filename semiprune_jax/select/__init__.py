"""From the dynamics of a training to the examples that are kept: scores, selectors, coresets and search."""
