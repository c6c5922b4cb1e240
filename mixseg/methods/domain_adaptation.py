"""Domain adaptation by cross-domain mixed sampling, DACS (Tranheden & Olsson, 3.2 and Figure 3.4).

The semi-supervised method with one change: labeled images are renderings of the source domain,
unlabeled ones photographs of the target domain, and what is pasted on the photographs comes from
the renderings, cut out along their ground truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, final

import torch
from torch import Tensor

from mixseg.config.options import At, NeedsStream, TakesStream
from mixseg.config.values import Weight
from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.distributed import own_shard
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE, one_hot
from mixseg.methods.labeled import LabeledImages, target_term
from mixseg.methods.method import whole_batch
from mixseg.methods.passes import Passes
from mixseg.methods.semi_supervised import SemiSupervised
from mixseg.mixing import Identity, paste
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.styles import Style
from mixseg.targets import PseudoLabels, View
from mixseg.targets.margins import inside


@METHODS.register("domain_adaptation")
@final
class DomainAdaptation(SemiSupervised):
    """InterMix: parts of source images are pasted on target images.

    Args:
        student: See :class:`SemiSupervised`, which also says what ``parts`` are.
        style: Gives source images the look of the target before they are pasted; None leaves them.
        domains: Source classes onto target images (InterMix), or target images among themselves
            (IntraMix).
        labeled_target: Part of the target's training split whose labels are used next to the
            source, as data.labeled: a fraction, a number, full, a list file, a pair of list files
            joined by a comma, or FILE.pkl@1/8; by default none.
        target_weight: Factor of the supervised loss of labeled target images.
        pasted_from: Labeled images that are pasted: those of the source, of the target, or of both
            in turn.

    Raises:
        ConfigError: InterMix without a mixer: nothing of the target would be seen; IntraMix with a
            style.
        DataError: In a step of InterMix, images of the two domains differ in size.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    command = "uda"
    source_domain = "needed"

    def __init__(
        self,
        student: SegmentationModel,
        *,
        style: Style | None = None,
        domains: Annotated[Literal["inter", "intra"], At("mixing.domains")] = "inter",
        labeled_target: Annotated[
            str | None, TakesStream("target"), At("data.labeled_target")
        ] = None,
        target_weight: Annotated[
            Weight, NeedsStream("target"), At("supervised_loss.target_weight")
        ] = 1.0,
        pasted_from: Annotated[
            Literal["source", "target", "both"], NeedsStream("target"), At("mixing.pasted_from")
        ] = "both",
        **parts: Any,
    ) -> None:
        super().__init__(student, **parts)
        if style is not None and domains == "intra":
            raise ConfigError("style.name: with mixing.domains intra no source image is pasted")
        self.style = style
        self.domains = domains
        self.target_weight = target_weight
        if labeled_target:
            self.streams = (*self.streams, "target")
        self.pasted_from = {
            "source": ("labeled",),
            "target": ("target",),
            "both": ("labeled", "target"),
        }[pasted_from if labeled_target else "source"]
        if domains == "inter" and isinstance(self.mixer, Identity):
            raise ConfigError(
                "mixing.mixer none pastes whole source images, so that the target would never be "
                "seen; for the target as it is set mixing.domains intra as well"
            )

    def supervised(
        self, batch: Mapping[str, Batch], rng: StepRandom, passes: Passes
    ) -> LabeledImages:
        """The source's labeled images, then those of the target where there are some."""
        labeled = super().supervised(batch, rng, passes)
        if "target" in self.streams:
            # The images of each domain are mixed with each other.
            target, loss = self.labeled_mix(batch["target"], rng), self.supervised_loss
            passes.add(
                target.images, lambda logits: target_term(loss, self.target_weight, logits, target)
            )
            if not self.joint_forward:
                passes.run()
        return labeled

    def pasted(self, batch: Mapping[str, Batch], count: int, step: int) -> Batch:
        """The labeled images of all processes that are pasted: those of both domains in turn."""
        whole = [whole_batch(batch[name]) for name in self.pasted_from]
        if len(whole) == 1:
            return _repeated(whole[0], count)
        rows = max(len(one.images) for one in whole)
        source, target = (_repeated(one, rows) for one in whole)
        images, labels, valid = (
            torch.stack(pair, dim=1).flatten(0, 1)
            for pair in zip(source[:3], target[:3], strict=True)
        )
        both = Batch(images, labels, valid, source.ids + target.ids)
        return _repeated(both, count, step * count)

    def mix(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom, number: int = 0
    ) -> tuple[View, dict[str, Tensor]]:
        """Paste source pixels with their labels on target images with their pseudo-labels."""
        if self.domains == "intra":
            return super().mix(batch, pseudo, rng, number)
        target = whole_batch(batch["unlabeled"])
        source = self.pasted(batch, len(target.images), rng.step)
        truth = source.labels.long()
        if source.images.shape != target.images.shape:
            sizes = " and ".join(
                "x".join(map(str, one.images.shape[-2:])) for one in (source, target)
            )
            raise DataError(
                f"source and target differ in size ({sizes}) and cannot be mixed: set data.crop. "
                f"Images of the batch: {', '.join(source.ids + target.ids)}"
            )
        pasted, onto = to_unit_range(source.images), to_unit_range(target.images)
        if self.style is not None:
            pasted = self.style(pasted, onto, rng.device, source.valid, target.valid)
        labels = one_hot(truth, self.student.spec.num_classes) if self.targets == "soft" else truth
        # Pasted pixels weigh 1: their labels are true. Those without a label do not count.
        known = (truth != IGNORE).to(torch.float32)

        # Weights and the confident share are those of the target before anything is pasted on it.
        weights = pseudo.weights
        if weights is None:
            weights = self.weighting(pseudo, target.valid, rng.step)
            weights = weights * inside(self.margin, target.valid)
        images, targets = onto, pseudo.targets(self.targets)
        valid = target.valid
        for partner in range(self.partners):
            # Another source image in each view.
            away = number + partner
            mask = self.mask(truth, rng) & source.valid
            mask, *parts = (one.roll(-away, 0) for one in (mask, pasted, labels, known))
            images, targets, weights = (
                paste(mask, own, other)
                for own, other in zip(parts, (images, targets, weights), strict=True)
            )
            valid = mask | valid
        logs = self.logged(pseudo, pseudo.confidence, target.valid, weights)
        return View(*map(own_shard, (images, targets, weights, valid))), logs

    def mask(self, labels: Tensor, rng: StepRandom) -> Tensor:
        """What is pasted of each image: nothing if it is not mixed; see :class:`SemiSupervised`."""
        if self.domains == "intra":
            return super().mask(labels, rng)
        mask = self.mixer.mask(labels, rng.device)
        if self.probability < 1:
            drawn = torch.rand(len(labels), 1, 1, generator=rng.device, device=labels.device)
            mask = mask & (drawn < self.probability)
        return mask


def _repeated(batch: Batch, count: int, first: int = 0) -> Batch:
    """As many elements as there are images to paste on, in turn, from a number on."""
    turn = torch.arange(first, first + count, device=batch.images.device) % len(batch.images)
    return Batch(batch.images[turn], batch.labels[turn], batch.valid[turn], batch.ids)
