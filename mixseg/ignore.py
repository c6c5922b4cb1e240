"""The one constant that data, targets, losses and metrics share."""

IGNORE = 255
"""Train id of pixels that take no part in any loss or metric."""
