"""What can be known before a run: whether its files are whole, and whether it fits."""
