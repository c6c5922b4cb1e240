"""Reading images and labels, against one pass for each class id and floats from the beginning."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from mixseg.analysis.model_profile import Size
from mixseg.benchmark import published
from mixseg.benchmark.measure import Comparison, compare
from mixseg.benchmark.workload import Workload, patches
from mixseg.data.cityscapes import CITYSCAPES, open_cityscapes
from mixseg.data.images import write_png
from mixseg.data.streams import StreamDataset
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError
from mixseg.randomness import generator

FILES = 2
"""Pairs of files that are read in one go."""

MEAN = (123.675, 116.28, 103.53)
"""Of ImageNet, RGB, 0 to 255."""


def measure_loader(work: Workload) -> list[Comparison]:
    """Train ids of one file, and whole examples at training size, in one thread as in a loader."""
    host = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_street(root, work.files, work.settings.seed)
        dataset = open_cityscapes(root, "train")
        transform = PairedTransform(resize=work.size, flip=True)
        stream = StreamDataset(
            dataset, tuple(range(FILES)), transform, seed=0, stream="benchmark", labeled=True
        )
        raw = dataset.read_raw_label(_label_file(dataset.samples[0].label))
        train_ids = {raw_id: train for train, raw_id in enumerate(CITYSCAPES.label_ids)}
        random = np.random.default_rng(0)

        def own() -> None:
            for draw in range(FILES):
                item = stream[draw]
                if isinstance(item, DataError):
                    raise item

        def plain() -> None:
            for sample in dataset.samples:
                plain_example(sample.image, _label_file(sample.label), work.size, train_ids, random)

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return [
                compare(
                    "train ids of a label",
                    lambda: dataset.lookup[raw].astype(np.uint8),
                    lambda: published.encoded(raw, train_ids),
                    host,
                    work.rounds,
                ),
                compare(
                    f"{FILES} examples of {work.files[0]}x{work.files[1]}",
                    own,
                    plain,
                    host,
                    work.rounds,
                ),
            ]
        finally:
            torch.set_num_threads(threads)


def plain_example(
    image: Path,
    label: Path,
    size: Size,
    train_ids: dict[int, int],
    random: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image without its mean and train ids, at training size, one half of them mirrored.

    Args:
        image: RGB file.
        label: File of raw ids.
        size: Height and width.
        train_ids: Raw id -> train id.
        random: Says what is mirrored.

    Returns:
        float32 of shape (3, H, W), and uint8 of shape (H, W).
    """
    width_height = (size[1], size[0])
    with Image.open(image) as opened:
        pixels = opened.convert("RGB")
    with Image.open(label) as opened:
        raw = np.asarray(opened)
    resized = pixels.resize(width_height, Image.Resampling.BILINEAR)
    values = np.asarray(resized, dtype=np.float64) - MEAN
    ids = Image.fromarray(published.encoded(raw, train_ids))
    train = np.asarray(ids.resize(width_height, Image.Resampling.NEAREST))
    if random.random() < 0.5:
        values, train = values[:, ::-1], train[:, ::-1]
    return values.transpose(2, 0, 1).astype(np.float32, order="C"), train.copy()


def write_street(root: Path, size: Size, seed: int) -> None:
    """Write files in the layout of Cityscapes whose PNGs pack as well as photographs do.

    Args:
        root: Folder that gets them.
        size: Height and width.
        seed: Of what they show.
    """
    images, labels = root / "leftImg8bit/train/city", root / "gtFine/train/city"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    raw_ids = np.append(np.array(CITYSCAPES.label_ids, dtype=np.uint8), np.zeros(237, np.uint8))
    for index in range(FILES):
        random = np.random.default_rng([seed, index])
        coarse = random.integers(256, size=(8, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        # Noise of a sensor: it decides how much there is to unpack, 2.3 MB at 1024x2048.
        noise = random.normal(scale=NOISE, size=(*size, 3))
        photograph = np.clip(np.asarray(smooth) + noise.round(), 0, 255).astype(np.uint8)
        write_png(images / f"city_{index:06}_leftImg8bit.png", photograph)
        ids = patches(1, size, len(CITYSCAPES), generator(seed, "street", index))[0].numpy()
        write_png(labels / f"city_{index:06}_gtFine_labelIds.png", raw_ids[ids])


NOISE = 0.75
"""Deviation of the noise in grey values."""


def _label_file(path: Path | None) -> Path:
    assert path is not None  # written with the image
    return path
