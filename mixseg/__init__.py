"""mixseg: semantic segmentation from few labeled and many unlabeled images."""

import logging

__version__ = "0.1.0"

logging.getLogger("mixseg").addHandler(logging.NullHandler())
