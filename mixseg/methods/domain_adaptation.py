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
from mixseg.methods.method import StepRandom, whole_batch
from mixseg.methods.semi_supervised import MixedImages, SemiSupervised
from mixseg.mixing import Identity, paste
from mixseg.models import SegmentationModel
from mixseg.registry import METHODS
from mixseg.targets import PseudoLabels


@METHODS.register("domain_adaptation")
@final
class DomainAdaptation(SemiSupervised):
    """InterMix: parts of source images are pasted on target images.

    Args:
        student: See :class:`SemiSupervised`, which also says what ``parts`` are.
        domains: Source classes onto target images (InterMix), or target images among themselves
            (IntraMix).
        labeled_target: Part of the target's training split whose labels are used next to the
            source, as data.labeled: a fraction, a number, full, a list file, a pair of list files
            joined by a comma, or FILE.pkl@1/8; by default none.
        target_weight: Factor of the supervised loss of labeled target images.

    Raises:
        ConfigError: InterMix without a mixer: nothing of the target would be seen.
        DataError: In a step of InterMix, images of the two domains differ in size.
    """

    streams: tuple[str, ...] = ("labeled", "unlabeled")
    command = "uda"
    source_domain = "needed"

    def __init__(
        self,
        student: SegmentationModel,
        *,
        domains: Annotated[Literal["inter", "intra"], At("mixing.domains")] = "inter",
        labeled_target: Annotated[
            str | None, TakesStream("target"), At("data.labeled_target")
        ] = None,
        target_weight: Annotated[
            Weight, NeedsStream("target"), At("supervised_loss.target_weight")
        ] = 1.0,
        **parts: Any,
    ) -> None:
        super().__init__(student, **parts)
        self.domains = domains
        self.target_weight = target_weight
        if labeled_target:
            self.streams = (*self.streams, "target")
        if domains == "inter" and isinstance(self.mixer, Identity):
            raise ConfigError(
                "mixing.mixer none pastes whole source images, so that the target would never be "
                "seen; for the target as it is set mixing.domains intra as well"
            )

    def mix(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom
    ) -> tuple[MixedImages, dict[str, Tensor]]:
        """Paste source pixels with their labels on target images with their pseudo-labels."""
        if self.domains == "intra":
            return super().mix(batch, pseudo, rng)
        target = whole_batch(batch["unlabeled"])
        source = _repeated(whole_batch(batch["labeled"]), len(target.images))
        truth = source.labels.long()
        if source.images.shape != target.images.shape:
            sizes = " and ".join(
                "x".join(map(str, one.images.shape[-2:])) for one in (source, target)
            )
            raise DataError(
                f"source and target differ in size ({sizes}) and cannot be mixed: set data.crop. "
                f"Images of the batch: {', '.join(source.ids + target.ids)}"
            )

        mask = self.mixer.mask(truth, rng.device) & source.valid
        images = paste(mask, to_unit_range(source.images), to_unit_range(target.images))
        labels = one_hot(truth, self.student.spec.num_classes) if self.targets == "soft" else truth
        targets = paste(mask, labels, pseudo.targets(self.targets))
        # Weights and the confident share are those of the target before anything is pasted on it.
        # Pasted pixels weigh 1: their labels are true. Those without a label do not count.
        weights = self.weighting(pseudo, target.valid, rng.step) * target.valid
        weights = paste(mask, (source.labels != IGNORE).to(weights.dtype), weights)
        logs = self.logged(pseudo, pseudo.confidence, target.valid, weights)
        valid = mask | target.valid
        return MixedImages(*map(own_shard, (images, targets, weights, valid))), logs


def _repeated(batch: Batch, count: int) -> Batch:
    """As many elements as there are images to paste on, in turn."""
    if len(batch.images) == count:
        return batch
    turn = torch.arange(count, device=batch.images.device) % len(batch.images)
    return Batch(batch.images[turn], batch.labels[turn], batch.valid[turn], batch.ids)
