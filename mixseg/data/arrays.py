"""Array types of images and labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

ImageArray = NDArray[np.uint8]
"""RGB image, shape (height, width, 3)."""

LabelArray = NDArray[np.uint8]
"""Label map, shape (height, width)."""

Size = tuple[int, int]
"""Height and width in pixels."""
