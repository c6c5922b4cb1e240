"""Progressive scaling: which steps a stage has, and what it takes."""

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
from mixseg.training.stages import Stage, epochs_in_steps, of_one_stage, plan_stages, staged

PAPER = [
    {"epochs": 100, "crop": [384, 384], "batch": 64},
    {"epochs": 100, "crop": [512, 512], "batch": 32, "lr_factor": 0.5},
    {"epochs": 100, "crop": [768, 768], "batch": 16, "lr_factor": 0.25},
]


def settings(stages: object = PAPER, **values: object) -> Settings:
    named = {path.replace("__", "."): value for path, value in values.items()}
    return resolve_settings([], {"method": "supervised", "stages": stages} | named)


def planned(found: Settings, images: int) -> tuple[Stage, ...]:
    return plan_stages(found.stages, found.data, found.training, images)


def test_the_stages_of_the_paper() -> None:
    found = epochs_in_steps(settings(), 2975)
    stages = planned(found, 2975)
    assert found.training.iterations == 100 * (47 + 93 + 186)
    assert [(stage.first, stage.last) for stage in stages] == [
        (0, 4700),
        (4700, 14000),
        (14000, 32600),
    ]
    assert [stage.crop for stage in stages] == [(384, 384), (512, 512), (768, 768)]
    assert [stage.batches["labeled"] for stage in stages] == [64, 32, 16]
    # The stream goes on where the stage before has left it.
    assert stages[1].draws["labeled"] == 4700 * 64
    assert stages[2].draws["labeled"] == 4700 * 64 + 9300 * 32


def test_unlabelled_images_keep_their_proportion_and_parts_of_steps_count() -> None:
    stages = [
        {"epochs": 2, "crop": [64, 64], "batch": 4},
        {"epochs": 3, "crop": [96, 96], "batch": 2},
    ]
    found = settings(
        stages,
        method="semi_supervised",
        data__batch_labeled=2,
        data__batch_unlabeled=3,
        training__accumulate=2,
    )
    first, second = planned(epochs_in_steps(found, 17), 17)
    assert (first.last, second.last) == (2 * 3, 2 * 3 + 3 * 5)
    assert [stage.batches["unlabeled"] for stage in (first, second)] == [6, 3]
    assert second.draws == {"labeled": 6 * 2 * 4, "unlabeled": 6 * 2 * 6}


def test_without_stages_there_is_one() -> None:
    found = settings([], data__crop=[64, 96], training__iterations=70)
    (stage,) = planned(found, 17)
    assert (stage.first, stage.last, stage.crop, stage.lr_factor) == (0, 70, (64, 96), 1)
    schedule = build_schedule(found.schedule.name, found.options, 70)[0]
    assert staged(schedule, (stage,)) is schedule


def test_rates_are_those_of_the_schedule_times_the_stage() -> None:
    found = epochs_in_steps(settings(), 2975)
    schedule = build_schedule(found.schedule.name, found.options, found.training.iterations)[0]
    both = staged(schedule, planned(found, 2975))
    for step, factor in (
        (0, 1),
        (4699, 1),
        (4700, 0.5),
        (13999, 0.5),
        (14000, 0.25),
        (32599, 0.25),
    ):
        assert both(step) == pytest.approx(factor * schedule(step))


def test_stages_are_saved_and_read_back(tmp_path: Path) -> None:
    found = settings()
    path = tmp_path / "config.yaml"
    path.write_text(dump_settings(found))
    assert resolve_settings([path], {}) == found


@pytest.mark.parametrize(
    ("stages", "changes", "problem"),
    [
        (PAPER, {"training__epochs": 250}, "3 stages have 300 epochs together.*says 250"),
        ([*PAPER[:1], {"epochs": 1, "crop": [64, 64]}], {}, "stages: stage 2: batch is missing"),
        (
            [{"epochs": 1, "crop": [64, 64], "batch": 2, "size": 3}],
            {},
            "stages: stage 1: unknown setting 'size'",
        ),
        (
            [{"epochs": "many", "crop": [64, 64], "batch": 2}],
            {},
            "stage 1: epochs must be a whole number",
        ),
        ([{"epochs": 0, "crop": [64, 64], "batch": 2}], {}, "stage 1: epochs must be"),
        ([{"epochs": 1, "crop": [16, 64], "batch": 2}], {}, "stage 1: crop.*16, 64"),
    ],
)
def test_refused(stages: object, changes: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        settings(stages, **changes)


def test_unlabelled_images_come_in_whole_numbers_where_they_come_at_all() -> None:
    stages = [{"epochs": 1, "crop": [64, 64], "batch": 3}]
    sizes = {"data__batch_labeled": 2, "data__batch_unlabeled": 3}
    with pytest.raises(ConfigError, match=r"stage 1: batch 3.*no whole number"):
        check_settings(settings(stages, method="semi_supervised", **sizes))
    check_settings(settings(stages, method="supervised", **sizes))


def test_another_length_in_a_later_place_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "stages.yaml"
    path.write_text("method: supervised\nstages:\n- {epochs: 1, crop: [64, 64], batch: 2}\n")
    with pytest.raises(ConfigError, match=r"training\.iterations cannot shorten or stretch stages"):
        resolve_settings([path], {"training.iterations": 10})
    found = resolve_settings([path], {"training.iterations": 10, "stages": []})
    assert (found.stages, found.training.iterations) == ((), 10)


def test_what_is_typed_beside_stages_is_refused_or_gives_way(tmp_path: Path) -> None:
    parser = ArgumentParser(exit_on_error=False)
    add_settings_arguments(parser)
    text = "[{epochs: 3, crop: [64, 64], batch: 2}]"
    typed = parser.parse_args(["--stages", text, "--iterations", "9"])
    with pytest.raises(ConfigError, match=r"--stages and --training\.iterations contradict"):
        typed_overrides(typed, [])
    preset = tmp_path / "preset.yaml"
    preset.write_text("method: supervised\ntraining: {epochs: 300}\n")
    found = resolve_settings([preset], typed_overrides(parser.parse_args(["--stages", text]), []))
    assert (found.training.epochs, len(found.stages)) == (None, 1)


def test_warm_ups_are_compared_with_the_length_of_the_stages() -> None:
    found = settings(schedule__name="poly", schedule__warmup_steps=500, training__iterations=400)
    assert epochs_in_steps(found, 2975).schedule.warmup_steps == 500
    with pytest.raises(ConfigError, match=r"500 steps of warm-up must be below the 300 steps"):
        epochs_in_steps(found, 16)


def test_stages_are_crops_enough_for_scaled_images() -> None:
    assert settings(data__scale=(0.5, 1.5)).data.crop is None


def test_a_run_of_one_of_the_stages() -> None:
    found = of_one_stage(settings(data__batch_labeled=4, data__batch_unlabeled=2), -1)
    assert (found.stages, found.data.crop) == ((), (768, 768))
    assert (found.data.batch_labeled, found.data.batch_unlabeled) == (16, 8)
    plain = settings([])
    assert of_one_stage(plain, 0) is plain
