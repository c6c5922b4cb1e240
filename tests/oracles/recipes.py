"""Recipes of today, each as its paper writes a step, image by image and pixel by pixel.

As in :mod:`tests.oracles.transcription`, this was written for this project from the equations. What
is shared with mixseg is the networks and the order in which random numbers are drawn. Shapes:
images (B, 3, H, W) in [0, 1], labels int64 (B, H, W) with 255 = ignore, masks bool, weights float.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.data.streams import Batch
from mixseg.ignore import IGNORE
from mixseg.methods import StepRandom
from mixseg.models import SegmentationModel
from tests.oracles import transcription
from tests.oracles.transcribed_step import augmented

Selection = Callable[[Tensor, Tensor, Tensor, Tensor, int], Tensor]
"""(labels, confidence, probabilities (B, C, H, W), valid, step) -> weight of each pixel."""

Change = Callable[[Tensor], Tensor]


# Which pixels count -------------------------------------------------------------------------------


def above(threshold: float) -> Selection:
    """1 where the largest probability is above tau (FixMatch)."""
    return lambda labels, confidence, p, valid, step: ((confidence > threshold) & valid).double()


def everything(
    labels: Tensor, confidence: Tensor, probabilities: Tensor, valid: Tensor, step: int
) -> Tensor:
    """Every pixel of an image (AugSeg)."""
    return valid.double()


def share_above(threshold: float) -> Selection:
    """Everywhere the share of pixels above tau (DACS, DAFormer, MIC)."""

    def weights(
        labels: Tensor, confidence: Tensor, probabilities: Tensor, valid: Tensor, step: int
    ) -> Tensor:
        sure = [float(c > threshold) for c in confidence[valid].tolist()]
        return valid.double() * (sum(sure) / len(sure))

    return weights


class OfEachClass:
    """tau_c = tau m_c / max m, m_c the running mean of the confidence of what is labeled c."""

    def __init__(self, num_classes: int, threshold: float, decay: float) -> None:
        self.mean = [1 / num_classes] * num_classes
        self.threshold, self.decay = threshold, decay

    def __call__(
        self, labels: Tensor, confidence: Tensor, probabilities: Tensor, valid: Tensor, step: int
    ) -> Tensor:
        for number in range(len(self.mean)):
            found = confidence[(labels == number) & valid].tolist()
            if found:
                mean = sum(found) / len(found)
                self.mean[number] = self.decay * self.mean[number] + (1 - self.decay) * mean
        weights = torch.zeros_like(confidence)
        for number, mean in enumerate(self.mean):
            threshold = self.threshold * mean / max(self.mean)
            weights[(labels == number) & valid & (confidence > threshold)] = 1
        return weights


def surest(scores: Tensor, valid: Tensor, share: float) -> Tensor:
    """1 for the share of the valid pixels with the lowest scores."""
    ranked = sorted(scores[valid].tolist())
    count = round(share * len(ranked))
    limit = ranked[count - 1] if count else -math.inf
    return ((scores <= limit) & valid).double()


def low_entropy(dropped: float, steps: int) -> Selection:
    """alpha_t = alpha_0 (1 - t / T) of the pixels, of the highest entropy, are left out (U2PL)."""

    def weights(
        labels: Tensor, confidence: Tensor, probabilities: Tensor, valid: Tensor, step: int
    ) -> Tensor:
        entropy = -(probabilities * probabilities.log()).sum(1)
        return surest(entropy, valid, 1 - dropped * (1 - step / steps))

    return weights


def supported_margin(kept: float) -> Selection:
    """The largest margins of p + b q - b p q, q the surest of four neighbors (S4MC)."""

    def weights(
        labels: Tensor, confidence: Tensor, probabilities: Tensor, valid: Tensor, step: int
    ) -> Tensor:
        count, _, height, width = probabilities.shape
        margins = torch.zeros_like(confidence)
        for b, y, x in itertools.product(range(count), range(height), range(width)):
            near = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            inside = [(v, u) for v, u in near if 0 <= v < height and 0 <= u < width]
            supported = []
            for number, p in enumerate(probabilities[b, :, y, x].tolist()):
                others = [
                    float(probabilities[b, number, v, u]) for v, u in inside if valid[b, v, u]
                ]
                q = max(others, default=0.0)
                supported.append(p + math.exp(-0.5) * (q - p * q))
            first, second = sorted(supported)[:-3:-1]
            margins[b, y, x] = first - second
        return surest(-margins, valid, kept)

    return weights


# Masks --------------------------------------------------------------------------------------------


def partner_boxes(
    size: tuple[int, int], draws: Tensor, area: tuple[float, float], aspect: tuple[float, float]
) -> Tensor:
    """False in a box of a share of the image, of an aspect h / w with which it fits; else true.

    Draws are numbers in [0, 1), shape (4, B): aspect, place from the left, from the top, share.
    """
    height, width = size
    masks = []
    for shape, x, y, share in draws.T.tolist():
        pixels = (area[0] + (area[1] - area[0]) * share) * height * width
        # w = sqrt(pixels / r) <= W and h = sqrt(pixels r) <= H
        low, high = max(aspect[0], pixels / width**2), min(aspect[1], height**2 / pixels)
        ratio = low + (high - low) * shape
        box_width = round(math.sqrt(pixels / ratio))
        box_height = min(height, round(pixels / max(1, box_width)))
        left, top = int(x * (width - box_width + 1)), int(y * (height - box_height + 1))
        mask = torch.ones(size, dtype=torch.bool)
        mask[top : top + box_height, left : left + box_width] = False
        masks.append(mask)
    return torch.stack(masks)


def boxes(labels: Tensor, random: StepRandom) -> Tensor:
    """Masks with the numbers that mixseg's boxes take: 2 to 40 %, aspect 0.3 to 3.33."""
    draws = torch.rand(4, len(labels), 1, 1, generator=random.device).flatten(1)
    return partner_boxes(tuple(labels.shape[1:]), draws, (0.02, 0.4), (0.3, 3.33))  # type: ignore[arg-type]


def half_of_the_classes(labels: Tensor, random: StepRandom) -> Tensor:
    """ClassMix with the numbers that mixseg's takes."""
    scores = torch.rand(len(labels), 6, generator=random.device)
    return transcription.classmix_masks(labels, scores, 0.5)


def blocks(shape: tuple[int, int, int], side: int, ratio: float, random: StepRandom) -> Tensor:
    """Blocks of an image are hidden (false) with a probability (MIC)."""
    count, height, width = shape
    draws = torch.rand(
        count, math.ceil(height / side), math.ceil(width / side), generator=random.device
    )
    shown = torch.ones(shape, dtype=torch.bool)
    for b, y, x in itertools.product(range(count), range(height), range(width)):
        shown[b, y, x] = bool(draws[b, y // side, x // side] >= ratio)
    return shown


# Strong views -------------------------------------------------------------------------------------


def jittered_gray_blurred(images: Tensor, random: StepRandom) -> Tensor:
    """Jitter (.5, .5, .5, .25) with p .8, gray with p .2, blur of .1 to 2 with p .5, by image."""
    number = float(torch.rand((), generator=random.host))
    order = list(itertools.permutations(range(4)))[int(24 * number)]
    draws = torch.rand(len(images), 8, generator=random.host).tolist()
    views = []
    for image, drawn in zip(images, draws, strict=True):
        if drawn[4] < 0.8:
            # With strength 1 a number d shifts by 2 d - 1.
            strengths = zip((0.5, 0.5, 0.5, 0.25), drawn[:4], strict=True)
            numbers = [(1 + strength * (2 * one - 1)) / 2 for strength, one in strengths]
            image = transcription.jittered(image, 1.0, numbers, order, "torchvision")
        if drawn[5] < 0.2:
            gray = 0.2989 * image[0] + 0.587 * image[1] + 0.114 * image[2]
            image = torch.stack([gray] * 3)
        if drawn[6] < 0.5:
            image = blurred(image, 0.1 + 1.9 * drawn[7])
        views.append(image)
    return torch.stack(views)


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Gaussian blur (3, H, W) by a kernel of four sigma."""
    reach = math.ceil(4 * sigma)
    distance = torch.arange(-reach, reach + 1, dtype=image.dtype)
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    kernel = torch.outer(weights, weights) / weights.sum() ** 2
    padded = functional.pad(image[:, None], [reach] * 4, mode="reflect")
    return functional.conv2d(padded, kernel[None, None])[:, 0]


def independent_channels(features: Tensor, rate: float, random: torch.Generator) -> Tensor:
    """Channels that are zero with a probability; the others grow by its complement (Dropout2d)."""
    draws = torch.rand(features.shape[:2], generator=random)
    changed = features.clone()
    for b, channel in itertools.product(*map(range, features.shape[:2])):
        changed[b, channel] *= 0.0 if draws[b, channel] < rate else 1 / (1 - rate)
    return changed


def complementary_channels(
    features: Tensor, second: bool, share: float, random: torch.Generator
) -> Tensor:
    """f m in the first view, f (2 - m) in the second, m in {0, 2}; m = 1 in other images (V2)."""
    order = torch.rand(len(features), 1, generator=random).flatten().argsort().tolist()
    draws = torch.rand(features.shape[:2], generator=random)
    changed = features.clone()
    for b in order[: round(share * len(features))]:
        for channel in range(features.shape[1]):
            m = 2.0 if draws[b, channel] < 0.5 else 0.0
            changed[b, channel] *= 2 - m if second else m
    return changed


# Steps --------------------------------------------------------------------------------------------


class Recipe:
    """FixMatch with a mean teacher, as UniMatch V2 trains it: L = (L_x + L_s) / 2.

    Attributes:
        common: Factor of the paper's losses that mixseg leaves to the learning rate.
    """

    common = 0.5
    views = 1
    mixed_share = 0.5
    decay = 0.996
    mode = "eval"

    def __init__(self, method: Any, selection: Selection) -> None:
        """Copy the networks of a method, whose weights are where training starts."""
        self.student = plainly(method.student).train()
        kept = method.networks.get("teacher", method.networks.get("average"))
        self.teacher = plainly(kept).requires_grad_(False)
        self.teacher.train(self.mode == "train")
        self.selection = selection
        self.shares: list[float] = []
        self.classes = self.student.spec.num_classes

    # The parts that the other recipes change.

    masks = staticmethod(boxes)
    strong = staticmethod(jittered_gray_blurred)

    def answer(self, images: Tensor) -> Tensor:
        """Logits of whoever labels."""
        return self.teacher(images)  # type: ignore[no-any-return]

    def aligned(self, probabilities: Tensor, valid: Tensor) -> Tensor:
        return probabilities

    def counted(self, valid: Tensor) -> Tensor:
        """Pixels outside of the margin."""
        return valid

    def changes(self, random: StepRandom) -> list[Change | None]:
        """What happens to the features of each view."""
        return [None] * self.views

    def further(self, seen: Mapping[str, Any], random: StepRandom) -> dict[str, Tensor]:
        return {}

    def follow(self, step: int) -> None:
        transcription.follow(self.teacher, self.student, step, self.decay, buffers=True)

    # The step.

    def __call__(self, batches: Mapping[str, Batch], random: StepRandom) -> dict[str, Tensor]:
        """Name -> loss of the paper with its factors; their sum is what is minimized."""
        losses = {"supervised": self.common * self.supervised(batches["labeled"])}
        losses |= self.of_target(batches)
        batch = batches["unlabeled"]
        images, valid = batch.images.double() / 255, batch.valid
        with torch.no_grad():
            probabilities = self.aligned(self.answer(images).softmax(1), valid)
        confidence, labels = probabilities.max(1)
        labels[~valid] = IGNORE
        weights = self.selection(labels, confidence, probabilities, valid, random.step)
        self.shares.append(float(weights[valid].mean()))
        weights = weights * self.counted(valid)
        seen: dict[str, Any] = {
            "images": images,
            "labels": labels,
            "weights": weights,
            "valid": valid,
        }
        changes = self.changes(random)
        for view in range(self.views):
            mixed, targets, weighed, shown = self.mixed(view, seen, batches, random)
            logits = self.forward(self.strong(mixed, random), changes[view])
            loss = self.unlabeled_factor / self.views * self.mean(logits, targets, weighed, shown)
            losses[f"consistency-{view + 1}" if view else "consistency"] = self.common * loss
        seen |= {"labeled": batches["labeled"]}
        further = self.further(seen, random)
        return losses | {name: self.common * loss for name, loss in further.items()}

    unlabeled_factor = 1.0

    def of_target(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        return {}

    def supervised(self, batch: Batch) -> Tensor:
        """Mean cross-entropy of the pixels that have a label."""
        logits = self.student(batch.images.double() / 255)
        return transcription.supervised_loss(logits, batch.labels.long())

    def forward(self, images: Tensor, change: Change | None = None) -> Tensor:
        """The student's logits, with other features for the head."""
        if change is None:
            return self.student(images)  # type: ignore[no-any-return]
        maps = self.student.backbone(self.student.normalisation(images))
        head = self.student.head([change(one) for one in maps])
        return self.student.upsampling(head, tuple(images.shape[-2:]))  # type: ignore[no-any-return]

    def mean(self, logits: Tensor, labels: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        """sum(w CE) over the number of pixels that show an image."""
        return self.total(logits, labels, weights) / valid.sum()

    def total(self, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        known = labels != IGNORE
        chosen = logits.log_softmax(1).gather(1, labels.where(known, 0)[:, None])[:, 0]
        return -(chosen * weights)[known].sum()

    def mixed(
        self, view: int, seen: Mapping[str, Any], batches: Mapping[str, Batch], random: StepRandom
    ) -> list[Tensor]:
        """Each image with a part of another one: the next in view 0, the next but one in view 1."""
        masks = self.masks(seen["labels"], random)
        chosen = self.those_mixed(len(masks), random)
        results = [seen[name].clone() for name in ("images", "labels", "weights", "valid")]
        for b, mask in enumerate(masks):
            partner = (b + 1 + view) % len(masks)
            # What is no image is no part of a mix.
            taken = (~mask & chosen[b]) | ~seen["valid"][b]
            for name, one in zip(("images", "labels", "weights", "valid"), results, strict=True):
                one[b][..., taken] = seen[name][partner][..., taken]
        return results

    def those_mixed(self, count: int, random: StepRandom) -> list[bool]:
        if self.mixed_share == 1:
            return [True] * count
        draws = torch.rand(count, 1, 1, generator=random.device).flatten()
        return [draw < self.mixed_share for draw in draws.tolist()]


def plainly(network: SegmentationModel) -> SegmentationModel:
    """A copy whose convolutions are the library's."""
    copied = copy.deepcopy(network)
    setattr(copied.head, "by_taps", False)  # noqa: B010 # a module's attributes have no types
    return copied


class UniMatch(Recipe):
    """(L_x + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2; the student labels, in evaluation mode."""

    views = 2
    unlabeled_factor = 0.5
    decay = 0.99
    mode = "train"

    def answer(self, images: Tensor) -> Tensor:
        self.student.eval()
        logits = self.student(images)
        self.student.train()
        return logits  # type: ignore[no-any-return]

    def further(self, seen: Mapping[str, Any], random: StepRandom) -> dict[str, Tensor]:
        logits = self.forward(
            seen["images"], lambda one: independent_channels(one, 0.5, random.device)
        )
        loss = self.mean(logits, seen["labels"], seen["weights"], seen["valid"])
        return {"feature-dropout": 0.5 * loss}


class UniMatchV2(Recipe):
    """(L_x + (L_s1 + L_s2) / 2) / 2 with complementary channels in half of the images."""

    views = 2

    def changes(self, random: StepRandom) -> list[Change | None]:
        seed = int(torch.randint(2**62, (), generator=random.host))

        def of(second: bool) -> Change:
            own = torch.Generator().manual_seed(seed)
            return lambda one: complementary_channels(one, second, 0.5, own)

        return [of(False), of(True)]


class AugSeg(Recipe):
    """L_x + L_u: every pixel counts, every image is mixed; the augmentation is handed in."""

    common = 1.0
    mixed_share = 1.0
    mode = "train"

    def __init__(self, method: Any, selection: Selection) -> None:
        super().__init__(method, selection)
        self.augment = method.augment

    def strong(self, images: Tensor, random: StepRandom) -> Tensor:  # type: ignore[override]
        return self.augment(images, random.host)  # type: ignore[no-any-return]


class Selecting(Recipe):
    """L_x + L_u with ClassMix: what the selections of FlexMatch, U2PL and S4MC are tried on."""

    common = 1.0
    mixed_share = 1.0
    masks = staticmethod(half_of_the_classes)


class Aligned(Selecting):
    """Labels of (p e^b), where b_c grows by r (log p_c - log m_c), m the share of the labels."""

    wanted: tuple[float, ...]
    rate, running = 0.02, 0.99

    def __init__(self, method: Any, selection: Selection) -> None:
        super().__init__(method, selection)
        self.bias, self.running_shares = [0.0] * self.classes, list(self.wanted)

    def aligned(self, probabilities: Tensor, valid: Tensor) -> Tensor:
        labels = self.biased(probabilities).argmax(1)[valid].tolist()
        for number, wanted in enumerate(self.wanted):
            share = labels.count(number) / len(labels)
            self.running_shares[number] = (
                self.running * self.running_shares[number] + (1 - self.running) * share
            )
            lacking = math.log(wanted / self.running_shares[number])
            self.bias[number] += self.rate * min(2.0, max(-2.0, lacking))
        return self.biased(probabilities)

    def biased(self, probabilities: Tensor) -> Tensor:
        raised = torch.stack(
            [probabilities[:, number] * math.exp(b) for number, b in enumerate(self.bias)], dim=1
        )
        return raised / raised.sum(1, keepdim=True)


class Alternating(Recipe):
    """Two averages: one labels and follows for some steps, then the other (Na et al.)."""

    turn = 2

    def __init__(self, method: Any, selection: Selection) -> None:
        super().__init__(method, selection)
        self.pair = [self.teacher, plainly(method.teacher.pair[1].network).requires_grad_(False)]
        self.pair[1].train(self.mode == "train")
        self.step = 0
        self.followed = [0, 0]

    def answer(self, images: Tensor) -> Tensor:
        return self.pair[self.step // self.turn % 2](images)  # type: ignore[no-any-return]

    def follow(self, step: int) -> None:
        now = step // self.turn % 2
        self.teacher = self.pair[now]
        super().follow(self.followed[now])
        self.followed[now] += 1
        if step == self.turn - 1:
            self.teacher = self.pair[1]
            super().follow(0)
        self.teacher = self.pair[0]
        self.step = step + 1


class Frozen(Recipe):
    """A trained network labels; an average is kept that labels nothing."""

    mode = "train"

    def __init__(self, method: Any, selection: Selection) -> None:
        super().__init__(method, selection)
        self.trained = plainly(method.teacher.trained.network).eval()

    def answer(self, images: Tensor) -> Tensor:
        return self.trained(images)  # type: ignore[no-any-return]


class FromLabeled(Recipe):
    """Parts of labeled images, with true labels that weigh 1, on unlabeled ones; all pixels."""

    common = 1.0
    masks = staticmethod(half_of_the_classes)

    def pasted(self, batches: Mapping[str, Batch], step: int) -> list[tuple[Tensor, ...]]:
        """Image, labels and valid pixels of what is pasted on each image of view 0."""
        labeled, count = batches["labeled"], len(batches["unlabeled"].images)
        rows = [b % len(labeled.images) for b in range(count)]
        return [one_of(labeled, b) for b in rows]

    def mixed(
        self, view: int, seen: Mapping[str, Any], batches: Mapping[str, Batch], random: StepRandom
    ) -> list[Tensor]:
        given = self.pasted(batches, random.step)
        truth = torch.stack([labels for _, labels, _ in given])
        masks = self.masks(truth, random)
        chosen = self.those_mixed(len(masks), random)
        images, targets, weights, shown = (
            seen[name].clone() for name in ("images", "labels", "weights", "valid")
        )
        for b in range(len(masks)):
            other = (b + view) % len(given)
            image, labels, valid = given[other]
            mask = masks[other] & valid
            if chosen[b]:
                images[b][:, mask] = image[:, mask]
                targets[b][mask] = labels[mask]
                weights[b][mask] = (labels != IGNORE).to(weights.dtype)[mask]
                shown[b] |= mask
        return [images, targets, weights, shown]


def one_of(batch: Batch, index: int) -> tuple[Tensor, ...]:
    return batch.images[index].double() / 255, batch.labels[index].long(), batch.valid[index]


class DAFormerAndMIC(FromLabeled):
    """L_S + L_T + lambda_FD L_FD + L_M: DACS with a margin, means over all pixels.

    L_FD is the mean distance of the source's features to those of the encoder at the start where
    one of some classes covers 75 % of a cell; L_M is the loss of the target image with hidden
    blocks. Labeled target images, where there are some, are a third stream.
    """

    mixed_share = 1.0
    decay = 0.999
    mode = "train"
    things: tuple[int, ...] = ()
    target_factor = 0.5
    options: Mapping[str, Any]

    def __init__(self, method: Any, selection: Selection) -> None:
        super().__init__(method, selection)
        self.encoder = plainly(method.student).eval().requires_grad_(False)

    def strong(self, images: Tensor, random: StepRandom) -> Tensor:  # type: ignore[override]
        return augmented(self.options, images, random.host)

    def counted(self, valid: Tensor) -> Tensor:
        """A tenth of the rows at the top and four at the bottom do not count."""
        inner = valid.clone()
        inner[:, : round(0.1 * valid.shape[1])] = False
        inner[:, valid.shape[1] - 4 :] = False
        return inner

    def mean(self, logits: Tensor, labels: Tensor, weights: Tensor, valid: Tensor) -> Tensor:
        return self.total(logits, labels, weights) / labels.numel()

    def further(self, seen: Mapping[str, Any], random: StepRandom) -> dict[str, Tensor]:
        return {
            "feature-distance": 0.005 * self.distance(seen["labeled"]),
            "masked": self.masked(seen, random),
        }

    def distance(self, batch: Batch) -> Tensor:
        images = batch.images.double() / 255
        found = self.student.backbone(self.student.normalisation(images))[-1]
        with torch.no_grad():
            start = self.encoder.backbone(self.encoder.normalisation(images))[-1]
        side = images.shape[-1] // found.shape[-1]
        distances = []
        for b, y, x in itertools.product(*map(range, (len(found), *found.shape[-2:]))):
            cell = batch.labels[b, side * y : side * (y + 1), side * x : side * (x + 1)]
            if any((cell == number).double().mean() >= 0.75 for number in self.things):
                distances.append((found[b, :, y, x] - start[b, :, y, x]).norm())
        assert 2 < len(distances) < len(found) * found[0, 0].numel()
        return torch.stack(distances).mean()

    def masked(self, seen: Mapping[str, Any], random: StepRandom) -> Tensor:
        images = self.strong(seen["images"], random)
        shown = blocks(tuple(seen["labels"].shape), 8, 0.7, random)  # type: ignore[arg-type]
        normalized = self.student.normalisation(images)
        normalized = torch.where(shown[:, None], normalized, 0.0)
        logits = self.student.upsampling(
            self.student.head(self.student.backbone(normalized)), tuple(images.shape[-2:])
        )
        return self.mean(logits, seen["labels"], seen["weights"], seen["valid"])


class WithTargetLabels(DAFormerAndMIC):
    """Source and target have labels, and parts of both are pasted in turn."""

    def of_target(self, batches: Mapping[str, Batch]) -> dict[str, Tensor]:
        return {"supervised_target": self.target_factor * self.supervised(batches["target"])}

    def pasted(self, batches: Mapping[str, Batch], step: int) -> list[tuple[Tensor, ...]]:
        source, target = batches["labeled"], batches["target"]
        rows = max(len(source.images), len(target.images))
        turn = []
        for row in range(rows):
            turn += [one_of(one, row % len(one.images)) for one in (source, target)]
        count = len(batches["unlabeled"].images)
        return [turn[(step * count + b) % len(turn)] for b in range(count)]
