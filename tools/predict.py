"""Predict images with a checkpoint."""

import sys

from mixseg.cli import run
from mixseg.commands.predict import predict

if __name__ == "__main__":
    sys.exit(run(predict))
