"""Ablations: many runs that differ in one aspect each, and their table."""
