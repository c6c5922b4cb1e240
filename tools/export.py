"""Write a trained network as a file that runs without mixseg."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["export", *sys.argv[1:]]))
