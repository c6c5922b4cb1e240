"""Semi-supervised training: mean teacher, mixed images (Tranheden & Olsson, 3.2, Figure 3.3)."""

from __future__ import annotations

from typing import final

from mixseg.data.streams import Batch
from mixseg.data.transforms import to_unit_range
from mixseg.engine.method import StepRandom
from mixseg.methods.mixed_consistency import Mixed, MixedConsistency
from mixseg.mixing import with_partner
from mixseg.targets import PseudoLabels


@final
class SemiSupervised(MixedConsistency):
    """Unlabelled images are mixed with each other."""

    def mix(
        self,
        labeled: Batch,
        unlabeled: Batch,
        answer: PseudoLabels,
        step: int,
        random: StepRandom,
    ) -> Mixed:
        """See :meth:`MixedConsistency.mix`."""
        return mix_unlabeled(self, unlabeled, answer, step, random)


def mix_unlabeled(
    method: MixedConsistency,
    unlabeled: Batch,
    answer: PseudoLabels,
    step: int,
    random: StepRandom,
) -> Mixed:
    """Mix each unlabelled image with the next; their pseudo-labels say where (Algorithm 1)."""
    # Padding is never pasted: where the kept image has none of its own, its partner stays.
    mask = method.mixer.mask(answer.labels, random.device) & unlabeled.valid
    confidence = with_partner(mask, answer.confidence)
    valid = with_partner(mask, unlabeled.valid)
    return Mixed(
        images=with_partner(mask, to_unit_range(unlabeled.images)),
        targets=with_partner(mask, answer.targets(method.targets.kind)),
        weights=method.weighting(confidence, valid, step) * valid,
        confident=method.confident(confidence, valid),
        valid=valid,
    )
