"""Endless, reproducible streams of training batches.

Draw number t of a stream is image ``permutation(epoch)[t mod n]`` of epoch ``t div n``; which one
it is and how it is augmented depends on (seed, stream, epoch, index) alone. Neither the number of
workers nor where a run was interrupted can change it.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mixseg.data.contract import SegmentationDataset
from mixseg.data.transforms import Example, PairedTransform
from mixseg.distributed import share_of, world
from mixseg.errors import DataError, TrainingError
from mixseg.ignore import IGNORE
from mixseg.interruption import STOPPING, stop_if_asked
from mixseg.randomness import derive_seed, generator
from mixseg.terminal import complain, guard

POLL = 5.0
"""Seconds of waiting for a batch after which :func:`loaded` looks around: a loader's timeout."""

PATIENCE = 60.0
"""Seconds without a batch after which it is said that there is none."""

T = TypeVar("T")


class Skipped(NamedTuple):
    """A sample of a stream that could not be read.

    Attributes:
        stream: Name of the stream.
        id: Of the sample.
        reason: The error, which names the file.
    """

    stream: str
    id: str
    reason: str


class Batch(NamedTuple):
    """Training images; on the CPU as they come from the loader.

    Attributes:
        images: uint8, shape (B, 3, H, W), RGB.
        labels: uint8, shape (B, H, W), 255 = ignore; all 255 in an unlabelled stream.
        valid: bool, shape (B, H, W), false where a crop or a rotation left the image.
        ids: Sample ids, for messages.
        skipped: Samples that could not be read and that others stand for.
        void: Label files of the images that hold nothing but ignored pixels.
    """

    images: Tensor
    labels: Tensor
    valid: Tensor
    ids: tuple[str, ...]
    skipped: tuple[Skipped, ...] = ()
    void: tuple[str, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device, without waiting for the copy."""
        return Batch(
            self.images.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.valid.to(device, non_blocking=True),
            self.ids,
            self.skipped,
            self.void,
        )


class Drawn(NamedTuple):
    """What a draw gave.

    Attributes:
        example: The augmented image.
        id: Of its sample.
        skipped: Samples that came before it in the order and could not be read.
        void: Its label file, if that holds nothing but ignored pixels; else empty.
    """

    example: Example
    id: str
    skipped: tuple[Skipped, ...] = ()
    void: str = ""


Item = Drawn | DataError


@final
class StreamDataset(Dataset[Item]):
    """Draw number -> augmented example of one stream.

    An error of the data is returned and not raised: raised in a worker, it would arrive with the
    worker's traceback as its message.
    """

    def __init__(
        self,
        dataset: SegmentationDataset,
        indices: tuple[int, ...],
        transform: PairedTransform,
        *,
        seed: int,
        stream: str,
        labeled: bool,
        bad_share: float = 0.0,
    ) -> None:
        """Describe a stream.

        Args:
            dataset: Where its samples come from.
            indices: Which of them.
            transform: Augmentation.
            seed: Of the run.
            stream: Its name; streams of other names are drawn independently.
            labeled: Whether labels are read.
            bad_share: Share of the samples that may be unreadable; each of them is replaced by the
                next one of its epoch's order. At 0 the first one is an error.
        """
        self.dataset = dataset
        self.indices = indices
        self.transform = transform
        self.seed = seed
        self.stream = stream
        self.labeled = labeled
        self.most_bad = int(bad_share * len(indices))
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    def __getitem__(self, draw: int) -> Item:
        """The example of a draw, or what is wrong with its files.

        Where some may be unreadable, the first good sample from the draw's place in the order of
        its epoch on; after the last place comes the first.
        """
        epoch, place = divmod(draw, len(self.indices))
        order = self._permutation(epoch)
        skipped: list[Skipped] = []
        while True:
            index = self.indices[order[(place + len(skipped)) % len(order)]]
            # One that stands for others is augmented in another way than where it stands itself.
            instead = (place,) if skipped else ()
            try:
                example, void = self._example(index, epoch, *instead)
            except DataError as error:
                if len(skipped) == self.most_bad:
                    return self._too_many(error) if skipped else error
                name = self.dataset.samples[index].id
                skipped.append(Skipped(self.stream, name, str(error)))
            else:
                return Drawn(example, self.dataset.samples[index].id, tuple(skipped), void)

    def _too_many(self, error: DataError) -> DataError:
        return DataError(
            f"more than {self.most_bad} of {len(self.indices)} images of the {self.stream} stream "
            f"cannot be read, more than data.skip_bad_share allows. The last one: {error}"
        )

    def _example(self, index: int, epoch: int, *instead: int) -> tuple[Example, str]:
        void = ""
        if self.labeled:
            image, label = self.dataset.pair(index, self.transform.target)
            if label.min() == IGNORE:
                void = str(self.dataset.samples[index].label)
        else:
            image = self.dataset.image(index, self.transform.target)
            label = np.full(image.shape[:2], IGNORE, dtype=np.uint8)
        example = Example(
            torch.from_numpy(image).permute(2, 0, 1),
            torch.from_numpy(label),
            torch.ones(label.shape, dtype=torch.bool),
        )
        random = generator(self.seed, self.stream, "augment", epoch, index, *instead)
        return self.transform(example, random), void

    def _permutation(self, epoch: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        if epoch != self._epoch:
            random = np.random.default_rng(derive_seed(self.seed, self.stream, "order", epoch))
            self._order = random.permutation(len(self.indices))
            self._epoch = epoch
        return self._order


@final
class _OwnDraws:
    """Draw numbers of this process: of each batch its part, the parts in the order of processes."""

    def __init__(self, first: int, last: int, batch_size: int) -> None:
        self.begins = range(first, last, batch_size)
        self.own = share_of(batch_size)
        self.rank = world().rank

    def __len__(self) -> int:
        return len(self.begins) * self.own

    def __iter__(self) -> Iterator[int]:
        for begin in self.begins:
            yield from range(begin + self.rank * self.own, begin + (self.rank + 1) * self.own)


def _collate(items: list[Item]) -> Batch | DataError:
    good = [item for item in items if not isinstance(item, DataError)]
    for item in items:
        if isinstance(item, DataError):
            return item
    examples = [item.example for item in good]
    sizes = {tuple(example.image.shape[-2:]) for example in examples}
    if len(sizes) > 1:
        found = " and ".join(f"{height}x{width}" for height, width in sorted(sizes)[:2])
        return DataError(
            f"images differ in size ({found}) and cannot share a batch: set data.crop or "
            f"data.resize. Images of the batch: {', '.join(item.id for item in good)}"
        )
    return Batch(
        torch.stack([example.image for example in examples]),
        torch.stack([example.label for example in examples]),
        torch.stack([example.valid for example in examples]),
        tuple(item.id for item in good),
        tuple(one for item in good for one in item.skipped),
        tuple(item.void for item in good if item.void),
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
        first: Number of the first batch, above 0 when a run is resumed.
        last: Number of the batch after the last.
        workers: Loader processes; 0 loads in this one.
        drawn: Images of the stream that came before batch 0.
        pinned: Put batches where a GPU can fetch them while the host goes on.

    Raises:
        DataError: A file of a batch is damaged, or its label does not fit.
        TrainingError: A loader process died.
        InterruptionError: See :func:`loaded`.
    """
    loader = DataLoader(
        dataset,
        batch_size=share_of(batch_size),
        sampler=_OwnDraws(drawn + first * batch_size, drawn + last * batch_size, batch_size),
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


def loaded(loader: Iterable[T], work: str, fewer: str = "--workers") -> Iterator[T]:
    """What a loader gives, its own failures as errors for people.

    A worker that gives nothing is waited for as long as its process is there: a drive may be slow,
    and a machine that was suspended has lost minutes of which it knows nothing.

    Args:
        loader: With a timeout of :data:`POLL` if it has workers.
        work: What it is doing, for the message.
        fewer: The flag that says how many processes there are.

    Raises:
        TrainingError: A loader process died.
        InterruptionError: A signal has asked the run to stop.
    """
    batches = _started(loader, work, fewer)
    while True:
        waited = 0.0
        while True:
            stop_if_asked()
            try:
                batch = next(batches)
                break
            except StopIteration:
                return
            except (RuntimeError, OSError, EOFError) as error:
                # Besides torch's own error a dead worker shows as a connection that is refused or
                # lost.
                pinning = getattr(batches, "_pin_memory_thread", None)
                dead = pinning is not None and not pinning.is_alive()
                if dead or "DataLoader timed out" not in str(error):
                    raise _failed(work, error, fewer) from error
            waited += POLL
            if waited - POLL < PATIENCE <= waited:
                complain(f"warning: {work}: nothing for {waited:.0f} s, waiting on; a slow drive?")
        yield batch


def _started(loader: Iterable[T], work: str, fewer: str) -> Iterator[T]:
    try:
        return iter(loader)
    except (RuntimeError, OSError, EOFError) as error:
        raise _failed(work, error, fewer) from error


@contextmanager
def while_loading(work: str) -> Iterator[None]:
    """Names the death of a loader process that is noticed while its batches are worked on.

    Raises:
        TrainingError: Torch has raised its error in this block, wherever the process was.
    """
    try:
        yield
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _failed(work, error) from error


def _failed(work: str, error: Exception, fewer: str = "--workers") -> TrainingError:
    return TrainingError(f"{work} failed: {error!r}. Out of memory? Try fewer {fewer}")


def start_worker(worker: int) -> None:
    """Prepare a loader process: one thread, and deaf to signals that are meant for the run."""
    torch.set_num_threads(1)
    guard()
    # Ctrl-C, timeout(1) and schedulers signal the whole process group, but what to do about it is
    # the trainer's decision: a worker that ended by itself would take the run with it.
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _end_workers() -> None:
    # Torch would raise an error for each, with a traceback that nobody asked for.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # They ignore the SIGTERM with which multiprocessing would end those that hang, before it waits
    # for them.
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def default_workers() -> int:
    """Loader processes per stream: half of the cores that this process may use, one to four."""
    return min(4, max(1, usable_cores() // 2))


def usable_cores() -> int:
    """Cores that this process may use, which on a shared machine are not all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
