"""Data: layouts and opening them, splits, checks, statistics, streams and their augmentation."""
