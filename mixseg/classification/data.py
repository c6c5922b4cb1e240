"""Labelled images of 32x32: CIFAR-10, and shapes that need no download."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.datasets import CIFAR10

from mixseg.errors import DataError

SIZE = 32


class Labelled(NamedTuple):
    """Images and what they show.

    Attributes:
        images: uint8, shape (N, 3, 32, 32).
        labels: int64, shape (N,), from 0 to 9.
    """

    images: Tensor
    labels: Tensor


def open_cifar10(root: Path) -> tuple[Labelled, Labelled]:
    """The training and the test images of CIFAR-10 (Krizhevsky, 2009).

    Args:
        root: Folder that holds ``cifar-10-batches-py``, as the archive unpacks.

    Raises:
        DataError: It is not there, or its files are not those of the archive. They are Python
            pickles, which nobody should load from strangers: torchvision compares the hash of
            each file before it does.
    """
    parts = []
    for train in (True, False):
        try:
            read = CIFAR10(str(root), train=train, download=False)
        except RuntimeError as error:
            raise DataError(
                f"no CIFAR-10 below {root}: download cifar-10-python.tar.gz (163 MB) from "
                "https://www.cs.toronto.edu/~kriz/cifar.html, and unpack it there, so that "
                f"{root / 'cifar-10-batches-py'} holds data_batch_1 to 5 and test_batch as they "
                "were published; or try --demo, which needs no data"
            ) from error
        images = torch.from_numpy(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)))
        parts.append(Labelled(images, torch.tensor(read.targets)))
    return parts[0], parts[1]


def draw_shapes(count: int, seed: int) -> Labelled:
    """Ten kinds of shapes and textures, of any colour, size and place, on noise.

    Args:
        count: Number of images.
        seed: What is drawn depends on it and the count alone.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 10, count)
    images = np.stack([_shape(int(label), random) for label in labels])
    return Labelled(torch.from_numpy(images), torch.from_numpy(labels))


def _shape(label: int, random: np.random.Generator) -> NDArray[np.uint8]:
    radius = random.uniform(6, 12)
    row, column = random.uniform(radius, SIZE - radius, 2)
    y, x = np.mgrid[:SIZE, :SIZE] - np.array([row, column])[:, None, None]
    far, near = np.maximum(abs(y), abs(x)), np.minimum(abs(y), abs(x))
    distance, box, period = np.hypot(y, x), far < radius, random.uniform(4, 7)
    inside = [
        distance < radius,  # disc
        box,  # square
        box & (y > 2 * abs(x) - radius),  # triangle
        box & (near < radius / 4),  # plus
        (distance < radius) & (distance > 0.6 * radius),  # ring
        abs(y) + abs(x) < radius,  # diamond
        box & (y % period < period / 2),  # rows
        box & (x % period < period / 2),  # columns
        box & ((y % period < period / 2) ^ (x % period < period / 2)),  # chequers
        box & (abs(abs(y) - abs(x)) < radius / 4),  # cross
    ][label]
    background = random.uniform(0, 255, (3, 1, 1))
    ink = (background + random.uniform(90, 165, (3, 1, 1))) % 255
    picture = np.where(inside, ink, background) + random.normal(0, 20, (3, SIZE, SIZE))
    clipped: NDArray[np.uint8] = picture.clip(0, 255).astype(np.uint8)
    return clipped
