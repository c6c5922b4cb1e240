"""The adversarial temperature regularizer (Kim, Algorithm 1; Kim & Lee, equations 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, final

import torch
from torch import Tensor

from mixseg.config.options import ByRun, NeedsStream
from mixseg.config.values import NoSteps, Range, Rate, Temperature, Weight
from mixseg.distributed import average_in_place
from mixseg.errors import CheckpointError, ConfigError, TrainingError
from mixseg.ignore import one_hot
from mixseg.losses import ADVERSARIAL_LOSSES, located_mean
from mixseg.losses.temperature import class_maps
from mixseg.methods.method import StreamOutput
from mixseg.models import Discriminator
from mixseg.randomness import derive_seed
from mixseg.registry import REGULARIZERS
from mixseg.regularizers.regularizer import Regularizer
from mixseg.training.optimizers import optimizer_state, restore_optimizer
from mixseg.training.schedules import Schedule


@REGULARIZERS.register("adversarial-temperature", section="adversarial")
@final
class AdversarialTemperature(Regularizer):
    """L_G = L_seg + alpha L_adv, with a discriminator D that learns along.

    D sees the ground truth as one-hot maps and the student's softmax of logits / T_d, and learns
    to tell them apart. L_adv is what D thinks of the softmax of logits / T_g. L_seg has the same
    T_g, which the method applies (:func:`mixseg.losses.temperature.tempered`).

    Args:
        num_classes: Channels of the maps.
        device: Of the student.
        seed: Of the run; the discriminator draws its weights from a generator of its own, so that
            nothing else of a run changes.
        schedules: From the name of a schedule (or ``same``) and steps of warm-up to a schedule.
        bf16: Convolutions of the discriminator in bfloat16. Half precision would need a scaler of
            its own; in such runs the discriminator stays in float32.
        channels_last: Memory layout of the discriminator.
        alpha: Weight of what the discriminator thinks of the student's maps; 0.1 for FCN-8s on
            Cityscapes. The segmentation loss beside it is a mean over pixels, although the paper's
            equation 1 sums.
        temperature_g: Temperature of the softmax in the segmentation and adversarial losses (T_g).
        temperature_d: Temperature of the softmax maps that the discriminator learns from (T_d).
        loss: Adversarial loss (Table 3-1).
        lr: Learning rate of the discriminator: 1e-7 for FCN-8s, 5e-8 for ResNet-50.
        betas: Averaging factors of its Adam optimizer.
        schedule: Schedule of its learning rate: same (as the student's, without the factors of
            stages), or one by name.
        warmup_steps: Steps of linear warm-up of a schedule of its own.
        unlabeled: Take the student's maps of mixed unlabeled images for fakes too.
    """

    def __init__(
        self,
        num_classes: int,
        device: torch.device,
        seed: int,
        schedules: Callable[[str, int], Schedule],
        *,
        bf16: Annotated[bool, ByRun()] = False,
        channels_last: Annotated[bool, ByRun()] = False,
        alpha: Weight = 0.05,
        temperature_g: Temperature = 1.0,
        temperature_d: Temperature = 1.0,
        loss: Literal["lsgan", "dcgan"] = "lsgan",
        lr: Rate = 1e-7,
        betas: Annotated[tuple[float, float], Range(0, 1, below=True)] = (0.5, 0.999),
        schedule: str = "same",
        warmup_steps: NoSteps = 0,
        unlabeled: Annotated[bool, NeedsStream("unlabeled")] = False,
    ) -> None:
        if warmup_steps and schedule == "same":
            raise ConfigError(
                "adversarial.warmup_steps does nothing with adversarial.schedule same; give poly, "
                "cosine or constant"
            )
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(derive_seed(seed, "discriminator"))
            self.discriminator = Discriminator(num_classes)
        self.discriminator.to(device).train()
        if channels_last:
            self.discriminator.to(memory_format=torch.channels_last)
        self.networks = {"discriminator": self.discriminator}
        self.temperature = temperature_g
        self.map_temperature: float = temperature_d
        self.alpha = alpha
        self.unlabeled = unlabeled
        self.lr = lr
        self.schedule = schedules(schedule, warmup_steps)
        self.bf16 = bf16
        self.loss = ADVERSARIAL_LOSSES[loss]
        self.optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=lr, betas=betas, foreach=True
        )

    def __call__(
        self, outputs: Mapping[str, StreamOutput], step: int
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """One step of Algorithm 1 around the method's own; see :class:`Regularizer`."""
        labeled = outputs["labeled"]
        seen = [labeled]
        if self.unlabeled and "unlabeled" in outputs:
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
            judged = self.judge(maps_of(output, self.map_temperature).detach())
            fake.append(located_mean(self.loss.fake(judged), output.counted))
        discrimination = discrimination + torch.stack(fake).mean()
        self.update(discrimination, step)

        # "Unfreeze G": the judgement has a gradient towards the student and none towards D.
        # (Autocast keeps no copy of weights that need no gradient: these are the moved ones.)
        self.discriminator.requires_grad_(False)
        fool = []
        for output in seen:
            judged = self.judge(maps_of(output, self.temperature))
            fool.append(located_mean(self.loss.fool(judged), output.counted))
        self.discriminator.requires_grad_(True)
        adversarial = self.alpha * torch.stack(fool).mean()
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
        """Take a step of D's optimizer."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * self.schedule(step)
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
