"""Strong augmentation, against jitter image by image and a kernel of a tenth of the image."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from mixseg.benchmark import transcription
from mixseg.benchmark.measure import Comparison, compare
from mixseg.benchmark.transcribed_step import drawn_masks
from mixseg.benchmark.workload import Workload
from mixseg.data.strong_augmentation import BLUR_SIGMA, blurred, jittered
from mixseg.mixing import build_mixer, with_partner

STRENGTH = 0.25
"""Of the jitter in the thesis."""


def measure_augment(work: Workload) -> list[Comparison]:
    """Jitter, blur, and both after ClassMix."""
    images, labels = work.images(work.batch), work.labels(work.batch)
    random = work.random("masks")
    settings = dataclasses.replace(work.settings.mixing, mixer="classmix")
    mixer = build_mixer(settings, work.num_classes)
    draws, order, sigma = [0.2, 0.7, 0.4, 0.9], 0.3, sum(BLUR_SIGMA) / 2

    def plain_jitter(batch: Tensor) -> Tensor:
        return torch.stack(
            [
                transcription.jittered(one, STRENGTH, draws, (1, 2, 3, 0), "torchvision")
                for one in batch
            ]
        )

    def own() -> None:
        mixed = with_partner(mixer.mask(labels, random), images)
        blurred(jittered(mixed, STRENGTH, draws, order), sigma)

    def plain() -> None:
        masks = drawn_masks(settings, labels, random, work.num_classes)
        mixed = transcription.mixed(masks, images)
        transcription.blurred(plain_jitter(mixed), sigma)

    pairs = {
        "colour jitter": (
            lambda: jittered(images, STRENGTH, draws, order),
            lambda: plain_jitter(images),
        ),
        "blur": (lambda: blurred(images, sigma), lambda: transcription.blurred(images, sigma)),
        "classmix, jitter, blur": (own, plain),
    }
    return [compare(name, *pair, work.device, work.rounds) for name, pair in pairs.items()]
