"""Epochs as steps, and progressive scaling: which steps a stage has, and what it takes."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest

from mixseg.config.flags import add_settings_arguments, typed_overrides
from mixseg.config.resolve import resolve_settings
from mixseg.config.saved import dump_settings
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError
from mixseg.training.checks import check_settings
from mixseg.training.schedules import build_schedule
from mixseg.training.stages import (
    Stage,
    epochs_in_steps,
    of_one_stage,
    plan_stages,
    staged,
    steps_per_epoch,
)

PAPER = [
    {"epochs": 100, "crop": [384, 384], "batch": 64},
    {"epochs": 100, "crop": [512, 512], "batch": 32, "lr_factor": 0.5},
    {"epochs": 100, "crop": [768, 768], "batch": 16, "lr_factor": 0.25},
]


def settings(**values: object) -> Settings:
    return resolve_settings([], {path.replace("__", "."): value for path, value in values.items()})


def in_stages(stages: object = PAPER, **values: object) -> Settings:
    return settings(**{"method": "supervised", "stages": stages} | values)


def planned(found: Settings, images: int) -> tuple[Stage, ...]:
    return plan_stages(found.stages, found.data, found.training, images)


class TestEpochs:
    def test_an_epoch_shows_every_labeled_image(self) -> None:
        for images, batch, accumulate, steps in (
            (1, 8, 4, 1),
            (16, 8, 2, 1),
            (17, 8, 2, 2),
            (10582, 10, 1, 1059),
        ):
            assert steps_per_epoch(images, batch, accumulate) == steps
            assert (steps - 1) * batch * accumulate < images <= steps * batch * accumulate

    def test_steps_follow_from_epochs(self, tmp_path: Path) -> None:
        asked = settings(training__epochs=10, schedule__warmup_epochs=1.5, data__batch_labeled=4)
        found = epochs_in_steps(asked, 41)
        assert (found.training.iterations, found.training.epochs) == (110, 10)
        assert (found.schedule.warmup_steps, found.schedule.warmup_epochs) == (16, 1.5)
        schedule, _ = build_schedule(found.schedule.name, found.options, 110, 16)
        assert max(range(110), key=schedule) == 16
        # What is saved resolves to itself, and to the same steps again; other images give others.
        (tmp_path / "config.yaml").write_text(dump_settings(found))
        again = resolve_settings([tmp_path / "config.yaml"], {})
        assert again == found == epochs_in_steps(again, 41)
        assert epochs_in_steps(again, 80).training.iterations == 200

    def test_either_may_be_given_alone_or_neither(self) -> None:
        found = settings(training__iterations=17, schedule__warmup_steps=3)
        assert epochs_in_steps(found, 100) is found
        found = epochs_in_steps(settings(training__iterations=50, schedule__warmup_epochs=2), 20)
        assert (found.training.iterations, found.schedule.warmup_steps) == (50, 20)
        found = epochs_in_steps(settings(training__epochs=3, schedule__warmup_steps=29), 20)
        assert (found.training.iterations, found.schedule.warmup_steps) == (30, 29)

    def test_a_warm_up_that_never_ends_is_refused(self) -> None:
        for found in (
            settings(training__epochs=3, schedule__warmup_steps=30),
            settings(training__iterations=20, schedule__warmup_epochs=2),
            settings(training__iterations=20, schedule__warmup_epochs=1e6),
            in_stages(schedule__name="poly", schedule__warmup_steps=500, training__iterations=400),
        ):
            with pytest.raises(ConfigError, match=r"schedule\.warmup_"):
                epochs_in_steps(found, 16 if found.stages else 20)
        # The stages are longer than training.iterations, which does not count.
        assert epochs_in_steps(found, 2975).schedule.warmup_steps == 500


def test_the_stages_of_the_paper() -> None:
    found = epochs_in_steps(in_stages(), 2975)
    stages = planned(found, 2975)
    assert found.training.iterations == 100 * (47 + 93 + 186)
    steps = [(stage.first, stage.last) for stage in stages]
    assert steps == [(0, 4700), (4700, 14000), (14000, 32600)]
    assert [stage.crop for stage in stages] == [(384, 384), (512, 512), (768, 768)]
    assert [stage.batches["labeled"] for stage in stages] == [64, 32, 16]
    # The stream goes on where the stage before has left it.
    assert stages[1].draws["labeled"] == 4700 * 64
    assert stages[2].draws["labeled"] == 4700 * 64 + 9300 * 32
    # Rates are those of the schedule times the stage.
    schedule = build_schedule(found.schedule.name, found.options, found.training.iterations)[0]
    both = staged(schedule, stages)
    for (first, last), factor in zip(steps, (1, 0.5, 0.25), strict=True):
        for step in (first, last - 1):
            assert both(step) == pytest.approx(factor * schedule(step))


def test_other_images_keep_their_proportion_and_parts_of_steps_count() -> None:
    stages = [
        {"epochs": 2, "crop": [64, 64], "batch": 4},
        {"epochs": 3, "crop": [96, 96], "batch": 2},
    ]
    sizes = {"data__batch_labeled": 2, "data__batch_unlabeled": 3, "training__accumulate": 2}
    sizes |= {"data__batch_target": 1}
    found = in_stages(stages, method="semi_supervised", **sizes)
    first, second = planned(epochs_in_steps(found, 17), 17)
    assert (first.last, second.last) == (2 * 3, 2 * 3 + 3 * 5)
    assert [stage.batches["unlabeled"] for stage in (first, second)] == [6, 3]
    assert [stage.batches["target"] for stage in (first, second)] == [2, 1]
    assert second.draws == {"labeled": 6 * 2 * 4, "unlabeled": 6 * 2 * 6, "target": 6 * 2 * 2}
    # They come in whole numbers where they come at all.
    stages = [{"epochs": 1, "crop": [64, 64], "batch": 3}]
    with pytest.raises(ConfigError, match=r"stage 1: batch 3"):
        check_settings(in_stages(stages, method="semi_supervised", **sizes))
    check_settings(in_stages(stages, **sizes))
    uda = {"source_domain__dataset": "demo", "data__labeled_target": "1/4"}
    with pytest.raises(ConfigError, match=r"batch 3 labeled images go with 1 target"):
        check_settings(in_stages(stages, **sizes, **uda))


def test_without_stages_there_is_one() -> None:
    found = settings(method="supervised", data__crop=[64, 96], training__iterations=70)
    (stage,) = planned(found, 17)
    assert (stage.first, stage.last, stage.crop, stage.lr_factor) == (0, 70, (64, 96), 1)
    schedule = build_schedule(found.schedule.name, found.options, 70)[0]
    assert staged(schedule, (stage,)) is schedule
    assert of_one_stage(found, 0) is found


def test_a_run_of_one_of_the_stages() -> None:
    found = of_one_stage(in_stages(data__batch_labeled=4, data__batch_unlabeled=2), -1)
    assert (found.stages, found.data.crop) == ((), (768, 768))
    assert (found.data.batch_labeled, found.data.batch_unlabeled) == (16, 8)


def test_stages_are_saved_and_read_back(tmp_path: Path) -> None:
    found = in_stages(data__scale=(0.5, 1.5))  # for which their crops are enough
    path = tmp_path / "config.yaml"
    path.write_text(dump_settings(found))
    assert resolve_settings([path], {}) == found


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, "250"),  # epochs of the run, not those of the stages
        ({"batch": None}, "stage 1: batch"),
        ({"size": 3}, "stage 1: unknown setting 'size'"),
        ({"epochs": "many"}, "stage 1: epochs"),
        ({"epochs": 0}, "stage 1: epochs"),
        ({"crop": [16, 64]}, "stage 1: crop"),
    ],
)
def test_refused(changes: dict[str, object], problem: str) -> None:
    stage = {"epochs": 1, "crop": [64, 64], "batch": 2} | changes
    stage = {key: value for key, value in stage.items() if value is not None}
    with pytest.raises(ConfigError, match=problem):
        in_stages([stage], training__epochs=250)


def test_what_is_said_beside_stages_is_refused_or_gives_way(tmp_path: Path) -> None:
    path = tmp_path / "stages.yaml"
    path.write_text("method: supervised\nstages:\n- {epochs: 1, crop: [64, 64], batch: 2}\n")
    with pytest.raises(ConfigError, match=r"training\.iterations"):
        resolve_settings([path], {"training.iterations": 10})
    found = resolve_settings([path], {"training.iterations": 10, "stages": []})
    assert (found.stages, found.training.iterations) == ((), 10)

    parser = ArgumentParser(exit_on_error=False)
    add_settings_arguments(parser)
    text = "[{epochs: 3, crop: [64, 64], batch: 2}]"
    typed = parser.parse_args(["--stages", text, "--iterations", "9"])
    with pytest.raises(ConfigError, match=r"--stages and --training\.iterations"):
        typed_overrides(typed, [])
    path.write_text("method: supervised\ntraining: {epochs: 300}\n")
    found = resolve_settings([path], typed_overrides(parser.parse_args(["--stages", text]), []))
    assert (found.training.epochs, len(found.stages)) == (None, 1)
