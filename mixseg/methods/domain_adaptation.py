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
from mixseg.errors import ConfigError, DataError
from mixseg.methods.labeled import LabeledImages, target_term
from mixseg.methods.method import whole_batch
from mixseg.methods.passes import Passes
from mixseg.methods.semi_supervised import SemiSupervised, repeated
from mixseg.mixing import Identity
from mixseg.models import SegmentationModel
from mixseg.randomness import StepRandom
from mixseg.registry import METHODS
from mixseg.styles import Style
from mixseg.targets import PseudoLabels, View


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
        pasted_from: What is pasted: parts of labeled images of the source (labeled), of the target,
            or of both in turn.

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
            Literal["labeled", "target", "both"], NeedsStream("target"), At("mixing.pasted_from")
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
        self.pasted_from = pasted_from if labeled_target else "labeled"
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
        names = ("labeled", "target") if self.pasted_from == "both" else (self.pasted_from,)
        whole = [whole_batch(batch[name]) for name in names]
        if len(whole) == 1:
            return repeated(whole[0], count)
        if whole[0].images.shape[1:] != whole[1].images.shape[1:]:
            sizes = " and ".join("x".join(map(str, one.images.shape[-2:])) for one in whole)
            raise DataError(
                f"labeled images of source and target differ in size ({sizes}) and cannot be "
                f"pasted in turn: set data.crop. Images of the batch: {', '.join(whole[0].ids)}"
            )
        rows = max(len(one.images) for one in whole)
        source, target = (repeated(one, rows) for one in whole)
        others = iter(one for one in target if isinstance(one, Tensor))
        both = source.mapped(lambda own: torch.stack((own, next(others)), dim=1).flatten(0, 1))
        return repeated(both, count, step * count)

    def mix(
        self, batch: Mapping[str, Batch], pseudo: PseudoLabels, rng: StepRandom, number: int = 0
    ) -> tuple[View, dict[str, Tensor]]:
        """Paste source pixels with their labels on target images with their pseudo-labels."""
        if self.domains == "intra":
            return self.mix_unlabeled(batch, pseudo, rng, number)
        count = len(pseudo.labels)
        return self.paste_labeled(self.pasted(batch, count, rng.step), batch, pseudo, rng, number)
