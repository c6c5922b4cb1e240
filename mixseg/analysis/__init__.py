"""Figures, comparisons of runs, statistics, costs, and checks before a run."""
