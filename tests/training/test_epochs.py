from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import dump_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.training.schedules import build_schedule
from mixseg.training.stages import epochs_in_steps, steps_per_epoch


def settings(**values: object) -> Settings:
    return resolve_settings([], {path.replace("__", "."): value for path, value in values.items()})


@pytest.mark.parametrize(
    ("images", "batch", "accumulate", "steps"),
    [
        (1, 8, 4, 1),
        (16, 8, 2, 1),
        (17, 8, 2, 2),
        (10582, 10, 1, 1059),
    ],
)
def test_an_epoch_shows_every_labeled_image(
    images: int, batch: int, accumulate: int, steps: int
) -> None:
    assert steps_per_epoch(images, batch, accumulate) == steps
    assert (steps - 1) * batch * accumulate < images <= steps * batch * accumulate


def test_without_epochs_nothing_changes() -> None:
    found = settings(training__iterations=17, schedule__warmup_steps=3)
    assert epochs_in_steps(found, 100) is found


def test_steps_follow_from_epochs(tmp_path: Path) -> None:
    asked = settings(training__epochs=10, schedule__warmup_epochs=1.5, data__batch_labeled=4)
    found = epochs_in_steps(asked, 41)
    assert (found.training.iterations, found.training.epochs) == (110, 10)
    assert (found.schedule.warmup_steps, found.schedule.warmup_epochs) == (16, 1.5)
    warmup = found.schedule.warmup_steps
    schedule, _ = build_schedule(found.schedule.name, found.options, 110, warmup)
    assert max(range(110), key=schedule) == 16
    # What is saved resolves to itself, and to the same steps again; other images give others.
    (tmp_path / "config.yaml").write_text(dump_settings(found))
    again = resolve_settings([tmp_path / "config.yaml"], {})
    assert again == found == epochs_in_steps(again, 41)
    assert epochs_in_steps(again, 80).training.iterations == 200


def test_either_may_be_given_alone() -> None:
    found = epochs_in_steps(settings(training__iterations=50, schedule__warmup_epochs=2), 20)
    assert (found.training.iterations, found.schedule.warmup_steps) == (50, 20)
    found = epochs_in_steps(settings(training__epochs=3, schedule__warmup_steps=29), 20)
    assert (found.training.iterations, found.schedule.warmup_steps) == (30, 29)


@pytest.mark.parametrize(
    "values",
    [
        {"training__epochs": 3, "schedule__warmup_steps": 30},
        {"training__iterations": 20, "schedule__warmup_epochs": 2},
        {"training__iterations": 20, "schedule__warmup_epochs": 1e6},
    ],
)
def test_a_warm_up_that_never_ends_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warmup_.* must be below .*has 10 steps"):
        epochs_in_steps(settings(**values), 20)
