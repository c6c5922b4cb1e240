"""The adversarial temperature regularizer (Kim, Algorithm 1; Kim & Lee, equations 3 to 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor

from mixseg.config import AdversarialSettings
from mixseg.distributed import average_in_place
from mixseg.errors import CheckpointError, TrainingError
from mixseg.ignore import one_hot
from mixseg.losses import build_adversarial_loss, located_mean
from mixseg.methods.method import StreamOutput
from mixseg.models import Discriminator
from mixseg.regularizers.regularizer import Regularizer
from mixseg.temperature import class_maps
from mixseg.training.optimizer_state import optimizer_state, restore_optimizer
from mixseg.training.schedules import Schedule


@final
class AdversarialTemperature(Regularizer):
    """L_G = L_seg + alpha L_adv, with a discriminator D that learns along.

    D sees the ground truth as one-hot maps and the student's softmax of logits / T_d, and learns
    to tell them apart. L_adv is what D thinks of the softmax of logits / T_g. L_seg has the same
    T_g, which is the method's affair (:func:`mixseg.temperature.tempered`).
    """

    def __init__(
        self,
        discriminator: Discriminator,
        settings: AdversarialSettings,
        schedule: Schedule,
        *,
        bf16: bool = False,
    ) -> None:
        """Pair the discriminator with its optimizer.

        Args:
            discriminator: On the device of the student.
            settings: Weights, temperatures, rates.
            schedule: Factor of the discriminator's learning rate.
            bf16: Convolutions of the discriminator in bfloat16. Half precision would need a
                scaler of its own; in such runs the discriminator stays in float32.
        """
        self.discriminator = discriminator.train()
        self.networks = {"discriminator": discriminator}
        self.settings = settings
        self.schedule = schedule
        self.bf16 = bf16
        self.loss = build_adversarial_loss(settings.loss)
        self.optimizer = torch.optim.Adam(
            discriminator.parameters(), lr=settings.lr, betas=settings.betas, foreach=True
        )

    def __call__(
        self, outputs: Mapping[str, StreamOutput], step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step of Algorithm 1 around the method's own; see :class:`Regularizer`."""
        labeled = outputs["labeled"]
        seen = [labeled]
        if self.settings.unlabeled and "unlabeled" in outputs:
            seen.append(outputs["unlabeled"])

        # "Freeze G": D learns from maps without a graph.
        assert labeled.labels is not None
        truth = labeled.labels
        if not truth.is_floating_point():
            truth = one_hot(truth, labeled.logits.shape[1])
        real = self.loss.real(self.judge(truth))
        discrimination = located_mean(real, labeled.counted)
        fake = []
        for output in seen:
            judged = self.judge(maps_of(output, self.settings.temperature_d).detach())
            fake.append(located_mean(self.loss.fake(judged), output.counted))
        discrimination = discrimination + torch.stack(fake).mean()
        self.update(discrimination, step)

        # "Unfreeze G": the judgement has a gradient towards the student and none towards D.
        # (Autocast keeps no copy of weights that need no gradient: these are the moved ones.)
        self.discriminator.requires_grad_(False)
        fool = []
        for output in seen:
            judged = self.judge(maps_of(output, self.settings.temperature_g))
            fool.append(located_mean(self.loss.fool(judged), output.counted))
        self.discriminator.requires_grad_(True)
        adversarial = self.settings.alpha * torch.stack(fool).mean()
        return {"adversarial": adversarial}, {"discriminator": discrimination.detach()}

    def judge(self, maps: Tensor) -> Tensor:
        """What D thinks of maps (B, C, H, W), float32, shape (B, H, W)."""
        if maps.shape[0] * -(-maps.shape[2] // 16) * -(-maps.shape[3] // 16) == 1:
            raise TrainingError(
                f"the discriminator cannot normalize over a batch of one image of "
                f"{maps.shape[2]}x{maps.shape[3]} pixels: use a larger data.crop or batch"
            )
        with torch.autocast(maps.device.type, torch.bfloat16, enabled=self.bf16):
            judged: Tensor = self.discriminator(maps)
        return judged

    def update(self, loss: Tensor, step: int) -> None:
        """Move D down its loss."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * self.schedule(step)
        loss.backward()  # type: ignore[no-untyped-call]
        parameters = self.discriminator.parameters()
        average_in_place([one.grad for one in parameters if one.grad is not None])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def state(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """See :class:`Regularizer`."""
        values, tensors = optimizer_state(self.optimizer)
        weights = self.discriminator.state_dict()
        return values, {
            **{f"discriminator/{name}": tensor for name, tensor in weights.items()},
            **{f"optimizer/{name}": tensor for name, tensor in tensors.items()},
        }

    def restore(self, values: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """See :class:`Regularizer`."""

        def below(part: str) -> dict[str, Tensor]:
            return {
                name.removeprefix(f"{part}/"): tensor
                for name, tensor in tensors.items()
                if name.startswith(f"{part}/")
            }

        try:
            self.discriminator.load_state_dict(below("discriminator"))
        except RuntimeError as error:
            raise CheckpointError(
                "the discriminator of the checkpoint does not fit these settings"
            ) from error
        restore_optimizer(self.optimizer, values, below("optimizer"))


def maps_of(output: StreamOutput, temperature: float) -> Tensor:
    """Softmax of logits / T, all zero where nothing counts; see :func:`class_maps`."""
    return class_maps(output.logits, output.counted, temperature)
