"""Masks and mixing, against loops over images and SciPy's filter."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from mixseg.benchmark import transcription
from mixseg.benchmark.measure import Comparison, compare
from mixseg.benchmark.transcribed_step import MASKED, drawn_masks
from mixseg.benchmark.workload import Workload
from mixseg.mixing import build_mixer, with_partner


def measure_mixers(work: Workload) -> list[Comparison]:
    """The masks of each mixer, and mixing images, labels and weights with one."""
    labels, images = work.labels(work.batch), work.images(work.batch)
    weights = torch.ones(labels.shape, device=work.device)
    random = work.random("masks")
    found = []
    for name in MASKED:
        settings = dataclasses.replace(work.settings.mixing, mixer=name)
        mixer = build_mixer(settings, work.num_classes)
        found.append(
            compare(
                f"{name} masks",
                lambda mixer=mixer: mixer.mask(labels, random),  # type: ignore[misc]
                lambda settings=settings: drawn_masks(  # type: ignore[misc]
                    settings, labels, random, work.num_classes
                ),
                work.device,
                work.rounds,
            )
        )
    mask = labels % 2 == 0
    parts: tuple[Tensor, ...] = (images, labels, weights)
    found.append(
        compare(
            "mixing images, labels, weights",
            lambda: [with_partner(mask, part) for part in parts],
            lambda: [transcription.mixed(mask, part) for part in parts],
            work.device,
            work.rounds,
        )
    )
    return found
