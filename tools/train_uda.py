"""Domain adaptation from labeled renderings to unlabeled photographs."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["uda", *sys.argv[1:]]))
