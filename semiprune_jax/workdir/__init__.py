"""The work directory: files written whole, tasks done at most once, checkpoints and metrics."""
