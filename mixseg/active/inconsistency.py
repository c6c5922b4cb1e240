"""How much mixing changes what is seen in an image (Tranheden & Olsson, 5.3.4).

Training makes the student agree with the teacher on mixed images. Where it still does not, an
object is not recognized in another context or partly covered: a label there teaches most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.nn import functional

from mixseg.augmentation import Augmentation
from mixseg.config.values import Size
from mixseg.data.transforms import resized_ids, resized_image, to_unit_range
from mixseg.evaluation.inference import Autocast
from mixseg.mixing import Mixer, paste
from mixseg.models import SegmentationModel
from mixseg.randomness import generator


class Seen(NamedTuple):
    """What the teacher sees in an image.

    Attributes:
        image: uint8 RGB, shape (3, H, W), at the size of the network's input.
        labels: uint8, shape (H, W): the most probable class.
        entropy: float16, shape (H, W): of its distribution, as a share of the largest, in [0, 1].
        features: float32, shape (K,): its coarsest features, averaged over the image.
    """

    image: Tensor
    labels: Tensor
    entropy: Tensor
    features: Tensor

    def resized(self, size: Size) -> Seen:
        """With image and labels of another height and width."""
        if self.labels.shape == size:
            return self
        image, labels = resized_image(self.image, size), resized_ids(self.labels, size)
        return self._replace(image=image, labels=labels)


@torch.inference_mode()
def seen_by(teacher: SegmentationModel, image: Tensor, autocast: Autocast = nullcontext) -> Seen:
    """What a network in evaluation mode sees in an image, uint8 (3, H, W), on its device."""
    with autocast():
        logits, features = teacher.forward_with_features(to_unit_range(image[None]))
    logs = functional.log_softmax(logits[0].float(), dim=0)
    # One class alone has no entropy.
    entropy = -(logs.exp() * logs).sum(dim=0) / math.log(max(2, len(logs)))
    return Seen(
        image,
        logs.argmax(dim=0).to(torch.uint8),
        entropy.clamp_(0, 1).half(),
        features[0].float().mean(dim=(1, 2)),
    )


def disagreement(logits: Tensor, labels: Tensor) -> Tensor:
    """1 - p(label): how improbable the teacher's class is to the student.

    Args:
        logits: float, shape (B, C, H, W).
        labels: Class of each pixel, any integer type, shape (H, W), the same in the whole batch.

    Returns:
        float32 in [0, 1], shape (B, H, W).
    """
    logits = logits.float()
    wanted = labels.long().expand(len(logits), 1, -1, -1)
    logs = logits.gather(1, wanted)[:, 0] - logits.logsumexp(dim=1)
    return -torch.expm1(logs.clamp_(max=0))


def mean_over_classes(
    values: Tensor, labels: Tensor, counted: Tensor, num_classes: int, balance: float
) -> Tensor:
    """The mean of a map, in which small classes may count more than their area.

    Each class has the mean over its counted pixels, and the weight area^(1 - balance): with a
    balance of 0 all pixels weigh the same, with 1 all classes that are there.

    Args:
        values: float, shape (H, W).
        labels: Class of each pixel, any integer type, shape (H, W).
        counted: bool, shape (H, W).
        num_classes: C.
        balance: In [0, 1].

    Returns:
        float64 scalar; 0 where no pixel counts.
    """
    ids, counts = labels.long().flatten(), counted.flatten().double()
    none = torch.zeros(num_classes, dtype=torch.float64, device=values.device)
    area = none.index_add(0, ids, counts)
    total = none.index_add(0, ids, values.flatten().double() * counts)
    weight = torch.where(area > 0, area ** (1 - balance), 0)
    mean = weight @ (total / area.clamp(min=1))
    return mean / weight.sum().clamp(min=torch.finfo(torch.float64).tiny)


@final
@dataclass(frozen=True)
class Inconsistency:
    """Mixes an image with others and asks the student, which knows it by itself, what is there.

    In every second view parts of the image lie on another image, in the views between parts of
    another image lie on it, along masks of the mixer from the teacher's labels; each view is
    augmented. A pixel's inconsistency is the mean :func:`disagreement` over the views in which it
    shows.

    Attributes:
        student: The network, in evaluation mode.
        mixer: Draws the masks.
        augment: Augmentation of the mixed images.
        views: Number of views.
        batch_size: Views per forward pass; it changes the memory that is needed, not what is drawn.
        seed: Of masks and augmentation.
        autocast: Makes the context of each forward pass.
    """

    student: nn.Module
    mixer: Mixer
    augment: Augmentation
    views: int = 8
    batch_size: int = 4
    seed: int = 0
    autocast: Autocast = nullcontext

    @torch.inference_mode()
    def __call__(self, own: Seen, others: Sequence[Seen], key: str) -> tuple[Tensor, Tensor]:
        """The inconsistency of an image.

        Args:
            own: The image, on the device of the student.
            others: At least one image to mix it with, in turn; others are resized to its size.
            key: What is drawn depends on it and the seed.

        Returns:
            float32 in [0, 1], shape (H, W), 0 where a pixel showed in no view; and whether it
            showed in one, bool, shape (H, W).
        """
        total = torch.zeros(own.labels.shape, device=own.labels.device)
        times = torch.zeros_like(total)
        for first in range(0, self.views, self.batch_size):
            numbers = range(first, min(first + self.batch_size, self.views))
            views = [self.view(own, others[n % len(others)], key, n) for n in numbers]
            images, shows = map(torch.cat, zip(*views, strict=True))
            with self.autocast():
                logits = self.student(images)
            total += (disagreement(logits, own.labels) * shows).sum(dim=0)
            times += shows.sum(dim=0)
        return total / times.clamp(min=1), times > 0

    def view(self, own: Seen, other: Seen, key: str, number: int) -> tuple[Tensor, Tensor]:
        """One view, float (1, 3, H, W) in [0, 1], and where the image shows in it, bool (1, H, W).

        What is drawn depends on the seed, the key and the number of the view alone.
        """
        height, width = own.labels.shape
        other = other.resized((height, width))
        on_other = number % 2 == 0
        pasted = own if on_other else other
        rng = generator(self.seed, "mask", key, number, device=own.labels.device)
        mask = self.mixer.mask(pasted.labels.long()[None], rng)
        shows = mask if on_other else ~mask
        images = (to_unit_range(one.image[None]) for one in (own, other))
        mixed = paste(shows, *images)
        return self.augment(mixed, generator(self.seed, "augmentation", key, number)), shows
