"""The supervised part of every method, with labeled images mixed with each other."""

from __future__ import annotations

import pytest
import torch

from mixseg.config.sections import LossSettings, MixingSettings
from mixseg.ignore import IGNORE
from mixseg.losses import LOSSES
from mixseg.methods import METHODS
from mixseg.mixing import MIXERS, MIXUP, build_mixer, mixup_shares
from mixseg.training.build import Given
from tests.methods.test_methods import CLASSES, Stepped, batches, build, random_of, stepped

PASTED = sorted(set(MIXERS) - {"none"})


def step(name: str = "supervised", seed: int = 0, **changes: object) -> Stepped:
    shares = Given(frequencies=torch.full((CLASSES,), 1 / CLASSES))
    method = build(name, shares, **changes)
    given = batches(seed, size=3)
    return stepped(method, {stream: given[stream] for stream in method.streams}, 0)


@pytest.mark.parametrize("mixer", PASTED)
def test_image_and_label_of_a_pixel_come_from_one_image(mixer: str) -> None:
    given = batches(0, size=3)["labeled"]
    labels = given.labels.long()
    mask = build_mixer(MixingSettings(mixer=mixer), CLASSES).mask(labels, random_of(0).device)
    output = step(mixing=MixingSettings(labeled=mixer)).outputs["labeled"]
    assert output.labels is not None
    changed = 0
    for b in range(3):
        partner = (b + 1) % 3
        for y in range(32):
            for x in range(40):
                kept = bool(mask[b, y, x]) and bool(given.valid[b, y, x])
                source = b if kept else partner
                assert output.labels[b, y, x] == labels[source, y, x]
                changed += source != b
    assert changed, "something was pasted"
    assert torch.equal(output.counted, output.labels != IGNORE)


def test_mixup_targets_are_weighted_means_of_labels() -> None:
    given = batches(0, size=3)["labeled"]
    shares = mixup_shares(3, 0.7, random_of(0).host).flatten().tolist()
    output = step(mixing=MixingSettings(labeled="mixup", alpha=0.7)).outputs["labeled"]
    targets = output.labels
    assert targets is not None
    for b in range(3):
        first, second = given.labels[b].long(), given.labels[(b + 1) % 3].long()
        for y in range(0, 32, 5):
            for x in range(40):
                expected = torch.zeros(CLASSES)
                known = IGNORE not in (int(first[y, x]), int(second[y, x]))
                if known:
                    expected[first[y, x]] += shares[b]
                    expected[second[y, x]] += 1 - shares[b]
                assert bool(output.counted[b, y, x]) == known
                torch.testing.assert_close(targets[b, :, y, x], expected)


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("mixer", sorted({*MIXERS, MIXUP}))
def test_every_method_takes_every_mixer(name: str, mixer: str) -> None:
    result = step(name, mixing=MixingSettings(labeled=mixer))
    loss = sum(result.losses.values())
    assert isinstance(loss, torch.Tensor)
    assert torch.isfinite(loss)
    plain = step(name).losses["supervised"]
    assert (result.losses["supervised"] == plain) == (mixer == "none")


@pytest.mark.parametrize("mixer", ["none", "mixup", "classmix"])
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_takes_every_kind_of_target(mixer: str, loss: str) -> None:
    names = {"supervised_loss": LossSettings(name=loss), "mixing": MixingSettings(labeled=mixer)}
    found = step(**names).losses["supervised"]
    found.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(found)
