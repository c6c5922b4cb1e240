"""Distillation between classifiers: the first experiment of Karlı, on whole images."""
