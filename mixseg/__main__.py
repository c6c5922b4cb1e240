"""``python -m mixseg COMMAND ...``."""

import sys

from mixseg.cli import main

if __name__ == "__main__":
    sys.exit(main())
