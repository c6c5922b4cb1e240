"""Distillation between classifiers: the first experiment of 004, on whole images."""
