"""Predict images with a checkpoint."""

import sys

from mixseg.cli import predict, run

if __name__ == "__main__":
    sys.exit(run(predict))
