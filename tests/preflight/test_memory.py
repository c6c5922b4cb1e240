"""What a run will take, against what real steps take."""

from __future__ import annotations

import pytest
from mixseg.data.registry import CLASSES

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError, TrainingError
from mixseg.preflight.memory import (
    checkpoints_at_once,
    estimate_needs,
    extrapolated,
    measure_elsewhere,
    smaller,
)
from tests.end_to_end.processes import REPOSITORY


def deeplab(**changes: object) -> Settings:
    """The preset of Cityscapes with an image in each part of the batch."""
    given = {
        "data.root": "nowhere",
        "data.batch_labeled": 1,
        "data.batch_unlabeled": 1,
        "training.device": "cpu",
        "training.precision": "fp32",
    }
    return resolve_settings([REPOSITORY / "configs" / "ssl" / "cityscapes.yaml"], given | changes)


def test_a_line_through_two_sizes() -> None:
    measured = {100: 1100, 300: 1300}
    assert extrapolated(measured, 1000) == 2000
    assert extrapolated(measured, 300) == 1300
    # Larger images are never said to be cheaper.
    assert extrapolated({100: 1300, 300: 1290}, 1000) == 1290


def test_smaller_images_of_the_same_form() -> None:
    found = smaller({"labeled": (512, 1024), "unlabeled": (256, 512)}, 256 * 256)
    assert found == {"labeled": (192, 352), "unlabeled": (96, 192)}
    few = {"labeled": (65, 129)}
    assert smaller(few, 256 * 256) == few


@pytest.mark.parametrize(
    ("every", "keep", "keep_every", "iterations", "count"),
    [(1000, 2, 0, 40_000, 3), (1000, 2, 10_000, 40_000, 7), (1000, 5, 0, 2000, 3)],
)
def test_checkpoints_in_the_folder(
    every: int, keep: int, keep_every: int, iterations: int, count: int
) -> None:
    changes = {
        "checkpoints.every": every,
        "checkpoints.keep": keep,
        "checkpoints.keep_every": keep_every,
        "training.iterations": iterations,
    }
    assert checkpoints_at_once(deeplab(**changes)) == count


def test_what_fails_elsewhere_is_said() -> None:
    small = {"model.backbone": "resnet18", "model.weights": "none", "model.batch_norm": "train"}
    settings = deeplab(**small, **{"data.batch_labeled": 1, "data.batch_unlabeled": 1})
    # One pixel is left of an image, of which batch norm makes nothing while it is trained.
    broken = {"labeled": (8, 8), "unlabeled": (8, 8)}
    with pytest.raises(TrainingError, match="a training step on images of 8x8 and 8x8 failed: "):
        measure_elsewhere(settings, broken, CLASSES["cityscapes"])


@pytest.mark.slow
def test_a_size_that_the_network_does_not_take() -> None:
    model = {"model.backbone": "test_maxvit", "model.output_stride": 32, "model.weights": "none"}
    model |= {"model.batch_norm": "train"}
    sizes = {"labeled": (160, 160), "unlabeled": (160, 160)}
    with pytest.raises(ConfigError, match="test_maxvit"):
        measure_elsewhere(deeplab(**model), sizes, CLASSES["cityscapes"], [(321, 321)])


@pytest.mark.slow
def test_within_a_fifth_of_the_measured_peak() -> None:
    """DeepLabv2 with ResNet-101, whose peak is that of real steps of the whole size."""
    needs = estimate_needs(deeplab(**{"data.crop": (448, 448)}))
    assert not needs.is_measured
    for crop in ((448, 448), (512, 512), (513, 640)):
        sizes = {"labeled": crop, "unlabeled": crop}
        settings = deeplab(**{"data.crop": crop})
        peak = measure_elsewhere(settings, sizes, CLASSES["cityscapes"]).peak
        pixels = 2 * crop[0] * crop[1]
        # Of one form or another: what is measured at small sizes is the same for all.
        assert extrapolated(needs.measured, pixels) == pytest.approx(peak, rel=0.2), crop
    assert needs.memory == extrapolated(needs.measured, 2 * 448 * 448)
