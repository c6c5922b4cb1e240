"""Evaluate a network on a labeled split."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from mixseg.config.values import Size
from mixseg.data.class_maps import ClassMap
from mixseg.data.contract import SegmentationDataset
from mixseg.data.loading import POLL, loaded, start_worker, while_loading
from mixseg.distributed import together, world
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.inference import Autocast, InferenceMode, predict_labels
from mixseg.evaluation.scores import ConfusionMatrix, Scores

Resolution = Literal["native"] | Size
"""Where predictions and labels meet: the label's own size, or one height and width for all."""

OnImage = Callable[[int, NDArray[np.uint8]], None]
"""Called with a sample's index and its prediction, uint8 train ids of shape (H, W)."""


def evaluate(
    model: nn.Module,
    dataset: SegmentationDataset,
    *,
    input_size: Size | None = None,
    resolution: Resolution = "native",
    mode: InferenceMode | None = None,
    device: torch.device | str = "cpu",
    autocast: Autocast = nullcontext,
    workers: int = 0,
    batch_size: int = 1,
    limit: int | None = None,
    on_image: OnImage | None = None,
    joined: ClassMap | None = None,
    judged: Collection[str] | None = None,
) -> Scores:
    """Scores of one confusion matrix over the whole split.

    Neither the number of workers nor the batch size changes which predictions are asked for or
    their order. Several processes take samples in turn, and each gets the scores of all. Random
    number generators and the model's training modes are left as they were.

    Args:
        model: Called with float images in [0, 1], (B, 3, H, W); returns logits (B, C, H, W) with
            one channel per class of the data set, or of the source of ``joined``. Must already be
            on ``device``.
        dataset: A split whose samples all have labels.
        input_size: Height and width that images are resized to for the network; None keeps them.
        resolution: Predictions are brought to the native size of each label, or both to the
            height and width given.
        mode: Defaults to the whole image, once.
        device: Where the model runs and pixels are counted.
        autocast: Makes the context of each forward pass.
        workers: Processes that read images; 0 reads in this one.
        batch_size: Most images per forward pass. Only neighbors of equal size share one.
        limit: Evaluate only the first so many samples.
        on_image: Called for each sample (of this process) in order, with the prediction at
            comparison resolution.
        joined: From the network's classes to the data set's: predictions are turned into the
            latter before anything else sees them.
        judged: As in :meth:`Scores.of`.

    Raises:
        DataError: A file cannot be read, a label is missing, unknown or of another size than its
            image, the network has another number of classes, or no pixel is labeled.
        ConfigError: A size, the limit, the batch size or the number of workers is out of range.
        TrainingError: A process that reads images died.
        InterruptionError: A signal has asked the run to stop.
    """
    mode = mode or InferenceMode()
    compared = None if resolution == "native" else resolution
    for name, size in {"input_size": input_size, "resolution": compared}.items():
        if size is not None and min(size) < 1:
            raise ConfigError(f"{name} must be at least 1x1, found {size[0]}x{size[1]}")
    for name, number in {"limit": limit, "batch_size": batch_size}.items():
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be at least 1, found {number}")
    if workers < 0:
        raise ConfigError(f"workers must be at least 0, found {workers}")
    device = torch.device(device)
    count = len(dataset) if limit is None else min(limit, len(dataset))
    loader: DataLoader[Any] = DataLoader(
        _Pairs(dataset, count, input_size, compared),
        batch_size=batch_size,
        sampler=range(world().rank, count, world().size),
        num_workers=workers,
        timeout=POLL if workers else 0,
        worker_init_fn=start_worker,
        collate_fn=_of_equal_size,
        pin_memory=device.type == "cuda",
        # A loader without its own generator draws from the global one, and an evaluation in the
        # middle of a run would change what the run samples next.
        generator=torch.Generator(),
    )
    matrix = ConfusionMatrix(len(dataset.classes), device)
    table = None if joined is None else torch.from_numpy(joined.table()).to(device)
    num_classes = len(dataset.classes if joined is None else joined.source)

    def judge(group: _Group) -> None:
        images = group.images.to(device, non_blocking=True).float().div(255)
        labels = group.labels.to(device, non_blocking=True)
        size = (labels.shape[-2], labels.shape[-1])
        predictions = predict_labels(
            model, images, size, mode, autocast=autocast, num_classes=num_classes
        )
        if table is not None:
            predictions = table[predictions.long()]
        matrix.update(predictions, labels)
        if on_image is not None:
            for sample, prediction in zip(group.samples, predictions.cpu().numpy(), strict=True):
                on_image(sample, prediction)

    def judge_all() -> None:
        work = f"reading images of {dataset.root}"
        with while_loading(work):
            for groups in loaded(loader, work):
                if isinstance(groups, DataError):
                    raise groups
                for group in groups:
                    judge(group)

    together(judge_all)
    matrix.join()
    shown = "native" if compared is None else f"{compared[0]}x{compared[1]}"
    if input_size is not None:
        shown += f" (input {input_size[0]}x{input_size[1]})"
    return Scores.of(
        matrix,
        dataset.classes.names,
        images=count,
        resolution=shown,
        mode=mode.describe(),
        judged=judged,
    )


class _Pair(NamedTuple):
    """One sample."""

    sample: int
    image: Tensor
    label: Tensor


class _Group(NamedTuple):
    """Samples of one size; a named tuple, because the loader knows how to pin those."""

    samples: list[int]
    images: Tensor
    labels: Tensor


@final
@dataclass
class _Pairs(Dataset[_Pair | DataError]):
    """Samples as the network and the confusion matrix take them: uint8 tensors, resized.

    An error in the data is returned and not raised: raised in a worker, it would arrive with the
    worker's traceback as its message.
    """

    dataset: SegmentationDataset
    count: int
    input_size: Size | None
    label_size: Size | None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> _Pair | DataError:
        try:
            pixels, ids = self.dataset.pair(index)
        except DataError as error:
            return error
        # Copies, because an array of a reader may be read-only, which tensors cannot be.
        image = torch.tensor(pixels).permute(2, 0, 1)
        label = torch.tensor(ids)
        if self.input_size is not None:
            image = transforms.resize(image, list(self.input_size), antialias=True)
        if self.label_size is not None:
            label = transforms.resize(
                label[None], list(self.label_size), interpolation=InterpolationMode.NEAREST_EXACT
            )[0]
        return _Pair(index, image.contiguous(), label)


def _of_equal_size(readings: Sequence[_Pair | DataError]) -> list[_Group] | DataError:
    """Stack the pairs of a batch, in order, as far as they are of one size; or its first error."""
    pairs = []
    for reading in readings:
        if isinstance(reading, DataError):
            return reading
        pairs.append(reading)
    groups = []
    for _, alike in groupby(pairs, key=lambda pair: (pair.image.shape, pair.label.shape)):
        samples, images, labels = zip(*alike, strict=True)
        groups.append(_Group(list(samples), torch.stack(images), torch.stack(labels)))
    return groups
