"""Train in rounds on labels and on pseudo-labels of all unlabeled images."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["self-train", *sys.argv[1:]]))
