"""Distance to the features of the pretrained encoder (DAFormer; Hoyer et al., 2022, III.D)."""

from __future__ import annotations

import copy
from typing import Literal, final

import torch
from torch import Tensor
from torch.nn import functional

from mixseg.config.values import Share, Weight
from mixseg.errors import ConfigError, unknown_name
from mixseg.ignore import one_hot
from mixseg.losses.counted import at_least_float32, counted_mean
from mixseg.models import SegmentationModel
from mixseg.models.model import coarsest
from mixseg.registry import TERMS
from mixseg.terms.term import StepData, Term


@TERMS.register("feature-distance")
@final
class FeatureDistance(Term):
    """The coarsest features of the student stay near those of the encoder that it started from.

    The mean is over places of the feature map where a chosen class covers enough of the cell.

    Args:
        student: Its backbone, as it is now, is copied and never updated.
        class_names: Names of the classes, by their ids; without them, as where costs are measured
            without data, all classes count.
        weight: Factor of the loss (lambda_FD); 0 leaves it out. 0.005 in the paper, 0.1 with
            smooth-l1+cosine in VFM-UDA++.
        distance: Between the vectors of a place: l2, the length of their difference; smooth-l1,
            averaged over channels; cosine, 1 - cos; or smooth-l1+cosine, 0.1 and 0.9 of both.
        classes: Names of classes whose places count, things in the paper; by default all of
            them.
        covered: Least share of a cell that a class has to cover (r).

    Attributes:
        state: The copied backbone, which a resumed run could not build again.

    Raises:
        ConfigError: There is no such class.
    """

    needs_unlabeled = False

    def __init__(
        self,
        student: SegmentationModel,
        class_names: tuple[str, ...],
        weight: Weight = 0.005,
        distance: Literal["l2", "smooth-l1", "cosine", "smooth-l1+cosine"] = "l2",
        classes: tuple[str, ...] = (),
        covered: Share = 0.75,
    ) -> None:
        names = class_names or classes
        for name in classes:
            if name not in names:
                raise ConfigError(f"feature_distance.classes: {unknown_name('class', name, names)}")
        self.encoder = copy.deepcopy(student).requires_grad_(False).eval()
        self.weight = weight
        self.distance = distance
        chosen = [not classes or name in classes for name in class_names]
        chosen = chosen or [True] * student.spec.num_classes
        self.chosen = torch.tensor(chosen, device=next(student.parameters()).device)
        self.covered = covered
        kept = self.encoder.backbone.state_dict() if weight else {}
        self.state = {f"encoder.{name}": tensor for name, tensor in kept.items()}

    def __call__(self, step: StepData) -> Tensor:
        """See :meth:`Term.__call__`."""
        with torch.no_grad():
            wanted = coarsest(self.encoder.encode(step.images))
        found = coarsest(step.student.encode(step.images))
        labels = step.labels
        if not labels.is_floating_point():
            labels = one_hot(labels, len(self.chosen))
        shares = functional.adaptive_avg_pool2d(labels, found.shape[-2:])  # type: ignore[arg-type] # takes a size
        counted = ((shares >= self.covered) & self.chosen[:, None, None]).any(dim=1)
        distance = self._distances(at_least_float32(found), at_least_float32(wanted))
        return counted_mean((distance * counted).sum(), counted.sum())

    def _distances(self, found: Tensor, wanted: Tensor) -> Tensor:
        """The distance of each place, shape (B, h, w)."""
        if self.distance == "l2":
            # Where features are equal, as at the start, the gradient of their distance is 0.
            squared = (found - wanted).square().sum(dim=1)
            same = squared == 0
            return squared.masked_fill(same, 1).sqrt().masked_fill(same, 0)
        smooth = functional.smooth_l1_loss(found, wanted, reduction="none").mean(dim=1)
        cosine = 1 - functional.cosine_similarity(found, wanted, dim=1)
        return {
            "smooth-l1": smooth,
            "cosine": cosine,
            "smooth-l1+cosine": 0.1 * smooth + 0.9 * cosine,
        }[self.distance]
