"""Bad input of every kind, and the answers of the program; see ``__main__`` and ``cases``."""
