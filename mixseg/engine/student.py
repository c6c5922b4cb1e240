"""The student as a training step asks it, in one process or in several."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager, nullcontext
from typing import final

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mixseg.distributed import world
from mixseg.engine.method import Asked
from mixseg.models import Answer, SegmentationModel


def asked_by(student: SegmentationModel) -> Asked:
    """How a step asks the student.

    Of several processes each has a student of its own, and after a backward pass all have the mean
    of their gradients: a step must therefore ask in this way and not by the student's own method.

    Args:
        student: On its device already.
    """
    if world().size == 1:
        return student.answer
    # A step asks twice before it goes back. Statistics that were copied from the first process in
    # between would change under the graph of the first answer; they are averaged after the step.
    with warnings.catch_warnings():
        # Newer versions of torch have another name for it, which older ones do not know.
        warnings.simplefilter("ignore", FutureWarning)
        return DistributedDataParallel(_Answering(student), broadcast_buffers=False)


def alone(ask: Asked) -> AbstractContextManager[None]:
    """Backward passes whose gradients stay in this process until one outside of it adds its own.

    Args:
        ask: From :func:`asked_by`.
    """
    return ask.no_sync() if isinstance(ask, DistributedDataParallel) else nullcontext()


@final
class _Answering(nn.Module):
    def __init__(self, student: SegmentationModel) -> None:
        super().__init__()
        self.student = student

    def forward(self, images: Tensor) -> Answer:
        return self.student.answer(images)
