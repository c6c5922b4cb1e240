"""Domain adaptation by cross-domain mixed sampling, DACS (Tranheden & Olsson, 3.2 and Figure 3.4).

The semi-supervised method with one change: labelled images are renderings of the source domain,
unlabelled ones photographs of the target domain, and what is pasted on the photographs comes from
the renderings, cut out along their ground truth.
"""

from __future__ import annotations

from typing import final

import torch

from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import StepRandom, whole_batch
from mixseg.errors import DataError
from mixseg.ignore import IGNORE, one_hot
from mixseg.methods.mixed_consistency import MixedBatch, MixedConsistency
from mixseg.mixing import paste
from mixseg.targets import PseudoLabels


@final
class DomainAdaptation(MixedConsistency):
    """InterMix: source onto target. IntraMix: target images among themselves, as in 3.3."""

    def mix(
        self,
        labeled: Batch,
        unlabeled: Batch,
        teacher_labels: PseudoLabels,
        step: int,
        random: StepRandom,
    ) -> MixedBatch:
        """Paste source pixels with their labels on target images with their pseudo-labels."""
        if self.mixing.domains == "intra":
            return self.mix_unlabeled(unlabeled, teacher_labels, step, random)
        source, target = _repeated(whole_batch(labeled), len(unlabeled.images)), unlabeled
        truth = source.labels.long()
        if source.images.shape != target.images.shape:
            sizes = " and ".join(
                "x".join(map(str, batch.images.shape[-2:])) for batch in (source, target)
            )
            raise DataError(
                f"source and target differ in size ({sizes}) and cannot be mixed: set data.crop. "
                f"Images of the batch: {', '.join(source.ids + target.ids)}"
            )

        mask = self.mixer.mask(truth, random.device) & source.valid
        # Weights and the confident share are those of the target before anything is pasted on it.
        weights = self.weighting(teacher_labels.confidence, target.valid, step) * target.valid
        if self.targets.kind == "soft":
            truth = one_hot(truth, self.num_classes)
        return MixedBatch(
            images=paste(mask, to_unit_range(source.images), to_unit_range(target.images)),
            targets=paste(mask, truth, teacher_labels.targets(self.targets.kind)),
            # Pasted pixels weigh 1: their labels are true. Those without a label do not count.
            weights=paste(mask, (source.labels != IGNORE).to(weights.dtype), weights),
            confident_share=self.confident_share(teacher_labels.confidence, target.valid),
            valid=mask | target.valid,
        )


def _repeated(batch: Batch, count: int) -> Batch:
    """As many elements as there are images to paste on; they are taken in turn."""
    if len(batch.images) == count:
        return batch
    turn = torch.arange(count, device=batch.images.device) % len(batch.images)
    return Batch(batch.images[turn], batch.labels[turn], batch.valid[turn], batch.ids)
