"""Every file of a data set, read once by several processes, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, final

from torch.utils.data import DataLoader, Dataset

from mixseg.data.arrays import ImageArray
from mixseg.data.check import raw_ids
from mixseg.data.contract import SegmentationDataset, unequal_sizes
from mixseg.data.photographs import UPRIGHT, orientation_in_header
from mixseg.data.streams import POLL, loaded, start_worker
from mixseg.errors import DataError
from mixseg.ignore import IGNORE

Kind = Literal[
    "missing partner",
    "unreadable",
    "undecodable",
    "size mismatch",
    "turned",
    "unknown ids",
    "all void",
    "not opened",
]

KINDS: dict[Kind, str] = {
    "missing partner": "an image that has to have a label, and has none",
    "unreadable": "the system does not give the file: it is missing, locked, or on a bad disk",
    "undecodable": "the file is damaged, too large, or of another format",
    "size mismatch": "image and label differ in size",
    "turned": "an image with a label says that it is to be turned, which labels are not",
    "unknown ids": "a label holds an id that the data set does not have",
    "all void": "a label holds nothing but ignored pixels",
    "not opened": "a folder, a list or a description is not as it has to be; its files are not "
    "read",
}
"""Kind of problem -> what it means."""


class Problem(NamedTuple):
    """What is wrong with a file.

    Attributes:
        kind: One of :data:`KINDS`.
        path: The file, or what could not be opened.
        message: The whole error.
    """

    kind: Kind
    path: str
    message: str


class Inspection(NamedTuple):
    """What a look at a sample found.

    Attributes:
        problems: What is wrong with it; all of it, not only the first.
        ids: The raw ids of its label; None where none was read.
    """

    problems: list[Problem]
    ids: bytes | None = None


def inspect_sample(dataset: SegmentationDataset, index: int, *, labeled: bool) -> Inspection:
    """Read a sample.

    Args:
        dataset: The data set.
        index: The sample.
        labeled: Whether it has to have a label, and the label is read.
    """
    sample = dataset.samples[index]
    problems = []
    image: ImageArray | None = None
    try:
        image = dataset.image(index)
    except DataError as error:
        problems.append(Problem(reading_problem(error), str(sample.image), str(error)))
    if not labeled:
        return Inspection(problems)
    if sample.label is None:
        message = f"{sample.image} has no label file"
        if dataset.looked_for:
            message += f"; looked for {dataset.looked_for}"
        return Inspection([*problems, Problem("missing partner", str(sample.image), message)])
    path = str(sample.label)
    if image is not None and (orientation := orientation_in_header(sample.image)) != UPRIGHT:
        message = (
            f"{sample.image}: EXIF orientation {orientation}. Training takes the pixels as they "
            "are stored, and so has the label to be: store both upright, or, if the label fits the "
            "stored pixels, remove the orientation"
        )
        problems.append(Problem("turned", str(sample.image), message))
    try:
        raw = dataset.read_raw_label(sample.label)
    except DataError as error:
        return Inspection([*problems, Problem(reading_problem(error), path, str(error))])
    if image is not None and image.shape[:2] != raw.shape:
        message = unequal_sizes(sample, image.shape, raw.shape)
        problems.append(Problem("size mismatch", path, message))
    try:
        if (dataset.train_ids(raw, sample.label) == IGNORE).all():
            message = f"{path}: every pixel is ignored"
            problems.append(Problem("all void", path, message))
    except DataError as error:
        problems.append(Problem("unknown ids", path, str(error)))
    return Inspection(problems, raw_ids(raw))


def reading_problem(error: DataError) -> Kind:
    """Whether the system did not give a file, or a decoder could do nothing with it."""
    # What the system says has a number; what a decoder says of a file that it was given has none.
    cause = error.__cause__
    from_system = isinstance(cause, OSError) and cause.errno is not None
    return "unreadable" if from_system else "undecodable"


@final
class _Inspected(Dataset[Inspection]):
    """Position in some indices -> what is found in that sample."""

    def __init__(self, dataset: SegmentationDataset, indices: Sequence[int], labeled: bool) -> None:
        self.dataset = dataset
        self.indices = indices
        self.labeled = labeled

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> Inspection:
        return inspect_sample(self.dataset, self.indices[position], labeled=self.labeled)


def inspect(
    dataset: SegmentationDataset, indices: Sequence[int], *, labeled: bool, workers: int
) -> Iterator[Inspection]:
    """What is found in each sample, in the order of the indices.

    Args:
        dataset: The data set.
        indices: The samples.
        labeled: As in :func:`inspect_sample`.
        workers: Processes that read; 0 reads in this one.

    Raises:
        TrainingError: A process died.
    """
    loader = DataLoader(
        _Inspected(dataset, indices, labeled),
        batch_size=None,
        num_workers=workers,
        timeout=POLL if workers else 0,
        worker_init_fn=start_worker,
    )
    yield from loaded(loader, f"reading {dataset.root}")
