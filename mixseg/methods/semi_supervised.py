"""Semi-supervised training: mean teacher, mixed images (Tranheden & Olsson, 3.2, Figure 3.3).

The step of most methods since is this one with other parts: FixMatch, UniMatch, AugSeg and more are
presets of it (docs/methods.md).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from torch import Tensor

from mixseg.augmentation import Augmentation
from mixseg.augmentation.channel_dropout import channel_dropout, complementary_dropout
from mixseg.config.options import At, Needs
from mixseg.config.values import Range, Share, Weight
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import averaged, own_shard
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE, one_hot
from mixseg.losses import Consistency
from mixseg.methods.labeled import LabeledImages, LabeledMix, plain, supervised_term
from mixseg.methods.method import Backward, Loss, Method, StreamOutput, whole_batch
from mixseg.methods.passes import Change, Passes
from mixseg.mixing import Identity, Mixer, paste
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.styles import Style
from mixseg.targets import (
    PseudoLabels,
    Teacher,
    View,
    Weighting,
    class_shares,
    confident_fraction,
)
from mixseg.targets.margins import inside
from mixseg.terms import StepData, Term, states_of


@METHODS.register("semi_supervised")
class SemiSupervised(Method):
    """L = L_l + lambda_u L_u (3.1): the student agrees with the teacher on mixed images.

    Args:
        student: f, on its device already.
        supervised_loss: (logits, targets) -> L_l.
        teacher: f', by default the moving average of f, which gives the pseudo-labels.
        mixer: Draws the masks along which images are mixed.
        weighting: w_m, how much each mixed pixel counts.
        consistency: (logits, targets, weights) -> L_u.
        augment: Strong augmentation of the mixed images.
        labeled_mix: Mixes labeled images with each other, or leaves them as they are.
        terms: Name -> further loss of the step.
        targets: Pseudo-labels (2.11), or the teacher's whole distributions.
        unsupervised_weight: Factor of the whole consistency loss (lambda_u0).
        threshold: Confidence above which a pixel counts as confident (tau); the log tells how many
            do, whatever the weighting.
        margin: Border at the top, bottom, left and right of unlabeled images whose pseudo-labels do
            not count, as where a car's own hood shows: in pixels, or below 1 as a share of the
            side.
        normalize: The consistency loss is the mean over all pixels, as in the thesis, or over valid
            ones, so that padding does not make it smaller.
        views: Strong views of each image, each with its own mask, partner and augmentation; L_u is
            their mean.
        channel_dropout: Channels of the strong views' features that the head does not get: none;
            independent ones of each view; or complementary ones, what one view of a pair lacks the
            other has twice (UniMatch V2).
        dropout_rate: With independent channel dropout: probability with which a channel is dropped.
        dropout_share: With complementary channel dropout: share of the images that have it.
        joint_views: One forward pass of the student for all strong views together.
        probability: Share of the images that are mixed; the others stay as they are.
        partners: Images of which parts lie behind those of an image: its partner is mixed with the
            next one in turn.
        pasted_from: What is pasted on unlabeled images: parts of other unlabeled images with their
            pseudo-labels, or parts of labeled images with their labels, which are true.
        joint_forward: One forward pass of the student for labeled and mixed images together; faster
            with small batches, but batch norm then normalizes over both, and both have to fit into
            memory at once.

    Raises:
        ConfigError: Complementary dropout of an odd number of views; labeled images are pasted
            whole, so that no unlabeled one would be seen.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    command = "ssl"
    style: Style | None = None

    def __init__(
        self,
        student: SegmentationModel,
        *,
        supervised_loss: Loss,
        teacher: Teacher,
        mixer: Mixer,
        weighting: Weighting,
        consistency: Consistency,
        augment: Augmentation,
        labeled_mix: LabeledMix = plain,
        terms: Mapping[str, Term] | None = None,
        targets: Annotated[Literal["hard", "soft"], At("targets.kind")] = "hard",
        unsupervised_weight: Annotated[Weight, At("targets.unsupervised_weight")] = 1.0,
        threshold: Annotated[Share, At("targets.threshold")] = 0.968,
        margin: Annotated[
            tuple[float, float, float, float] | None, Range(0, 4096), At("targets.margin")
        ] = None,
        normalize: Annotated[Literal["all", "valid"], At("targets.normalize")] = "all",
        views: Annotated[int, Range(1, 16), At("views.count")] = 1,
        channel_dropout: Annotated[
            Literal["none", "independent", "complementary"], At("views.channel_dropout")
        ] = "none",
        dropout_rate: Annotated[
            float,
            Range(0, 0.99),
            At("views.dropout_rate"),
            Needs("views.channel_dropout=independent", help="--views.channel_dropout independent"),
        ] = 0.5,
        dropout_share: Annotated[
            Share,
            At("views.dropout_share"),
            Needs(
                "views.channel_dropout=complementary",
                help="--views.channel_dropout complementary",
            ),
        ] = 0.5,
        joint_views: Annotated[bool, At("views.joint")] = False,
        probability: Annotated[Share, At("mixing.probability")] = 1.0,
        partners: Annotated[int, Range(1, 16), At("mixing.partners")] = 1,
        pasted_from: Annotated[
            Literal["unlabeled", "labeled"], At("mixing.pasted_from")
        ] = "unlabeled",
        joint_forward: Annotated[bool, At("model.joint_forward")] = False,
    ) -> None:
        if channel_dropout == "complementary" and views % 2:
            raise ConfigError(
                f"views.channel_dropout complementary makes pairs of views; views.count is {views}"
            )
        if pasted_from == "labeled" and isinstance(mixer, Identity):
            raise ConfigError(
                "mixing.pasted_from labeled with mixing.mixer none pastes whole labeled images, so "
                "that the unlabeled ones would never be seen; choose a mixer, or leave "
                "mixing.pasted_from out"
            )
        self.student = student
        self.supervised_loss = supervised_loss
        self.teacher = teacher
        self.mixer = mixer
        self.weighting = weighting
        self.consistency = consistency
        self.augment = augment
        self.labeled_mix = labeled_mix
        self.terms = {name: term for name, term in (terms or {}).items() if term.weight}
        self.targets = targets
        self.unsupervised_weight = unsupervised_weight
        self.threshold = threshold
        self.margin = margin
        self.normalize = normalize
        self.views = views
        self.channel_dropout = channel_dropout
        self.dropout_rate = dropout_rate
        self.dropout_share = dropout_share
        self.joint_views = joint_views
        self.probability = probability
        self.partners = partners
        self.pasted_from: str = pasted_from
        self.joint_forward = joint_forward
        self.networks = {"student": student, **teacher.networks}
        self.state = {**teacher.state, **weighting.state, **states_of(self.terms)}

    def step(
        self, batch: Mapping[str, Batch], rng: StepRandom, backward: Backward
    ) -> dict[str, Tensor]:
        """L_l, then lambda_u L_u, then further terms; see :class:`Method`."""
        passes = Passes(self.student, backward)

        # L_l = loss(f(x_l), y_l)
        labeled = self.supervised(batch, rng, passes)

        # y_u = argmax f'(x_u), with the confidence max f'(x_u)
        pseudo = self.pseudo_label(batch["unlabeled"])
        if self.weighting.before_mixing:
            pseudo = self.weighed(pseudo, rng)

        # L_u = mean(w_m loss(f(x_m), y_m)), averaged over the views
        dropout = self.dropout(rng)
        logs: dict[str, Tensor] = {}
        for number in range(self.views):
            # x_m, y_m and w_m: images, pseudo-labels and weights, mixed along the same masks
            view, logged = self.mix(batch, pseudo, rng, number)
            logs = logs or logged
            # Only what the student sees is augmented; the targets stay.
            images = self.augment(view.images, rng.host)
            passes.add(images, partial(self.consistency_term, view, number), dropout(number))
            if not (self.joint_forward or self.joint_views):
                passes.run()
        passes.run()

        if self.terms:
            self.further(labeled, batch["unlabeled"], pseudo, rng, backward)
        return logs

    def supervised(
        self, batch: Mapping[str, Batch], rng: StepRandom, passes: Passes
    ) -> LabeledImages:
        """Let labeled images take their pass; gives them as the student sees them."""
        labeled, loss = self.labeled_mix(batch["labeled"], rng), self.supervised_loss
        passes.add(labeled.images, lambda logits: supervised_term(loss, logits, labeled))
        if not self.joint_forward:
            passes.run()
        return labeled

    def pseudo_label(self, unlabeled: Batch) -> PseudoLabels:
        """The teacher's pseudo-labels of the whole batch: this shard's and other processes'."""
        soft = self.targets == "soft" or self.weighting.needs_probabilities
        images = to_unit_range(unlabeled.images)
        return self.teacher.label(images, unlabeled.valid, probabilities=soft).gathered()

    def weighed(self, pseudo: PseudoLabels, rng: StepRandom) -> PseudoLabels:
        """Pseudo-labels of the whole batch with the weights that they have before mixing."""
        valid = pseudo.labels != IGNORE  # they are 255 outside of the image alone
        weights = self.weighting(pseudo, valid, rng.step) * inside(self.margin, valid)
        return pseudo._replace(weights=weights)

    def mix(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom, number: int = 0
    ) -> tuple[View, dict[str, Tensor]]:
        """The images that the student sees in view ``number``; see the two ways below."""
        if self.pasted_from == "unlabeled":
            return self.mix_unlabeled(batch, pseudo, rng, number)
        labeled = repeated(whole_batch(batch["labeled"]), len(pseudo.labels))
        return self.paste_labeled(labeled, batch, pseudo, rng, number)

    def mix_unlabeled(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom, number: int
    ) -> tuple[View, dict[str, Tensor]]:
        """Mix each unlabeled image with another; masks come from pseudo-labels (Algorithm 1).

        Partners may lie in another process's shard: every process mixes the whole batch, and
        returns its own shard of it with the logs of the whole batch. The partner in view ``number``
        is the next image in the first view, the next but one in the second, and so on.
        """
        unlabeled = whole_batch(batch["unlabeled"])
        own = to_unit_range(unlabeled.images)
        counted = inside(self.margin, unlabeled.valid)
        away = 1 + number % max(1, len(own) - 1)
        images, valid, inner, mixed = own, unlabeled.valid, counted, pseudo
        for _ in range(self.partners):
            # Padding is never pasted: its pixels are the partner's, whatever the mask says.
            mask = self.mixer.mask(pseudo.labels, rng.device) | ~self.mixed(len(own), rng)
            mask = mask & unlabeled.valid
            images = paste(mask, own, images.roll(-away, 0))
            valid = paste(mask, unlabeled.valid, valid.roll(-away, 0))
            inner = paste(mask, counted, inner.roll(-away, 0))
            mixed = pseudo.pasted(mask, mixed.mapped(lambda values: values.roll(-away, 0)))
        weights = mixed.weights
        if weights is None:
            weights = self.weighting(mixed, valid, rng.step)
        weights = weights * inner
        logs = self.logged(pseudo, mixed.confidence, valid, weights)
        targets = mixed.targets(self.targets)
        return View(*map(own_shard, (images, targets, weights, valid))), logs

    def paste_labeled(
        self,
        labeled: Batch,
        batch: Mapping[str, Batch],
        pseudo: PseudoLabels,
        rng: StepRandom,
        number: int,
    ) -> tuple[View, dict[str, Tensor]]:
        """Paste labeled pixels with their labels on unlabeled images with their pseudo-labels.

        ``labeled`` has as many images as there are unlabeled ones in the batches of all processes.
        """
        onto = whole_batch(batch["unlabeled"])
        truth = labeled.labels.long()
        if labeled.images.shape != onto.images.shape:
            sizes = " and ".join(
                "x".join(map(str, one.images.shape[-2:])) for one in (labeled, onto)
            )
            raise DataError(
                f"labeled and unlabeled images differ in size ({sizes}) and cannot be mixed: set "
                f"data.crop. Images of the batch: {', '.join(labeled.ids + onto.ids)}"
            )
        pasted, images = to_unit_range(labeled.images), to_unit_range(onto.images)
        if self.style is not None:
            pasted = self.style(pasted, images, rng.device, labeled.valid, onto.valid)
        labels = one_hot(truth, self.student.spec.num_classes) if self.targets == "soft" else truth
        # Pasted pixels weigh 1: their labels are true. Those without a label do not count.
        known = (truth != IGNORE).to(torch.float32)

        # Weights and the confident share are those of the images before anything is pasted on them.
        weights = pseudo.weights
        if weights is None:
            weights = self.weighting(pseudo, onto.valid, rng.step) * inside(self.margin, onto.valid)
        targets, valid = pseudo.targets(self.targets), onto.valid
        for partner in range(self.partners):
            # Another labeled image in each view.
            away = number + partner
            mask = self.mixer.mask_of_labeled(truth, labeled.instances, rng.device) & labeled.valid
            mask, *parts = (one.roll(-away, 0) for one in (mask, pasted, labels, known))
            mask = mask & self.mixed(len(mask), rng)
            images, targets, weights = (
                paste(mask, own, other)
                for own, other in zip(parts, (images, targets, weights), strict=True)
            )
            valid = mask | valid
        logs = self.logged(pseudo, pseudo.confidence, onto.valid, weights)
        return View(*map(own_shard, (images, targets, weights, valid))), logs

    def mixed(self, count: int, rng: StepRandom) -> Tensor:
        """Which images of the whole batch are mixed: bool, shape (B, 1, 1)."""
        device = rng.device.device
        if self.probability == 1:
            return torch.ones(count, 1, 1, dtype=torch.bool, device=device)
        drawn = torch.rand(count, 1, 1, generator=rng.device, device=device)
        return drawn < self.probability

    def dropout(self, rng: StepRandom) -> Callable[[int], Change | None]:
        """Number of a view -> what happens to its features."""
        if self.channel_dropout == "none":
            return lambda number: None
        seed = int(torch.randint(2**62, (), generator=rng.host))

        def of_view(number: int) -> Change:
            own = torch.Generator(rng.device.device)
            if self.channel_dropout == "independent":
                own.manual_seed(seed + number)
                return partial(channel_dropout, rate=self.dropout_rate, generator=own)
            own.manual_seed(seed + number // 2)
            second, share = bool(number % 2), self.dropout_share
            return partial(complementary_dropout, second=second, share=share, generator=own)

        return of_view

    def consistency_term(
        self, view: View, number: int, logits: Tensor
    ) -> tuple[dict[str, Tensor], dict[str, StreamOutput]]:
        """A view's part of lambda_u L_u, and the output for regularizers."""
        name = f"-{number + 1}" if number else ""
        loss = self.unsupervised_weight / self.views * self.unsupervised_loss(logits, view)
        return {f"consistency{name}": loss}, {f"unlabeled{name}": StreamOutput(logits, view.valid)}

    def unsupervised_loss(self, logits: Tensor, view: View) -> Tensor:
        """mean(w loss(logits, y)), over all pixels or over valid ones."""
        loss = self.consistency(logits, view.targets, view.weights)
        if self.normalize == "all":
            return loss
        # Weights are 0 elsewhere; a batch of nothing but padding has no loss.
        share = averaged(view.valid.float().mean())
        return loss / share.clamp(min=1 / view.valid.numel())

    def further(
        self,
        labeled: LabeledImages,
        unlabeled: Batch,
        pseudo: PseudoLabels,
        rng: StepRandom,
        backward: Backward,
    ) -> None:
        """The losses of further terms, on unlabeled images that are not mixed."""
        if pseudo.weights is None:
            pseudo = self.weighed(pseudo, rng)
        assert pseudo.weights is not None
        targets, weights = own_shard(pseudo.targets(self.targets)), own_shard(pseudo.weights)
        images, valid = to_unit_range(unlabeled.images), unlabeled.valid
        seen = StepData(
            student=self.student,
            images=labeled.images,
            labels=labeled.targets,
            random=rng,
            unlabeled=View(images, targets, weights * valid, valid),
            loss=self.unsupervised_loss,
        )
        for name, term in self.terms.items():
            backward({name: term.weight * term(seen)})

    def logged(
        self, pseudo: PseudoLabels, confidence: Tensor, valid: Tensor, weights: Tensor
    ) -> dict[str, Tensor]:
        """The share of confident pixels, the mean weight, and the share of each pseudo-label."""
        confident = confident_fraction(confidence, valid, self.threshold, per="batch")
        shares = class_shares(pseudo.labels, self.student.spec.num_classes)
        return {"confident": confident.mean(), "weight": weights.mean(), "pseudo-labels": shares}

    def after_update(self, step: int) -> None:
        """The teacher follows the student."""
        self.teacher.follow(step)


def repeated(batch: Batch, count: int, first: int = 0) -> Batch:
    """As many elements as there are images to paste on, in turn, from a number on."""
    if len(batch.images) == count and not first:
        return batch
    turn = torch.arange(first, first + count, device=batch.images.device) % len(batch.images)
    return batch.mapped(lambda one: one[turn])
