"""The regularizer around the steps of the methods (Kim, Algorithm 1)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mixseg.config.resolve import resolve_settings
from mixseg.errors import CheckpointError, ConfigError, TrainingError
from mixseg.ignore import IGNORE, one_hot
from mixseg.methods import StreamOutput
from mixseg.registry import METHODS
from mixseg.regularizers.adversarial_temperature import AdversarialTemperature
from mixseg.training.build import build_regularizers
from mixseg.training.precision import Precision
from tests.methods.build import CLASSES, batches, build, stepped

ON = {"regularizer": "adversarial-temperature"}


def regularizer(seed: int = 0, **changes: Any) -> AdversarialTemperature:
    options = {f"adversarial.{key}": value for key, value in ({"lr": 1e-3} | changes).items()}
    run = {"seed": seed, "schedule.name": "constant", "training.iterations": 20}
    settings = resolve_settings([], ON | run | options)
    (built,) = build_regularizers(
        settings.regularizer,
        settings.options,
        CLASSES,
        Precision("fp32", torch.device("cpu")),
        settings.schedule,
        settings.training,
        seed,
    )
    assert isinstance(built, AdversarialTemperature)
    return built


def output(seed: int = 0, labeled: bool = True, size: tuple[int, int] = (32, 48)) -> StreamOutput:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, *size, generator=random)
    labels = torch.randint(CLASSES, (2, *size), generator=random)
    labels = labels.masked_fill(torch.rand(labels.shape, generator=random) < 0.2, IGNORE)
    return StreamOutput(logits.requires_grad_(), labels != IGNORE, labels if labeled else None)


def weights(built: AdversarialTemperature) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in built.discriminator.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def maps(one: StreamOutput, temperature: float) -> Tensor:
    """Softmax of logits / T where there is a label, else zero, in float64."""
    powers = (one.logits.detach().double() / temperature).exp()
    return powers / powers.sum(1, keepdim=True) * one.counted.unsqueeze(1)


def truth(one: StreamOutput) -> Tensor:
    assert one.labels is not None
    return one_hot(one.labels, CLASSES).double()


@pytest.mark.parametrize("loss", ["lsgan", "dcgan"])
@pytest.mark.parametrize("unlabeled", [False, True])
def test_a_step_is_algorithm_1(loss: str, unlabeled: bool) -> None:
    options = {"temperature_g": 0.5, "temperature_d": 2.0, "alpha": 0.3}
    built = regularizer(loss=loss, unlabeled=unlabeled, **options)
    given = {"labeled": output(1), "unlabeled": output(2, labeled=False)}
    fakes = list(given.values()) if unlabeled else [given["labeled"]]

    twin = copy.deepcopy(built.discriminator).double()
    adam = torch.optim.Adam(twin.parameters(), lr=1e-3, betas=(0.5, 0.999))

    def judged(one: Tensor, counted: Tensor) -> Tensor:
        found: Tensor = twin(one)[counted].double()
        return found

    def fool(one: Tensor) -> Tensor:
        return (one - 1).square().mean() / 2 if loss == "lsgan" else -one.log().mean()

    real = judged(truth(given["labeled"]), given["labeled"].counted)
    fake = [judged(maps(one, 2.0), one.counted) for one in fakes]
    if loss == "lsgan":
        expected = (real - 1).square().mean() / 2
        expected = expected + sum((one**2).mean() / 2 for one in fake) / len(fake)
    else:
        expected = -real.log().mean() - sum((1 - one).log().mean() for one in fake) / len(fake)
    expected.backward()
    adam.step()

    losses, logs = built(given, 4)
    assert float(logs["discriminator"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    moved = dict(twin.named_parameters())
    for name, tensor in built.discriminator.named_parameters():
        # Adam's first step is the rate times the sign of the gradient; in float32 the sign of a
        # gradient of almost nothing is chance.
        other = (tensor.detach() - moved[name].detach().float()).abs() > 2e-5
        assert other.float().mean() < 0.01, name
    with torch.no_grad():
        judgement = [fool(judged(maps(one, 0.5), one.counted)) for one in fakes]
    assert losses.keys() == {"adversarial"}
    adversarial = float(losses["adversarial"].detach())
    assert adversarial == pytest.approx(0.3 * float(sum(judgement)) / len(fakes), rel=1e-3)


def test_neither_learns_from_the_others_loss() -> None:
    built, one = regularizer(), output()
    before = weights(built)
    losses, _ = built({"labeled": one}, 0)
    after = weights(built)
    assert not same(before, after)  # D has learned
    assert one.logits.grad is None  # and sent nothing to G
    losses["adversarial"].backward()
    assert one.logits.grad is not None and one.logits.grad.any()  # G hears what D thinks
    ignored = ~one.counted.unsqueeze(1).expand_as(one.logits)
    assert not one.logits.grad[ignored].any()
    one.logits.grad = None
    losses, _ = regularizer(alpha=0.0)({"labeled": one}, 0)
    losses["adversarial"].backward()
    assert one.logits.grad is not None and not one.logits.grad.any()
    for parameter in built.discriminator.parameters():  # and sends nothing back
        assert parameter.grad is None and parameter.requires_grad
    assert same(after, weights(built))


def test_the_discriminator_tells_noise_from_labels() -> None:
    """Real are areas of one class, fake are maps that change from pixel to pixel."""

    def areas(seed: int) -> StreamOutput:
        random = torch.Generator().manual_seed(seed)
        coarse = torch.randint(CLASSES, (2, 4, 6), generator=random)
        labels = coarse.repeat_interleave(8, 1).repeat_interleave(8, 2)
        labels[:, :, :5] = IGNORE
        return output(seed)._replace(labels=labels, counted=labels != IGNORE)

    built = regularizer(alpha=0.1)
    losses = [
        float(built({"labeled": areas(step)}, step)[1]["discriminator"]) for step in range(40)
    ]
    assert losses[-1] < 0.5 * losses[0]
    one = areas(99)
    real, fake = (built.judge(each.float())[one.counted] for each in (truth(one), maps(one, 1.0)))
    assert real.mean() > fake.mean() + 0.3


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_gives_what_it_needs_and_takes_t_g_for_its_own_losses(name: str) -> None:
    """Training with T_g is training a network whose logits are divided by T_g."""
    method = build(name)
    outputs = stepped(method).outputs
    assert outputs.keys() == set(method.streams)
    assert torch.equal(outputs["labeled"].counted, batches()["labeled"].labels != IGNORE)
    losses, _ = regularizer(unlabeled=True)(outputs, 0)
    losses["adversarial"].backward()
    assert torch.isfinite(losses["adversarial"])

    plain, hot = build(name), build(name, ON | {"adversarial.temperature_g": 0.5})
    for network in plain.networks.values():
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.mul_(2)
    found, expected = stepped(hot), stepped(plain)
    assert found.losses.keys() == expected.losses.keys()
    for loss in expected.losses:
        assert found.value(loss) == pytest.approx(expected.value(loss), rel=1e-5)


def test_what_is_not_finite_is_seen_where_it_counts_alone() -> None:
    built, one = regularizer(loss="dcgan"), output()
    for bad, where, finite in (
        (float("inf"), ~one.counted, True),
        (float("nan"), torch.ones_like(one.counted), False),
    ):
        logits = one.logits.detach().masked_fill(where.unsqueeze(1), bad).requires_grad_()
        losses, _ = built({"labeled": one._replace(logits=logits)}, 0)
        assert bool(torch.isfinite(losses["adversarial"])) == finite  # the loop stops at it
        assert finite == all(torch.isfinite(tensor).all() for tensor in weights(built).values())


def test_half_precision_maps_are_judged_in_float32() -> None:
    one = output()
    with torch.autocast("cpu", torch.bfloat16):
        half = one._replace(logits=one.logits.to(torch.bfloat16))
        losses, logs = regularizer()({"labeled": half}, 0)
    assert losses["adversarial"].dtype == logs["discriminator"].dtype == torch.float32


def test_the_rate_follows_its_schedule() -> None:
    built = regularizer(lr=0.01, schedule="cosine", warmup_steps=4)
    rates = []
    for step in range(20):
        built({"labeled": output()}, step)
        rates.append(built.optimizer.param_groups[0]["lr"])
    assert rates[:4] == pytest.approx([0.002, 0.004, 0.006, 0.008])
    expected = [0.005 * (1 + np.cos(np.pi * max(0, step - 4) / 16)) for step in range(4, 20)]
    assert rates[4:] == pytest.approx(expected)


def test_state_goes_round() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, other = regularizer(), regularizer(seed=1)
    assert torch.equal(torch.rand(3), expected), "no other generator is touched"
    assert same(weights(one), weights(regularizer())) and not same(weights(one), weights(other))
    one({"labeled": output()}, 0)
    values, tensors = one.state()
    other.restore(values, {name: tensor.clone() for name, tensor in tensors.items()})
    for step in (1, 2):
        for built in (one, other):
            built({"labeled": output(step)}, step)
    assert same(weights(one), weights(other))
    tensors["discriminator/convolutions.0.weight"] = torch.zeros(64, CLASSES + 1, 4, 4)
    with pytest.raises(CheckpointError, match="discriminator"):
        other.restore(values, tensors)


def test_one_tiny_image_is_refused() -> None:
    one = output(size=(16, 16))
    assert one.labels is not None
    tiny = StreamOutput(one.logits[:1], one.counted[:1], one.labels[:1])
    with pytest.raises(TrainingError, match="16x16"):
        regularizer()({"labeled": tiny}, 0)


def test_refused() -> None:
    for option, value in (
        ("loss", "wgan"),
        ("schedule", "linear"),
        ("warmup_steps", 5),  # with the student's schedule
        ("temperature_g", 0.0),
        ("temperature_d", -1.0),
        ("lr", 0.0),
        ("alpha", -0.1),
        ("betas", (0.5, 1.0)),
    ):
        with pytest.raises(ConfigError, match=rf"adversarial\.{option}"):
            regularizer(**{option: value})
    with pytest.raises(ConfigError, match="'adversarial-temperature'"):
        resolve_settings([], {"regularizer": "adversarial-temprature"})
