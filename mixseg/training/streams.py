"""From settings to the streams of training batches, stage by stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from mixseg.config.sections import DataSettings, SamplingSettings, SourceSettings
from mixseg.config.values import Size
from mixseg.data.check import first_size, median_side
from mixseg.data.loading import default_workers
from mixseg.data.sampling import RareClassSampler
from mixseg.data.streams import Batch, StreamDataset, stream_batches
from mixseg.data.transforms import PairedTransform
from mixseg.methods import Method
from mixseg.training.data import TrainingData
from mixseg.training.stages import Stage
from mixseg.training.state import Stream

LARGEST_RATIO = 1.5
"""How much larger images of one stream may be than those of another before people are told."""


def loader_workers(workers: int | None) -> int:
    """Loader processes of each stream; None leaves it to the number of cores."""
    return default_workers() if workers is None else workers


def build_streams(
    opened: TrainingData,
    labeled: DataSettings | SourceSettings,
    data: DataSettings,
    stages: Sequence[Stage],
    method: Method,
    sampling: SamplingSettings,
    *,
    seed: int,
    accumulate: int,
) -> dict[str, Stream]:
    """The streams that a method takes.

    Args:
        opened: The data.
        labeled: Section of the settings about the labeled images.
        data: Section about the images of the other streams, and about all.
        stages: Those of the run; batches are numbered through all of them.
        method: Says which streams there are.
        sampling: How labeled images are drawn; if by their classes, their pixels are counted in
            ``opened``.
        seed: That of the run.
        accumulate: Batches of an optimizer step.
    """
    pinned = next(method.student.parameters()).device.type == "cuda"
    red, green, blue = (round(255 * value) for value in method.student.spec.mean)
    of_source = labeled.interpolation if isinstance(labeled, SourceSettings) else "bilinear"

    samplers = {
        name: RareClassSampler(
            opened.class_pixels[name],
            seed=seed,
            stream=name,
            temperature=sampling.temperature,
            min_pixels=sampling.min_pixels,
            min_crop_share=sampling.min_crop_share,
            retries=sampling.retries,
            resize=(labeled if name == "labeled" else data).resize,
        )
        for name in (opened.with_labels if sampling.name == "rare" else ())
    }

    def batches(name: str, first: int, last: int) -> Iterator[Batch]:
        """Batches number ``first`` to ``last`` - 1; a loader for each stage, at its turn."""
        dataset, indices = opened.streams[name]
        section = labeled if name == "labeled" else data
        for stage in stages:
            before = stage.first * accumulate
            end = min(last, stage.last * accumulate)
            if max(first, before) >= end:
                continue
            transform = PairedTransform(
                resize=section.resize,
                scale=section.scale,
                scale_step=data.scale_step,
                interpolation=of_source if name == "labeled" else "bilinear",
                rotate=data.rotate,
                crop=stage.crop,
                padding=data.padding,
                flip=data.flip,
                fill=(red, green, blue),
            )
            stream = StreamDataset(
                dataset,
                indices,
                transform,
                seed=seed,
                stream=name,
                labeled=name in opened.with_labels,
                instances=name in opened.with_labels and opened.instances,
                bad_share=data.skip_bad_share if data.skip_bad else 0.0,
                sampler=samplers.get(name),
            )
            yield from stream_batches(
                stream,
                stage.batches[name],
                max(first, before) - before,
                end - before,
                loader_workers(data.workers),
                drawn=stage.draws[name],
                pinned=pinned,
            )

    return {name: partial(batches, name) for name in method.streams}


def crop_notes(
    domain: DataSettings | SourceSettings, data: TrainingData, stages: Sequence[Stage]
) -> list[str]:
    """A line if crops are larger than the labeled images, judged by the first one that is read."""
    height, width = domain.resize or first_size(data.labeled, data.split.labeled)
    largest = 1 if domain.scale is None else domain.scale[1]
    size = (round(height * largest), round(width * largest))
    crops = sorted({stage.crop for stage in stages if stage.crop is not None})
    wide = [crop for crop in crops if crop[0] > size[0] and crop[1] > size[1]]
    if not wide:
        return []
    return [
        f"note: crops of {' and '.join(f'{crop[0]}x{crop[1]}' for crop in wide)} are larger than "
        f"the images, at most {size[0]}x{size[1]}; what is missing is padded and ignored"
    ]


def scale_notes(
    resize_labeled: Size | None, resize_unlabeled: Size | None, data: TrainingData
) -> list[str]:
    """A line if unlabeled images are much larger or smaller than labeled ones, before crops.

    Sizes that settings give are meant so.
    """
    if data.unlabeled is data.labeled or (resize_labeled and resize_unlabeled):
        return []
    labeled, unlabeled = (
        min(resize) if resize is not None else median_side(dataset, indices)
        for resize, dataset, indices in (
            (resize_labeled, data.labeled, data.split.labeled),
            (resize_unlabeled, data.unlabeled, data.unlabeled_indices),
        )
    )
    if labeled is None or unlabeled is None:
        return []
    if max(labeled, unlabeled) <= LARGEST_RATIO * min(labeled, unlabeled):
        return []
    return [
        f"note: the shorter side of labeled images has {labeled} pixels, that of unlabeled ones "
        f"{unlabeled} (median): crops of them show things at other scales. Bring the larger ones "
        "to the size of the others, or set data.resize"
    ]
