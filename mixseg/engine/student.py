"""The student's forward pass in a training step, in one process or in several."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import final

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mixseg.distributed import world
from mixseg.engine.method import StudentForward
from mixseg.models import ModelOutput, SegmentationModel


def data_parallel(student: SegmentationModel) -> StudentForward:
    """The forward pass of the student for training; with several processes, data-parallel.

    Every process has a copy of the student, and DistributedDataParallel averages their gradients
    in the backward pass. A step must therefore call this and not the student itself.

    Args:
        student: On its device already.
    """
    if world().size == 1:
        return student.forward_with_features
    # A step has two forward passes before its backward pass. Buffers that were broadcast between
    # them would change under the graph of the first; they are averaged after the step instead.
    with warnings.catch_warnings():
        # Newer versions of torch renamed it; older ones have this name alone.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(_WithFeatures(student), broadcast_buffers=False)


def no_gradient_sync(forward: StudentForward) -> AbstractContextManager[None]:
    """Backward passes whose gradients stay in this process until the next one outside of it.

    Args:
        forward: From :func:`data_parallel`.
    """
    return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()


@final
class _WithFeatures(nn.Module):
    def __init__(self, student: SegmentationModel) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> ModelOutput:
        return self.student.forward_with_features(images)
