"""Steps of the methods since the thesis, written down from their papers in plain pieces.

Each goes image by image and takes nothing of mixseg but the networks, and the intensity operations
of AugSeg, which have tests of their own. Random numbers are drawn anew from the generators of the
step, in the order in which its parts draw. Tensors are float64.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mixseg.augmentation import RandAugment
from mixseg.data.streams import Batch
from mixseg.ignore import IGNORE
from mixseg.methods import StepRandom
from mixseg.models import SegmentationModel
from tests.oracles import transcription
from tests.oracles.transcribed_step import augmented

CLASSES = 5
THRESHOLD, DECAY, UNSUPERVISED = 0.32, 0.9, 0.5
MARGIN = (4, 3, 2, 0.1)
JITTER: dict[str, Any] = {
    "augmentation.color_jitter": 0.25,
    "augmentation.color_jitter_probability": 1.0,
    "augmentation.color_jitter_form": "torchvision",
    "augmentation.per": "batch",
    "augmentation.blur": False,
}
WANTED = (0.4, 0.3, 0.1, 0.1, 0.1)
"""Shares of the classes that pseudo-labels are aligned to."""

Losses = dict[str, Tensor]
Masks = Sequence[Tensor]


class Weak(NamedTuple):
    """Unlabeled images with the answers of a teacher; where ``valid`` is false is padding."""

    images: Tensor
    valid: Tensor
    probabilities: Tensor
    labels: Tensor
    confidence: Tensor


class Seen(NamedTuple):
    """Images that the student sees, with its targets and their weights."""

    images: Tensor
    labels: Tensor
    weights: Tensor
    valid: Tensor


class Run:
    """Networks of a run, and what a recipe remembers from step to step."""

    def __init__(self, student: SegmentationModel, teachers: Sequence[SegmentationModel]) -> None:
        self.student = copy.deepcopy(student).train()
        self.teachers = [copy.deepcopy(one).requires_grad_(False) for one in teachers]
        self.first = copy.deepcopy(student).requires_grad_(False).eval()
        self.mean_confidence = [1.0] * CLASSES
        self.running, self.bias = list(WANTED), [0.0] * CLASSES

    def supervised(self, batch: Batch) -> Tensor:
        """L_l of the labeled images."""
        return transcription.supervised_loss(
            self.student(batch.images.double() / 255), batch.labels.long()
        )

    def follow(self, step: int, number: int = 0) -> None:
        """An average moves towards the student."""
        transcription.follow(self.teachers[number], self.student, step, DECAY, buffers=True)


# Targets ------------------------------------------------------------------------------------------


@torch.no_grad()
def answered(network: SegmentationModel, batch: Batch, *, training: bool, flip: bool) -> Weak:
    """Softmax of a teacher, whose own statistics stay as they are."""
    images = batch.images.double() / 255
    network = copy.deepcopy(network).train(training)
    found = torch.softmax(network(images), dim=1)
    if flip:
        found = (found + torch.softmax(network(images.flip(3)), dim=1).flip(3)) / 2
    return labeled(found, images, batch.valid)


def labeled(probabilities: Tensor, images: Tensor, valid: Tensor) -> Weak:
    """The most probable classes; padding has none."""
    confidence, labels = torch.max(probabilities, dim=1)
    return Weak(
        images, valid, probabilities, labels.where(valid, IGNORE), confidence.where(valid, 0.0)
    )


def above(weak: Weak, threshold: float = THRESHOLD) -> Tensor:
    """FixMatch: 1 where the teacher is confident."""
    return (weak.confidence > threshold).double()


def class_adaptive(run: Run, weak: Weak) -> Tensor:
    """Thresholds tau m_c / max m, after the means m have moved by a tenth."""
    for number in range(CLASSES):
        own = weak.confidence[weak.labels == number]
        if len(own) > 0:
            run.mean_confidence[number] *= 0.9
            run.mean_confidence[number] += 0.1 * float(own.mean())
    weights = torch.zeros_like(weak.confidence)
    for number, mean in enumerate(run.mean_confidence):
        limit = THRESHOLD * mean / max(run.mean_confidence)
        weights[(weak.labels == number) & (weak.confidence > limit)] = 1
    return weights


def of_lowest(values: Tensor, valid: Tensor, share: float) -> Tensor:
    """1 at the share of valid pixels with the lowest values."""
    ordered = sorted(values[valid].tolist())
    count = round(share * len(ordered))
    limit = ordered[count - 1] if count else -math.inf
    return ((values <= limit) & valid).double()


def of_low_entropy(weak: Weak, dropped: float) -> Tensor:
    """U2PL: without the pixels of the highest entropy."""
    entropy = -(weak.probabilities * weak.probabilities.log()).sum(1)
    return of_lowest(entropy, weak.valid, 1 - dropped)


def of_high_margin(weak: Weak, kept: float) -> Tensor:
    """S4MC: those with the largest margin, with the support of one neighbor for each class."""
    margin = torch.zeros_like(weak.confidence)
    _, height, width = margin.shape
    for b, y, x in itertools.product(*map(range, margin.shape)):
        around = [
            weak.probabilities[b, :, y + down, x + right]
            for down, right in ((1, 0), (-1, 0), (0, 1), (0, -1))
            if 0 <= y + down < height and 0 <= x + right < width
            if weak.valid[b, y + down, x + right]
        ]
        own = weak.probabilities[b, :, y, x]
        if around:
            most = torch.stack(around).amax(0)
            own = own + math.exp(-0.5) * (most - own * most)
        second, first = own.sort().values[-2:].tolist()
        margin[b, y, x] = first - second
    return of_lowest(-margin, weak.valid, kept)


def confident_share(weak: Weak) -> Tensor:
    """DACS: every pixel inside the margins weighs as much as the share of confident ones."""
    confident = [float(c) > THRESHOLD for c in weak.confidence[weak.valid]]
    _, height, width = weak.valid.shape
    weights = torch.zeros_like(weak.confidence)
    top, bottom, left, right = MARGIN
    rows, columns = slice(int(top), height - int(bottom)), slice(int(left), width - 4)
    assert round(right * width) == 4
    weights[:, rows, columns] = sum(confident) / len(confident)
    return weights * weak.valid


def aligned(run: Run, weak: Weak, rate: float = 0.2, decay: float = 0.9) -> Weak:
    """q~ ~ q exp(b): b of each class grows while the share of its labels is too low."""
    before = weak.probabilities * torch.tensor(run.bias).exp()[:, None, None]
    found = before.argmax(dim=1)[weak.valid].tolist()
    for number, wanted in enumerate(WANTED):
        share = found.count(number) / len(found)
        run.running[number] = decay * run.running[number] + (1 - decay) * share
        lacking = math.log(wanted) - math.log(max(run.running[number], 1e-4))
        moved = run.bias[number] + rate * min(2.0, max(-2.0, lacking))
        run.bias[number] = min(3.0, max(-3.0, moved))
    after = weak.probabilities * torch.tensor(run.bias).exp()[:, None, None]
    return labeled(after / after.sum(1, keepdim=True), weak.images, weak.valid)


# Views --------------------------------------------------------------------------------------------


def boxes(random: StepRandom, like: Tensor, probability: float = 0.5) -> Masks:
    """False in a rectangle that shows the partner; with a probability there is none."""
    count, height, width = like.shape
    draws = torch.rand(4, count, 1, 1, generator=random.device).flatten(1).T.tolist()
    masks = []
    for shape, x, y, share in draws:
        area = (0.02 + 0.38 * share) * height * width
        # Rectangles of the area that fit are at least this flat, and at most this tall.
        flat, tall = (max(min(one, height**2 / area), area / width**2) for one in (0.3, 3.33))
        box_width = round(math.sqrt(area / (flat + (tall - flat) * shape)))
        box_height = min(height, round(area / max(1, box_width)))
        left, top = int(x * (width - box_width + 1)), int(y * (height - box_height + 1))
        mask = torch.ones(height, width, dtype=torch.bool)
        mask[top : top + box_height, left : left + box_width] = False
        masks.append(mask)
    if probability < 1:
        mixed = torch.rand(count, 1, 1, generator=random.device).flatten() < probability
        masks = [mask | ~one for mask, one in zip(masks, mixed, strict=True)]
    return masks


def among_each_other(weak: Weak, weights: Tensor, masks: Masks, away: int = 1) -> Seen:
    """Each image where its mask is true and it is no padding, a later one elsewhere."""
    views = []
    for b, mask in enumerate(masks):
        other, kept = (b + away) % len(masks), mask & weak.valid[b]
        own = (weak.images, weak.labels, weights, weak.valid)
        views.append([torch.where(kept, one[b], one[other]) for one in own])
    return Seen(*map(torch.stack, zip(*views, strict=True)))


def with_labels(
    sources: Sequence[tuple[Batch, int]], weak: Weak, weights: Tensor, random: StepRandom
) -> Seen:
    """ClassMix of labeled images: half of the classes of each, pasted on an unlabeled image."""
    truth = torch.stack([batch.labels[row].long() for batch, row in sources])
    scores = torch.rand(len(truth), CLASSES + 1, generator=random.device)
    masks = transcription.classmix_masks(truth, scores, 0.5)
    views = []
    for b, (batch, row) in enumerate(sources):
        mask = masks[b] & batch.valid[row]
        views.append(
            [
                torch.where(mask, batch.images[row].double() / 255, weak.images[b]),
                torch.where(mask, truth[b], weak.labels[b]),
                torch.where(mask, (truth[b] != IGNORE).double(), weights[b]),
                mask | weak.valid[b],
            ]
        )
    return Seen(*map(torch.stack, zip(*views, strict=True)))


def photometric(images: Tensor, random: StepRandom) -> Tensor:
    """Color jitter of 4 in 5 images and gray of 1 in 5, without blur."""
    order = list(itertools.permutations(range(4)))[
        int(24 * float(torch.rand((), generator=random.host)))
    ]
    changed = []
    for image, draws in zip(
        images, torch.rand(len(images), 8, generator=random.host).tolist(), strict=True
    ):
        # The hue turns half as far as the other factors go.
        shifts = (*draws[:3], 0.5 + 0.5 * (draws[3] - 0.5))
        if draws[4] < 0.8:
            image = transcription.jittered(image, 0.5, shifts, order, "torchvision")
        if draws[5] < 0.2:
            red, green, blue = image
            image = (0.2989 * red + 0.587 * green + 0.114 * blue).expand(3, -1, -1)
        changed.append(image)
    return torch.stack(changed)


def jittered(images: Tensor, random: StepRandom) -> Tensor:
    """The color jitter of DACS, one for the batch."""
    return augmented(JITTER, images, random.host)


# Losses -------------------------------------------------------------------------------------------


def weighted(logits: Tensor, labels: Tensor, weights: Tensor, count: float) -> Tensor:
    """Sum of the weighted cross-entropy of all pixels that have a label, divided by a number."""
    logarithms = torch.log_softmax(logits, dim=1)
    total = logits.new_zeros(())
    for number in range(CLASSES):
        total = total - (logarithms[:, number] * weights)[labels == number].sum()
    return total / count


def over_valid(logits: Tensor, seen: Seen) -> Tensor:
    return weighted(logits, seen.labels, seen.weights, float(seen.valid.sum()))


def over_all(logits: Tensor, seen: Seen) -> Tensor:
    return weighted(logits, seen.labels, seen.weights, seen.valid.numel())


def with_channels(student: SegmentationModel, images: Tensor, factors: Tensor) -> Tensor:
    """Logits of features whose channels (B, K) are multiplied by factors."""
    (features,) = student.encode(images)
    return student.decode([features * factors[:, :, None, None]], images.shape[-2:])


def channels(student: SegmentationModel) -> int:
    return int(student.backbone.feature_info.channels()[-1])


def of_features(run: Run, batch: Batch, chosen: Sequence[int], covered: float) -> Tensor:
    """DAFormer: length of the difference of the features, where a thing covers enough of a cell."""
    images = batch.images.double() / 255
    (wanted,), (found,) = run.first.encode(images), run.student.encode(images)
    rows, columns = found.shape[-2:]
    height, width = images.shape[-2:]
    distances = []
    for b, row, column in itertools.product(range(len(images)), range(rows), range(columns)):
        cell = batch.labels[
            b,
            row * height // rows : -(-(row + 1) * height // rows),
            column * width // columns : -(-(column + 1) * width // columns),
        ]
        if any(float((cell == number).double().mean()) >= covered for number in chosen):
            distances.append((found - wanted)[b, :, row, column].norm())
    assert 0 < len(distances) < len(images) * rows * columns
    return torch.stack(distances).mean()


# Recipes ------------------------------------------------------------------------------------------

Given = Mapping[str, Batch]
Step = Callable[[Run, Given, StepRandom], Losses]


def one_view(
    run: Run,
    given: Given,
    random: StepRandom,
    weigh: Callable[[Weak], Tensor],
    teacher: int = 0,
) -> Losses:
    """FixMatch: L_x + lambda L_s of one strong view, whatever selects the pixels."""
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[teacher], given["unlabeled"], training=False, flip=False)
    seen = among_each_other(weak, weigh(weak), boxes(random, weak.labels))
    images = photometric(seen.images, random)
    return losses | {"consistency": UNSUPERVISED * over_valid(run.student(images), seen)}


def fixmatch(run: Run, given: Given, random: StepRandom) -> Losses:
    return one_view(run, given, random, above)


def adaptive(run: Run, given: Given, random: StepRandom) -> Losses:
    return one_view(run, given, random, lambda weak: class_adaptive(run, weak))


def u2pl(run: Run, given: Given, random: StepRandom) -> Losses:
    """A fifth at first, none after four steps; without the loss on negatives."""
    left = 0.2 * (1 - random.step / 4)
    return one_view(run, given, random, lambda weak: of_low_entropy(weak, left))


def s4mc(run: Run, given: Given, random: StepRandom) -> Losses:
    return one_view(run, given, random, lambda weak: of_high_margin(weak, 0.6))


def alternating(run: Run, given: Given, random: StepRandom) -> Losses:
    """Na et al.: the other teacher labels in every second step."""
    return one_view(run, given, random, above, teacher=random.step % 2)


def by_the_student(run: Run, given: Given, random: StepRandom) -> Losses:
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.student, given["unlabeled"], training=False, flip=False)
    seen = among_each_other(weak, above(weak), boxes(random, weak.labels))
    images = photometric(seen.images, random)
    return losses | {"consistency": UNSUPERVISED * over_valid(run.student(images), seen)}


def by_a_frozen_network(run: Run, given: Given, random: StepRandom) -> Losses:
    return one_view(run, given, random, above, teacher=1)


def by_aligned_labels(run: Run, given: Given, random: StepRandom) -> Losses:
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[0], given["unlabeled"], training=False, flip=False)
    weak = aligned(run, weak)
    seen = among_each_other(weak, above(weak), boxes(random, weak.labels))
    images = photometric(seen.images, random)
    return losses | {"consistency": UNSUPERVISED * over_valid(run.student(images), seen)}


def unimatch(run: Run, given: Given, random: StepRandom) -> Losses:
    """L_x + (L_s1 + L_s2) / 4 + L_fp / 2, labeled by the student in evaluation mode."""
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.student, given["unlabeled"], training=False, flip=False)
    for name, away in (("consistency", 1), ("consistency-2", 2)):
        seen = among_each_other(weak, above(weak), boxes(random, weak.labels), away)
        images = photometric(seen.images, random)
        losses[name] = over_valid(run.student(images), seen) / 4
    drawn = torch.rand(len(weak.images), channels(run.student), generator=random.device)
    logits = with_channels(run.student, weak.images, (drawn >= 0.5).double() / 0.5)
    seen = Seen(weak.images, weak.labels, above(weak), weak.valid)
    return losses | {"feature-dropout": over_valid(logits, seen) / 2}


def unimatch_v2(run: Run, given: Given, random: StepRandom) -> Losses:
    """L_x + (L_s1 + L_s2) / 2; of most images one view has the channels that the other lacks."""
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[0], given["unlabeled"], training=False, flip=False)
    seed = int(torch.randint(2**62, (), generator=random.host))
    count = len(weak.images)
    for name, second in (("consistency", False), ("consistency-2", True)):
        seen = among_each_other(weak, above(weak), boxes(random, weak.labels), 1 + second)
        images = photometric(seen.images, random)
        own = torch.Generator().manual_seed(seed)
        order = torch.rand(count, 1, generator=own).flatten().argsort().tolist()
        factors = 2 * (torch.rand(count, channels(run.student), generator=own) < 0.5).double()
        for image in order[round(0.6 * count) :]:
            factors[image] = 1
        logits = with_channels(run.student, images, 2 - factors if second else factors)
        losses[name] = over_valid(logits, seen) / 2
    return losses


def augseg(run: Run, given: Given, random: StepRandom) -> Losses:
    """Boxes on every image, all pixels count; without the box that adapts to confidence."""
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[0], given["unlabeled"], training=True, flip=False)
    masks = boxes(random, weak.labels, probability=1)
    seen = among_each_other(weak, weak.valid.double(), masks)
    images = RandAugment(3)(seen.images, random.host)
    return losses | {"consistency": over_valid(run.student(images), seen)}


def dacs(
    run: Run,
    losses: Losses,
    weak: Weak,
    sources: Sequence[tuple[Batch, int]],
    random: StepRandom,
) -> Losses:
    """ClassMix of labeled images, on unlabeled ones that weigh as much as is confident."""
    seen = with_labels(sources, weak, confident_share(weak), random)
    images = jittered(seen.images, random)
    return losses | {"consistency": over_all(run.student(images), seen)}


def in_turn(batch: Batch, weak: Weak) -> list[tuple[Batch, int]]:
    return [(batch, b % len(batch.images)) for b in range(len(weak.images))]


def pasting_labels(run: Run, given: Given, random: StepRandom) -> Losses:
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[0], given["unlabeled"], training=True, flip=False)
    return dacs(run, losses, weak, in_turn(given["labeled"], weak), random)


def daformer(run: Run, given: Given, random: StepRandom) -> Losses:
    """DACS and the feature distance; the teacher sees the mirror image too (VFM-UDA++)."""
    losses = {"supervised": run.supervised(given["labeled"])}
    weak = answered(run.teachers[0], given["unlabeled"], training=True, flip=True)
    losses = dacs(run, losses, weak, in_turn(given["labeled"], weak), random)
    return losses | {"feature-distance": 0.05 * of_features(run, given["labeled"], (0, 3), 0.2)}


def mic(run: Run, given: Given, random: StepRandom) -> Losses:
    """DACS, and the jittered target without 7 in 10 of its blocks."""
    losses = pasting_labels(run, given, random)
    weak = answered(run.teachers[0], given["unlabeled"], training=True, flip=False)
    images = jittered(weak.images, random)
    count, _, height, width = images.shape
    kept = torch.rand(count, -(-height // 12), -(-width // 12), generator=random.device) >= 0.7
    images = images.clone()
    for b, y, x in itertools.product(range(count), range(height), range(width)):
        if not kept[b, y // 12, x // 12]:
            images[b, :, y, x] = torch.tensor(run.student.spec.mean)
    seen = Seen(images, weak.labels, confident_share(weak), weak.valid)
    return losses | {"masked": 0.8 * over_all(run.student(images), seen)}


def with_labeled_target(run: Run, given: Given, random: StepRandom) -> Losses:
    """Three streams: images with labels are pasted from source and target in turn."""
    losses = {"supervised": run.supervised(given["labeled"])}
    losses["supervised_target"] = 0.7 * run.supervised(given["target"])
    weak = answered(run.teachers[0], given["unlabeled"], training=True, flip=False)
    turn: list[tuple[Batch, int]] = []
    for row in range(max(len(given[name].images) for name in ("labeled", "target"))):
        turn += [(given[name], row % len(given[name].images)) for name in ("labeled", "target")]
    first, count = random.step * len(weak.images), len(weak.images)
    sources = [turn[number % len(turn)] for number in range(first, first + count)]
    return dacs(run, losses, weak, sources, random)
