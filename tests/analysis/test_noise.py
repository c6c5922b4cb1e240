"""Real steps on noise in a process of their own, and what they tell of larger images."""

from __future__ import annotations

import pytest

from mixseg.analysis.costs import estimate_needs, extrapolated
from mixseg.analysis.noise import NoiseRun
from mixseg.config.resolve import resolve_settings
from mixseg.errors import ConfigError, TrainingError
from tests.end_to_end.processes import REPOSITORY


def deeplab(size: tuple[int, int], **changes: object) -> NoiseRun:
    """The preset of Cityscapes with an image in each part of the batch."""
    given = {"data.root": "nowhere", "data.batch_labeled": 1, "data.batch_unlabeled": 1}
    given |= {"training.device": "cpu", "training.precision": "fp32", "data.crop": size} | changes
    preset = REPOSITORY / "configs" / "ssl" / "cityscapes.yaml"
    return NoiseRun.of(resolve_settings([preset], given), None)


def test_what_fails_elsewhere_is_said() -> None:
    small = {"model.backbone": "resnet18", "model.weights": "none", "model.batch_norm": "train"}
    # One pixel is left of an image, of which batch norm makes nothing while it is trained.
    run = deeplab((32, 32), **small)
    with pytest.raises(TrainingError, match="8x8"):
        run.at({"labeled": (8, 8), "unlabeled": (8, 8)}).measure_elsewhere()


@pytest.mark.slow
def test_a_size_that_the_network_does_not_take() -> None:
    model = {
        "model.backbone": "maxvit_rmlp_pico_rw_256",
        "model.output_stride": 32,
        "model.weights": "none",
    }
    run = deeplab((256, 256), **model, **{"model.batch_norm": "train"})
    with pytest.raises(ConfigError, match="maxvit_rmlp_pico_rw_256"):
        run.measure_elsewhere([(321, 321)])


@pytest.mark.slow
def test_within_a_fifth_of_the_measured_peak() -> None:
    """DeepLabv2 with ResNet-101, whose peak is that of real steps of the whole size."""
    needs = estimate_needs(deeplab((448, 448)))
    assert not needs.is_measured
    for crop in ((448, 448), (512, 512), (513, 640)):
        run = deeplab(crop)
        # Of one form or another: what is measured at small sizes is the same for all.
        peak = run.measure_elsewhere().peak
        assert extrapolated(needs.measured, run.pixels) == pytest.approx(peak, rel=0.2), crop
    assert needs.memory == extrapolated(needs.measured, 2 * 448 * 448)
