"""Bad input of every kind, and what the program says to it; see ``__main__`` and ``cases``."""
