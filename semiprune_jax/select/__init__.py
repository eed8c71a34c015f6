"""From what a training recorded to the examples that are kept: scores, selectors, coresets."""
