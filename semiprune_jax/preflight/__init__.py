"""Checks before a run: what it will cost, and whether it would work here."""
