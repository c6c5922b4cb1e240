"""Write demo scenes."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main(["make-demo", *sys.argv[1:]]))
