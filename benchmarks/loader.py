"""Reading images and labels, against one pass for each class id and floats from the start."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from benchmarks.measure import Action, compare
from benchmarks.report import Report, report_of
from benchmarks.workload import Workload, patches
from mixseg.data.arrays import Size
from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.contract import SegmentationDataset
from mixseg.data.images import encode_jpeg, write_png
from mixseg.data.layout import open_dataset
from mixseg.data.prepared_copy import check_output, plan_splits, prepare
from mixseg.data.streams import StreamDataset
from mixseg.data.transforms import PairedTransform
from mixseg.errors import DataError
from mixseg.randomness import generator
from tests.oracles import transcription

FILES = 2
"""Pairs of files that are read in one go."""

MEAN = (123.675, 116.28, 103.53)
"""RGB mean of ImageNet, 0 to 255."""

NOISE = 0.75
"""Standard deviation of the noise of a sensor, in gray values.

It decides how much there is to unpack: 2.3 MB at 1024x2048, as in photographs.
"""


def loader(work: Workload, console: Console) -> Report:
    """Train ids of one file, and whole examples at training size, in one thread as in a loader.

    Examples are read from PNGs, from a copy of these that was prepared at training size, and from
    JPEGs; the transcription reads the originals each time.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _measure(work, *(Path(folder) / name for name in ("pngs", "copies", "jpegs")))
    finally:
        torch.set_num_threads(threads)


def _measure(work: Workload, pngs: Path, copies: Path, jpegs: Path) -> Report:
    write_street(pngs, work.files, work.settings.seed)
    streets = open_dataset("cityscapes", pngs, "train")
    write_jpegs(jpegs, streets)
    plan = plan_splits(
        "cityscapes", pngs, size=work.size, training="train", validation=None, keep_labeled=True
    )
    output = check_output(plan, copies)
    prepare(plan, copies, output, jobs=1, keep_bad=False, progress=lambda done, total: None)
    copied = open_dataset("cityscapes", copies, "train")
    windscreens = open_dataset("bdd100k", jpegs, "train")
    train_ids = {raw_id: train for train, raw_id in enumerate(CITYSCAPES.label_ids)}
    in_files = {index: index for index in range(len(CITYSCAPES))}  # BDD100K has train ids
    path = _label_file(streets.samples[0].label)
    raw = streets.read_raw_label(path)
    size = f"{work.files[0]}x{work.files[1]}"
    pairs: dict[str, tuple[Action, Action]] = {
        "train ids of a label": (
            lambda: streets.train_ids(raw, path),
            lambda: transcription.encoded(raw, train_ids),
        )
    }
    for name, original, read, ids in (
        (f"PNGs of {size}", streets, streets, train_ids),
        ("a prepared copy of them", streets, copied, train_ids),
        (f"JPEGs of {size}", windscreens, windscreens, in_files),
    ):
        forms = own_examples(read, work.size), plain_examples(original, work.size, ids)
        pairs[f"{FILES} examples, {name}"] = forms
    host = torch.device("cpu")
    return report_of(
        "loader", [compare(what, *pair, host, work.rounds) for what, pair in pairs.items()]
    )


def own_examples(dataset: SegmentationDataset, size: Size) -> Action:
    """Reads every sample once, as a loader process does."""
    stream = StreamDataset(
        dataset,
        tuple(range(FILES)),
        PairedTransform(resize=size, flip=True),
        seed=0,
        stream="benchmark",
        labeled=True,
    )

    def read() -> None:
        for draw in range(FILES):
            item = stream[draw]
            if isinstance(item, DataError):
                raise item

    return read


def plain_examples(dataset: SegmentationDataset, size: Size, train_ids: dict[int, int]) -> Action:
    """Reads every sample once by :func:`plain_example`."""
    random = np.random.default_rng(0)

    def read() -> None:
        for sample in dataset.samples:
            plain_example(sample.image, _label_file(sample.label), size, train_ids, random)

    return read


def plain_example(
    image: Path, label: Path, size: Size, train_ids: dict[int, int], random: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Image without its mean and train ids, at training size, half of them mirrored.

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
    ids = Image.fromarray(transcription.encoded(raw, train_ids))
    train = np.asarray(ids.resize(width_height, Image.Resampling.NEAREST))
    if random.random() < 0.5:
        values, train = values[:, ::-1], train[:, ::-1]
    return values.transpose(2, 0, 1).astype(np.float32, order="C"), train.copy()


def write_street(root: Path, size: Size, seed: int) -> None:
    """Write files in the layout of Cityscapes whose PNGs pack as well as photographs do."""
    images, labels = root / "leftImg8bit/train/city", root / "gtFine/train/city"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    raw_ids = np.append(np.array(CITYSCAPES.label_ids, dtype=np.uint8), np.zeros(237, np.uint8))
    for index in range(FILES):
        random = np.random.default_rng([seed, index])
        coarse = random.integers(256, size=(8, 16, 3), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
        noise = random.normal(scale=NOISE, size=(*size, 3))
        photograph = np.clip(np.asarray(smooth) + noise.round(), 0, 255).astype(np.uint8)
        write_png(images / f"city_{index:06}_leftImg8bit.png", photograph)
        ids = patches(1, size, len(CITYSCAPES), generator(seed, "street", index))[0].numpy()
        write_png(labels / f"city_{index:06}_gtFine_labelIds.png", raw_ids[ids])


def write_jpegs(root: Path, dataset: SegmentationDataset) -> None:
    """Write the samples of a data set in the layout of BDD100K, whose images are JPEGs."""
    images, labels = root / "images/10k/train", root / "labels/sem_seg/masks/train"
    for folder in (images, labels):
        folder.mkdir(parents=True)
    for index in range(len(dataset)):
        image, label = dataset.pair(index)
        (images / f"{index:06}.jpg").write_bytes(encode_jpeg(image, quality=90))
        write_png(labels / f"{index:06}.png", label)


def _label_file(path: Path | None) -> Path:
    assert path is not None  # written with the image
    return path
