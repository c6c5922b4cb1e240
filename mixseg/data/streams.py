"""Endless, reproducible streams of training batches.

Draw number t of a stream is image ``permutation(epoch)[t mod n]`` of epoch ``t div n``; which one
it is and how it is augmented depends on (seed, stream, epoch, index) alone. Neither the number of
workers nor where a run was interrupted can change it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mixseg.data.contract import SegmentationDataset
from mixseg.data.loading import POLL, loaded, start_worker
from mixseg.data.sampling import RareClassSampler
from mixseg.data.transforms import Example, PairedTransform
from mixseg.distributed import share_of, world
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from mixseg.randomness import derive_seed, generator


class Skipped(NamedTuple):
    """A sample of a stream that could not be read; ``reason`` is the error, with the file."""

    stream: str
    id: str
    reason: str


class Batch(NamedTuple):
    """Training images; on the CPU as they come from the loader.

    Attributes:
        images: uint8, shape (B, 3, H, W), RGB.
        labels: uint8, shape (B, H, W), 255 = ignore; all 255 in a stream without labels.
        valid: bool, shape (B, H, W), false where a crop or a rotation left the image.
        ids: Sample ids, for messages.
        skipped: Unreadable samples that others replace.
        void: Label files of the images that hold nothing but ignored pixels.
        instances: int32, shape (B, H, W): the thing that a pixel belongs to, 0 = none; None where
            it is not asked for.
    """

    images: Tensor
    labels: Tensor
    valid: Tensor
    ids: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    void: tuple[str, ...] = ()
    instances: Tensor | None = None

    def mapped(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """The function of each tensor."""
        images, labels, valid = map(function, self[:3])
        instances = None if self.instances is None else function(self.instances)
        return self._replace(images=images, labels=labels, valid=valid, instances=instances)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, without waiting for the copy."""
        return self.mapped(lambda part: part.to(device, non_blocking=True))


class Drawn(NamedTuple):
    """The augmented example of a draw."""

    example: Example
    id: str
    skipped: tuple[Skipped, ...] = ()  # unreadable samples that it replaces
    void: str = ""  # its label file, if that holds nothing but ignored pixels


Item = Drawn | DataError


@final
@dataclass(eq=False)
class StreamDataset(Dataset[Item]):
    """Draw number -> augmented example of one stream; streams of other names are independent.

    A share ``bad_share`` of the samples may be unreadable: each is replaced by the next one in the
    order of its epoch. At 0 the first one is an error. With ``instances`` those of a labeled stream
    are read, too.

    A ``sampler`` gives the draws of a labeled stream in place of the order of epochs.

    An error of the data is returned and not raised: raised in a worker, it would arrive with the
    worker's traceback as its message.
    """

    dataset: SegmentationDataset
    indices: tuple[int, ...]
    transform: PairedTransform
    _: KW_ONLY
    seed: int
    stream: str
    labeled: bool
    bad_share: float = 0.0
    sampler: RareClassSampler | None = None
    instances: bool = False
    _epoch: int = field(default=-1, init=False)
    _order: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64), init=False)

    def __getitem__(self, draw: int) -> Item:
        """The example of a draw, or what is wrong with its files.

        It is the first readable sample from the draw's place in the order of its epoch on; after
        the last place comes the first. A sampler has an order for each draw.
        """
        epoch, place = divmod(draw, len(self.indices))
        if self.sampler is None:
            order, first, wanted = self._permutation(epoch), place, None
        else:
            order, wanted = self.sampler.draw(draw)
            first = 0
        most_bad = int(self.bad_share * len(order))
        skipped: list[Skipped] = []
        while True:
            index = self.indices[order[(first + len(skipped)) % len(order)]]
            sample = self.dataset.samples[index]
            # One that replaces others is augmented in another way than at its own place; and so is
            # each of those that a sampler draws several times in an epoch.
            own = (place,) if skipped or wanted is not None else ()
            try:
                example = self._read(index)
            except DataError as error:
                if len(skipped) < most_bad:
                    skipped.append(Skipped(self.stream, sample.id, str(error)))
                    continue
                if not skipped:
                    return error
                return DataError(
                    f"more than {most_bad} of {len(order)} images of the {self.stream} stream "
                    f"cannot be read, more than data.skip_bad_share allows. The last one: {error}"
                )
            void = self.labeled and int(example.label.min()) == IGNORE
            random = generator(self.seed, self.stream, "augment", epoch, index, *own)
            augmented = self.transform(example, random, wanted)
            return Drawn(augmented, sample.id, tuple(skipped), str(sample.label) if void else "")

    def _read(self, index: int) -> Example:
        if self.labeled:
            image, label = self.dataset.pair(index, self.transform.target)
        else:
            image = self.dataset.image(index, self.transform.target)
            label = np.full(image.shape[:2], IGNORE, dtype=np.uint8)
        return Example(
            torch.from_numpy(image).permute(2, 0, 1),
            torch.from_numpy(label),
            torch.ones(label.shape, dtype=torch.bool),
            torch.from_numpy(self.dataset.instances(index, label)) if self.instances else None,
        )

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            random = np.random.default_rng(derive_seed(self.seed, self.stream, "order", epoch))
            self._order = random.permutation(len(self.indices))
            self._epoch = epoch
        return self._order


def _own_draws(first: int, last: int, batch_size: int) -> Iterator[int]:
    """The draws of this process: its part of each batch."""
    own, rank = share_of(batch_size), world().rank
    for begin in range(first, last, batch_size):
        yield from range(begin + rank * own, begin + (rank + 1) * own)


def _collate(items: list[Item]) -> Batch | DataError:
    good: list[Drawn] = []
    for item in items:
        if isinstance(item, DataError):
            return item
        good.append(item)
    examples = [item.example for item in good]
    sizes = {tuple(example.image.shape[-2:]) for example in examples}
    if len(sizes) > 1:
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes)[:2])
        return DataError(
            f"images differ in size ({found}) and cannot share a batch: set data.crop or "
            f"data.resize. Images of the batch: {', '.join(item.id for item in good)}"
        )
    instances = [one.instances for one in examples if one.instances is not None]
    return Batch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.label for example in examples]),
        torch.stack([example.valid for example in examples]),
        tuple(item.id for item in good),
        tuple(one for item in good for one in item.skipped),
        tuple(item.void for item in good if item.void),
        torch.stack(instances) if instances else None,
    )


def stream_batches(
    dataset: StreamDataset,
    batch_size: int,
    first: int,
    last: int,
    workers: int,
    drawn: int = 0,
    *,
    pinned: bool = False,
) -> Iterator[Batch]:
    """Batches number ``first`` to ``last`` - 1 of a stream.

    Args:
        dataset: The stream.
        batch_size: Images in a batch, of which this process loads its part.
        first: Above 0 when a run is resumed.
        last: The batch to stop before.
        workers: Loader processes; 0 loads in this one.
        drawn: Images of the stream that came before batch 0.
        pinned: Put batches into pinned memory, for copies to a GPU in the background.

    Raises:
        DataError: A file of a batch is damaged, or its label does not fit.
        TrainingError: A loader process died.
        InterruptionError: See :func:`mixseg.data.loading.loaded`.
    """
    loader = DataLoader(
        dataset,
        batch_size=share_of(batch_size),
        sampler=_own_draws(drawn + first * batch_size, drawn + last * batch_size, batch_size),
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=pinned,
        timeout=POLL if workers else 0,
        # A loader draws a base seed from the global generator when it starts; its own generator
        # keeps that from changing anything else.
        generator=torch.Generator().manual_seed(0),
        worker_init_fn=start_worker,
    )
    for batch in loaded(loader, f"loading images of the {dataset.stream} stream"):
        if isinstance(batch, DataError):
            try:
                raise batch
            finally:
                # Its traceback holds this frame: as a circle they would keep workers alive.
                del batch
        yield batch
