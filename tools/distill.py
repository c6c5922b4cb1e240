"""Distillation of a trained network into a smaller one."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["distill", *sys.argv[1:]]))
