"""Measuring and using a trained network: scores of a split, predictions of image files."""
