"""Images, their labels and keys: where they come from, and how they reach the devices."""
