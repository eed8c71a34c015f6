"""Before a run: what it will take, and whether it will work here."""
