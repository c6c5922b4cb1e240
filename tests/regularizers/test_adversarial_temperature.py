"""The regularizer around the steps of the methods (Kim, Algorithm 1)."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from mixseg.config.UNKNOWN import AdversarialSettings
from torch import Tensor

from mixseg.config.sections import ScheduleSettings, Settings
from mixseg.errors import CheckpointError, ConfigError, TrainingError
from mixseg.ignore import IGNORE
from mixseg.methods import METHODS, StreamOutput
from mixseg.regularizers import AdversarialTemperature, build_regularizers, check_regularizer
from mixseg.training.precision import Precision
from tests.methods.test_methods import CLASSES, Stepped, batches, build, stepped

ON = "adversarial-temperature"
CPU = torch.device("cpu")


def regularizer(seed: int = 0, **changes: Any) -> AdversarialTemperature:
    settings = Settings(
        seed=seed,
        regularizer=ON,
        adversarial=AdversarialSettings(**({"lr": 1e-3} | changes)),
        schedule=ScheduleSettings("constant"),
    )
    (built,) = build_regularizers(settings, CLASSES, Precision("fp32", CPU))
    assert isinstance(built, AdversarialTemperature)
    return built


def output(seed: int = 0, labeled: bool = True, size: tuple[int, int] = (32, 48)) -> StreamOutput:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, CLASSES, *size, generator=random)
    labels = torch.randint(CLASSES, (2, *size), generator=random)
    labels = labels.masked_fill(torch.rand(labels.shape, generator=random) < 0.2, IGNORE)
    return StreamOutput(logits.requires_grad_(), labels != IGNORE, labels if labeled else None)


def result(**outputs: StreamOutput) -> Stepped:
    """A method's step that had these outputs."""
    found = Stepped()
    total = torch.stack([one.logits.square().mean() for one in outputs.values()]).sum()
    found({"supervised": total}, outputs)
    return found


def regularized(built: AdversarialTemperature, found: Stepped, step: int) -> Stepped:
    """The step with what the regularizer adds to it."""
    losses, logs = built(found.outputs, step)
    done = Stepped()
    done({**found.losses, **losses}, found.outputs)
    done.logs = {**found.logs, **logs}
    return done


def weights(built: AdversarialTemperature) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in built.discriminator.state_dict().items()}


def maps(one: StreamOutput, temperature: float) -> Tensor:
    """Written pixel by pixel: softmax of logits / T where there is a label, else zero."""
    logits = one.logits.detach().double().numpy()
    found = np.zeros(logits.shape)
    for b, y, x in np.ndindex(*one.counted.shape):
        if one.counted[b, y, x]:
            powers = np.exp(logits[b, :, y, x] / temperature)
            found[b, :, y, x] = powers / powers.sum()
    return torch.from_numpy(found)


def truth(one: StreamOutput) -> Tensor:
    assert one.labels is not None
    found = np.zeros(one.logits.shape)
    for b, y, x in np.ndindex(*one.counted.shape):
        if one.labels[b, y, x] != IGNORE:
            found[b, one.labels[b, y, x], y, x] = 1
    return torch.from_numpy(found)


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
        return twin(one)[counted].double()

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

    done = regularized(built, result(**given), 4)
    assert float(done.logs["discriminator"]) == pytest.approx(float(expected.detach()), rel=1e-5)
    for name, tensor in built.discriminator.named_parameters():
        moved = dict(twin.named_parameters())[name].detach().float()
        # Adam's first step is the rate times the sign of the gradient; in float32 the sign of a
        # gradient of almost nothing is chance.
        other = (tensor.detach() - moved).abs() > 2e-5
        assert other.float().mean() < 0.01, name
    with torch.no_grad():
        judgement = [fool(judged(maps(one, 0.5), one.counted)) for one in fakes]
    adversarial = float(done.losses["adversarial"].detach())
    assert adversarial == pytest.approx(0.3 * float(sum(judgement)) / len(fakes), rel=1e-3)
    assert set(done.losses) == {"supervised", "adversarial"}


def test_neither_learns_from_the_others_loss() -> None:
    built = regularizer()
    one = output()
    plain = torch.autograd.grad(result(labeled=one).losses["supervised"], one.logits)[0]
    before = weights(built)

    done = regularized(built, result(labeled=one), 0)
    after = weights(built)
    assert any(not torch.equal(before[name], after[name]) for name in before)  # D has learnt
    assert one.logits.grad is None  # and sent nothing to G
    torch.stack(list(done.losses.values())).sum().backward()
    assert one.logits.grad is not None
    assert not torch.allclose(one.logits.grad, plain)  # G hears what D thinks
    for parameter in built.discriminator.parameters():  # and sends nothing back
        assert parameter.grad is None
        assert parameter.requires_grad
    assert all(torch.equal(after[name], tensor) for name, tensor in weights(built).items())
    ignored = ~one.counted.unsqueeze(1).expand_as(one.logits)
    adversarial = one.logits.grad - plain
    assert adversarial[ignored].abs().max() <= 1e-9


def test_alpha_0_changes_nothing_about_the_student() -> None:
    def trained(alpha: float | None) -> dict[str, Tensor]:
        method = build("semi_supervised")
        built = None if alpha is None else regularizer(alpha=alpha)
        optimizer = torch.optim.SGD(method.student.parameters(), lr=0.01)
        for step in range(3):
            found = stepped(method, batches(step), step)
            if built is not None:
                found = regularized(built, found, step)
            optimizer.zero_grad()
            torch.stack(list(found.losses.values())).sum().backward()
            optimizer.step()
            method.after_update(step)
        return {name: tensor.clone() for name, tensor in method.student.state_dict().items()}

    without, zero, some = trained(None), trained(0.0), trained(5.0)
    assert all(torch.equal(without[name], zero[name]) for name in without)
    assert any(not torch.equal(without[name], some[name]) for name in without)


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
        float(regularized(built, result(labeled=areas(step)), step).logs["discriminator"])
        for step in range(40)
    ]
    assert losses[-1] < 0.5 * losses[0]
    one = areas(99)
    judged = built.judge(truth(one).float())[one.counted].mean()
    other = built.judge(maps(one, 1.0).float())[one.counted].mean()
    assert judged > other + 0.3


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_gives_what_it_needs(name: str) -> None:
    method = build(name)
    given = {stream: batches()[stream] for stream in method.streams}
    found = stepped(method, given, 0)
    assert set(found.outputs) == set(method.streams)
    labels = given["labeled"].labels
    assert torch.equal(found.outputs["labeled"].counted, labels != IGNORE)
    for one in found.outputs.values():
        assert one.logits.requires_grad
        assert one.counted.shape == one.logits[:, 0].shape
    done = regularized(regularizer(unlabeled=True), found, 0)
    torch.stack(list(done.losses.values())).sum().backward()
    assert all(torch.isfinite(loss) for loss in done.losses.values())


@pytest.mark.parametrize("name", sorted(METHODS))
def test_t_g_is_the_temperature_of_the_methods_own_losses(name: str) -> None:
    """Training with T_g is training a network whose logits are divided by T_g."""
    hot = AdversarialSettings(temperature_g=0.5)
    method = build(name, regularizer=ON, adversarial=hot)
    plain = build(name)
    for network in plain.networks.values():
        with torch.no_grad():
            for parameter in network.head.parameters():
                parameter.mul_(2)
    given = {stream: batches()[stream] for stream in method.streams}
    found, expected = (stepped(one, given, 0) for one in (method, plain))
    assert set(found.losses) == set(expected.losses)
    for loss, value in expected.losses.items():
        assert float(found.losses[loss].detach()) == pytest.approx(float(value.detach()), rel=1e-5)
    # The temperature is off with the regularizer.
    off = stepped(build(name, adversarial=hot), given, 0)
    assert float(off.losses["supervised"].detach()) != pytest.approx(
        float(found.losses["supervised"].detach())
    )


def test_logits_that_overflow_where_nothing_counts_do_no_harm() -> None:
    built = regularizer(loss="dcgan")
    one = output()
    logits = one.logits.detach().clone()
    logits[~one.counted.unsqueeze(1).expand_as(logits)] = float("inf")
    done = regularized(built, result(labeled=one._replace(logits=logits.requires_grad_())), 0)
    assert torch.isfinite(done.losses["adversarial"])
    assert all(torch.isfinite(tensor).all() for tensor in weights(built).values())


def test_logits_that_are_not_finite_are_seen() -> None:
    one = output()
    spoilt = one._replace(logits=torch.full_like(one.logits, float("nan")).requires_grad_())
    done = regularized(regularizer(), result(labeled=spoilt), 0)
    assert not torch.isfinite(done.losses["adversarial"])  # the trainer stops at it


def test_half_precision_maps_are_judged_in_float32() -> None:
    built = regularizer()
    with torch.autocast("cpu", torch.bfloat16):
        one = output()
        done = regularized(
            built, result(labeled=one._replace(logits=one.logits.to(torch.bfloat16))), 0
        )
    assert done.losses["adversarial"].dtype == torch.float32
    assert done.logs["discriminator"].dtype == torch.float32


def test_the_rate_follows_its_schedule() -> None:
    settings = Settings(
        regularizer=ON,
        adversarial=AdversarialSettings(lr=0.01, schedule="cosine", warmup_steps=4),
        schedule=ScheduleSettings("constant"),
        training=dataclasses.replace(Settings().training, iterations=20),
    )
    (built,) = build_regularizers(settings, CLASSES, Precision("fp32", CPU))
    assert isinstance(built, AdversarialTemperature)
    rates = []
    for step in range(20):
        regularized(built, result(labeled=output()), step)
        rates.append(built.optimizer.param_groups[0]["lr"])
    assert rates[:4] == pytest.approx([0.002, 0.004, 0.006, 0.008])
    expected = [0.005 * (1 + np.cos(np.pi * max(0, step - 4) / 16)) for step in range(4, 20)]
    assert rates[4:] == pytest.approx(expected)


def test_state_goes_round() -> None:
    one, other = regularizer(), regularizer(seed=1)
    assert any(
        not torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items()
    )
    regularized(one, result(labeled=output()), 0)
    values, tensors = one.state()
    other.restore(values, {name: tensor.clone() for name, tensor in tensors.items()})
    for step in (1, 2):
        for built in (one, other):
            regularized(built, result(labeled=output(step)), step)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def test_a_state_for_other_classes_is_refused() -> None:
    values, tensors = regularizer().state()
    tensors["discriminator/convolutions.0.weight"] = torch.zeros(64, CLASSES + 1, 4, 4)
    with pytest.raises(CheckpointError, match="discriminator"):
        regularizer().restore(values, tensors)


def test_the_same_seed_gives_the_same_discriminator_and_touches_no_other() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one, other = regularizer(), regularizer()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def test_one_tiny_image_is_refused() -> None:
    one = output(size=(16, 16))
    assert one.labels is not None
    tiny = StreamOutput(one.logits[:1], one.counted[:1], one.labels[:1])
    with pytest.raises(TrainingError, match="16x16"):
        regularized(regularizer(), result(labeled=tiny), 0)


def test_names_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"regularizer.*adversarial-temprature.*temperature"):
        check_regularizer(Settings(regularizer="adversarial-temprature"))
    with pytest.raises(ConfigError, match=r"adversarial\.loss"):
        check_regularizer(Settings(regularizer=ON, adversarial=AdversarialSettings(loss="wgan")))
    for schedule, warmup, message in (
        ("linear", 0, r"adversarial\.schedule.*constant.*same"),
        ("same", 5, r"adversarial\.warmup_steps"),
        ("one-cycle", 5, r"adversarial\.warmup_steps"),
    ):
        own = AdversarialSettings(schedule=schedule, warmup_steps=warmup)
        with pytest.raises(ConfigError, match=message):
            check_regularizer(Settings(regularizer=ON, adversarial=own))
    assert build_regularizers(Settings(), CLASSES, Precision("fp32", CPU)) == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature_g", 0.0),
        ("temperature_d", -1.0),
        ("lr", 0.0),
        ("alpha", -0.1),
        ("betas", (0.5, 1.0)),
        ("warmup_steps", -1),
    ],
)
def test_ranges_are_checked(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"adversarial\.{field}"):
        Settings(adversarial=AdversarialSettings(**{field: value}))  # type: ignore[arg-type]
