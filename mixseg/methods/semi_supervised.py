"""Semi-supervised training: mean teacher, mixed images (Tranheden & Olsson, 3.2, Figure 3.3)."""

from __future__ import annotations

from typing import final

from mixseg.data.streams import Batch
from mixseg.engine.method import StepRandom
from mixseg.methods.mixed_consistency import MixedBatch, MixedConsistency
from mixseg.targets import PseudoLabels


@final
class SemiSupervised(MixedConsistency):
    """Unlabelled images are mixed with each other."""

    def mix(
        self,
        labeled: Batch,
        unlabeled: Batch,
        teacher_labels: PseudoLabels,
        step: int,
        random: StepRandom,
    ) -> MixedBatch:
        """See :meth:`MixedConsistency.mix`."""
        return self.mix_unlabeled(unlabeled, teacher_labels, step, random)
