"""Choosing the unlabeled images that are worth a label."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixseg.active.candidates import Candidates
from mixseg.active.diversity import choose
from mixseg.active.how import How
from mixseg.active.inconsistency import Inconsistency, Seen, mean_over_classes, seen_by
from mixseg.augmentation import Augmentation
from mixseg.config.resolve import resolve_settings
from mixseg.config.values import Size
from mixseg.data.borders import read_pairs
from mixseg.data.contract import SegmentationDataset
from mixseg.data.statistics import read_frequencies
from mixseg.data.transforms import resized_image
from mixseg.errors import ConfigError, DataError
from mixseg.evaluation.inference import Autocast
from mixseg.mixing import Mixer, Mixup
from mixseg.models import SegmentationModel
from mixseg.randomness import generator
from mixseg.registry import SLOTS, Slot
from mixseg.training.precision import any_sizes, choose_device
from mixseg.training.run_directory import RunDirectory
from mixseg.training.saved_network import SavedNetworks

LOG = logging.getLogger("mixseg")

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@final
@dataclass(frozen=True)
class Networks:
    """The networks of a checkpoint, on their device, and what images are mixed with.

    Attributes:
        teacher: Labels the images.
        student: Sees them mixed; the teacher itself where a checkpoint has one network alone.
        mixer: That of the run.
        augment: That of the run.
        input_size: Height and width that images are resized to; None keeps them.
        device: Where the networks run.
        autocast: Makes the context of each forward pass.
    """

    teacher: SegmentationModel
    student: SegmentationModel
    mixer: Mixer
    augment: Augmentation
    input_size: Size | None
    device: torch.device
    autocast: Autocast

    @classmethod
    def of(
        cls, saved: SavedNetworks, device: str = "auto", precision: Precision = "auto"
    ) -> Networks:
        """Those of a checkpoint, of which ``both`` networks were loaded.

        Raises:
            ConfigError: The run's mixer has no masks, or the device is not there.
        """
        where = choose_device(device)
        settings = resolve_settings([], saved.settings)
        given: dict[str, Any] = {
            "num_classes": len(saved.classes),
            "class_names": saved.classes.names,
            "device": where,
        }
        run = RunDirectory(saved.run, lock=False)
        if run.frequencies.is_file():
            shares = torch.from_numpy(read_frequencies(run.frequencies, saved.classes))
            given["class_shares"] = shares.float().to(where)
        if run.related.is_file():
            related = torch.from_numpy(read_pairs(run.related, saved.classes))
            given["related"] = related.to(where)

        def part(slot: Slot, name: str) -> Any:
            return slot.registry.build(name, settings.options, slot.section, **given)

        mixer = part(SLOTS.mixer, settings.mixing.mixer)
        if isinstance(mixer, Mixup):
            raise ConfigError(f"mixing.mixer {settings.mixing.mixer} of the run has no masks")
        names = list(saved.networks)
        student = next((name for name in names if name == "student"), names[0])
        teacher = next((name for name in names if name != "student"), student)
        arithmetic = [
            saved.place(name, where, precision) for name in dict.fromkeys((student, teacher))
        ]
        return cls(
            saved.networks[teacher],
            saved.networks[student],
            mixer,
            part(SLOTS.augment, settings.augmentation.name),
            settings.data.resize,
            where,
            arithmetic[0].autocast,
        )

    def see(self, dataset: SegmentationDataset, index: int) -> Seen:
        """What the teacher sees in a sample.

        Raises:
            DataError: It cannot be read.
        """
        pixels = dataset.image(index, self.input_size)
        image = torch.from_numpy(pixels).permute(2, 0, 1)
        if self.input_size is not None:
            image = resized_image(image, self.input_size)
        return seen_by(self.teacher, image.contiguous().to(self.device), self.autocast)


class Judged(NamedTuple):
    """An image with its scores.

    Attributes:
        sample: Its index.
        score: What it is ranked by: the mean of a map in [0, 1].
        features: float32, shape (K,), on the CPU.
    """

    sample: int
    score: float
    features: NDArray[np.float32]


class Map(NamedTuple):
    """What the score of an image is the mean of.

    Attributes:
        seen: What the teacher sees.
        doubt: float32, shape (H, W), in [0, 1]: inconsistency or entropy of each pixel.
        counted: bool, shape (H, W): where it is known.
    """

    seen: Seen
    doubt: Tensor
    counted: Tensor


@final
class Judge:
    """Judges images one by one, each mixed with those that follow in a seeded order.

    The teacher labels each image once: the last ones are remembered. Images that cannot be read
    are left out, with a message for each.
    """

    def __init__(
        self, networks: Networks, dataset: SegmentationDataset, indices: Sequence[int], how: How
    ) -> None:
        self.networks = networks
        self.dataset = dataset
        self.how = how
        order = torch.randperm(len(indices), generator=generator(how.seed, "order")).tolist()
        self.order = [indices[place] for place in order]
        self.inconsistency = Inconsistency(
            networks.student,
            networks.mixer,
            networks.augment,
            how.views,
            how.batch_size,
            how.seed,
            networks.autocast,
        )
        self._places = {index: place for place, index in enumerate(self.order)}
        self._partners = how.views if how.strategy == "inconsistency" else 0
        self._see = functools.lru_cache(maxsize=self._partners + 2)(self._read)
        self._named: set[int] = set()

    def _read(self, index: int) -> Seen | None:
        try:
            return self.networks.see(self.dataset, index)
        except DataError as error:
            if index not in self._named:
                self._named.add(index)
                LOG.warning(f"skipped {error}")
            return None

    def map(self, index: int) -> Map | None:
        """The map of a sample; None if it cannot be read."""
        own = self._see(index)
        if own is None:
            return None
        if self.how.strategy == "entropy":
            return Map(own, own.entropy.float(), torch.ones_like(own.labels, dtype=torch.bool))
        place, count = self._places[index], len(self.order)
        following = (self._see(self.order[(place + k) % count]) for k in range(1, count))
        others = list(itertools.islice(filter(None, following), self._partners))
        key = self.dataset.samples[index].id
        return Map(own, *self.inconsistency(own, others or [own], key))

    def all(self) -> Iterator[Judged | None]:
        """Every image in the seeded order; None for one that cannot be read."""
        for index in self.order:
            found = self.map(index)
            if found is None:
                yield None
            else:
                yield Judged(index, self.score(found), found.seen.features.cpu().numpy())

    def score(self, found: Map) -> float:
        """The mean of a map."""
        seen, doubt, counted = found
        num_classes = self.networks.teacher.spec.num_classes
        return float(mean_over_classes(doubt, seen.labels, counted, num_classes, self.how.balance))


@final
@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Attributes:
        candidates: Among which.
        chosen: Indices of samples, in the order of the choice.
        scores: Index of each sample that was judged -> its score.
        judge: Judged them; None for the random strategy.
    """

    candidates: Candidates
    chosen: tuple[int, ...]
    scores: dict[int, float] = field(default_factory=dict)
    judge: Judge | None = None


def select(
    networks: Networks | None,
    candidates: Candidates,
    how: How,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Selection:
    """Choose images; the same arguments choose the same.

    Images that are labeled already count as chosen where diversity matters.

    Args:
        networks: The networks; needed by every strategy but the random one.
        candidates: Images that may be chosen.
        how: See there; of fewer images than the budget all are chosen.
        on_progress: Called with the number of images judged, and of all.

    Raises:
        DataError: No image can be read.
    """
    indices = candidates.indices
    if how.strategy == "random":
        order = torch.randperm(len(indices), generator=generator(how.seed, "random")).tolist()
        return Selection(candidates, tuple(indices[place] for place in order[: how.budget]))
    assert networks is not None
    judge = Judge(networks, candidates.dataset, indices, how)
    known = _known(networks, candidates) if how.diversity else []
    total = len(indices)
    judged: list[Judged] = []
    with any_sizes():
        for done, one in enumerate(judge.all(), start=1):
            judged += [] if one is None else [one]
            on_progress(done, total)
    if not judged:
        raise DataError(f"{candidates.dataset.root}: no image can be read")
    judged.sort()  # by sample: the order of equal scores does not depend on the seed
    chosen = choose(
        np.array([one.score for one in judged]),
        np.stack([one.features for one in judged]),
        how.budget,
        how.diversity,
        np.stack(known) if known else None,
    )
    scores = {one.sample: one.score for one in judged}
    return Selection(candidates, tuple(judged[at].sample for at in chosen), scores, judge)


def _known(networks: Networks, candidates: Candidates) -> list[NDArray[np.float32]]:
    """Features of the images that are labeled already."""
    labels = candidates.labels
    if labels is None:
        return []
    return [networks.see(labels.dataset, i).features.cpu().numpy() for i in labels.labeled]
