from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import re
import typing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonargparse import ArgumentParser, Namespace

from mixseg.ablation.slurm import SlurmSettings
from mixseg.classification.experiment import ClassificationSettings
from mixseg.config import (
    SHORT_FLAGS,
    Setting,
    Settings,
    StageSettings,
    add_settings_arguments,
    dump_settings,
    fields_of,
    idle,
    refuse_idle_flags,
    resolve_settings,
    settings_leaves,
    spelled_out,
    to_flat,
    typed_overrides,
    with_absolute_paths,
)
from mixseg.config.leaves import build_settings
from mixseg.errors import ConfigError
from mixseg.losses.segmentation import LOSSES
from mixseg.methods import check_flags
from mixseg.mixing import MIXERS, MIXUP
from mixseg.targets.weighting import WEIGHTINGS
from mixseg.training.checks import check_settings

LEAVES = {leaf.path: leaf for leaf in settings_leaves()}
ONE_OF_EACH_TYPE = sorted({str(leaf.hint): leaf.path for leaf in LEAVES.values()}.values())


def written(tmp_path: Path, text: str, name: str = "a.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def resolved(tmp_path: Path, text: str) -> Settings:
    return resolve_settings([written(tmp_path, text)], {})


@cache
def flag_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--set", dest="assignments", type=str, default=[], nargs="*")
    add_settings_arguments(parser)
    return parser


def flags(*arguments: str) -> dict[str, Any]:
    parsed = flag_parser().parse_args(spelled_out(arguments))
    return typed_overrides(parsed, parsed.assignments)


CHANGES: dict[str, Any] = {
    "data.resize": (256, 512),
    "data.scale": (0.5, 1.5),
    "data.crop": (321, 321),
    "data.labeled": "372",
    "data.workers": 3,
    "model.mean": (0.1, 0.2, 0.3),
    "model.rates": (1, 2, 3),
    "supervised_loss.name": "cross-entropy + 0.5*dice",
    "supervised_loss.frequencies": {"road": 0.75, "traffic light": 0.25},
    "mixing.sigma": (4.0, 64.0),
    "optimizer.lr": 1e-4,
    "optimizer.clip_norm": 1.5,
    "name": "a run's ünïcode".replace(" ", "-").replace("'", "_"),
    "seed": 12345678901,
    "method": "supervised",
}


NEEDED: dict[str, dict[str, Any]] = {"data.scale": {"data.crop": (64, 64)}}
"""Setting -> what a value in ``CHANGES`` needs beside it."""


class TestRoundTrip:
    def test_defaults(self, tmp_path: Path) -> None:
        assert resolved(tmp_path, dump_settings(Settings())) == Settings()
        assert resolve_settings([], {}) == Settings()

    def test_everything_else(self, tmp_path: Path) -> None:
        changed = resolve_settings([], CHANGES)
        assert to_flat(changed) == to_flat(Settings()) | CHANGES
        assert resolved(tmp_path, dump_settings(changed)) == changed

    @settings(max_examples=8, deadline=None)
    @given(
        rate=st.floats(1e-12, 1e6),
        factor=st.floats(1e-3, 1e5),
        seed=st.integers(0, 2**62),
        workers=st.none() | st.integers(0, 64),
        root=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
    )
    def test_any_value_survives(
        self,
        rate: float,
        factor: float,
        seed: int,
        workers: int | None,
        root: str | None,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> None:
        base = Settings()
        changed = dataclasses.replace(
            base,
            seed=seed,
            data=dataclasses.replace(base.data, workers=workers, root=root),
            optimizer=dataclasses.replace(base.optimizer, lr=rate, head_factor=factor),
        )
        path = tmp_path_factory.mktemp("c") / "a.yaml"
        path.write_text(dump_settings(changed), encoding="utf-8")
        assert resolve_settings([path], {}) == changed


class TestPrecedence:
    def test_file_later_file_flag(self, tmp_path: Path) -> None:
        first = written(tmp_path, "seed: 2\nmethod: supervised\noptimizer: {lr: 0.2}", "a.yaml")
        second = written(tmp_path, "seed: 3\noptimizer: {momentum: 0.5}", "b.yaml")
        found = resolve_settings([first, second], {"optimizer.momentum": 0.7})
        assert (found.name, found.seed, found.method) == (None, 3, "supervised")
        assert (found.optimizer.lr, found.optimizer.momentum) == (0.2, 0.7)

    def test_epochs_and_iterations(self, tmp_path: Path) -> None:
        epochs = written(tmp_path, "training: {epochs: 5}", "a.yaml")
        steps = written(tmp_path, "training: {iterations: 70}", "b.yaml")
        both = written(tmp_path, "training: {iterations: 70, epochs: 6}", "c.yaml")

        def length(files: list[Path], **overrides: int) -> tuple[int, int | None]:
            typed = {f"training.{name}": value for name, value in overrides.items()}
            training = resolve_settings(files, typed).training
            return training.iterations, training.epochs

        assert length([epochs]) == (40_000, 5)
        assert length([steps, epochs]) == (70, 5)
        assert length([epochs, steps]) == (70, None)
        assert length([steps, both]) == length([both]) == (70, 6)
        assert length([both], iterations=8) == (8, None)
        assert length([steps], epochs=8) == (70, 8)
        # As a run's own settings are given back to it.
        assert length([steps], iterations=8, epochs=9) == (8, 9)

    def test_warm_up_epochs_and_steps(self, tmp_path: Path) -> None:
        first = written(tmp_path, "schedule: {warmup_epochs: 0.5}")
        found = resolve_settings([first], {"training.epochs": 1})
        assert found.schedule.warmup_epochs == 0.5
        found = resolve_settings([first], {"schedule.warmup_steps": 3})
        assert (found.schedule.warmup_steps, found.schedule.warmup_epochs) == (3, None)
        with pytest.raises(ConfigError, match=r"warmup_epochs \(2.0\) must be below.*--schedule"):
            resolve_settings([first], {"training.epochs": 2, "schedule.warmup_epochs": 2})

    def test_steps_are_not_compared_with_epochs(self) -> None:
        # The number of iterations is not known yet; mixseg.training.stages compares it.
        resolve_settings([], {"training.epochs": 2, "schedule.warmup_steps": 50_000})
        resolve_settings([], {"training.iterations": 2, "schedule.warmup_epochs": 50})

    def test_the_split_has_the_seed_of_the_run_unless_it_has_its_own(self) -> None:
        assert resolve_settings([], {"seed": 5}).split_seed == 5
        assert resolve_settings([], {"seed": 5, "data.split_seed": 0}).split_seed == 0


class TestValues:
    def test_one_e_minus_four_is_a_number(self, tmp_path: Path) -> None:
        assert resolved(tmp_path, "optimizer:\n  lr: 1e-4\n").optimizer.lr == 1e-4
        assert resolve_settings([], {"optimizer.lr": "1e-4"}).optimizer.lr == 1e-4

    def test_a_number_of_labels_is_text(self, tmp_path: Path) -> None:
        assert resolved(tmp_path, "data: {labeled: 372}").data.labeled == "372"
        assert resolved(tmp_path, "data: {labeled: 1/8}").data.labeled == "1/8"
        assert resolved(tmp_path, "name: 1e5\ndata: {root: 1.50}").name == "1e5"

    def test_whole_numbers_are_numbers(self, tmp_path: Path) -> None:
        found = resolved(tmp_path, "optimizer: {lr: 1, clip_norm: 2}\nmixing: {sigma: [4, 8]}")
        assert found.optimizer.lr == 1
        assert found.mixing.sigma == (4, 8)

    @pytest.mark.parametrize(
        ("text", "line", "path"),
        [
            ("seed: x", 1, "seed"),
            ("seed: 1.5", 1, "seed"),
            ("seed: [1]", 1, "seed"),
            ("seed: null", 1, "seed"),
            ("seed:", 1, "seed"),
            ("data:\n  crop: [64]", 2, "data.crop"),
            ("data:\n  crop: [64, 64, 64]", 2, "data.crop"),
            ("data:\n  crop: 64", 2, "data.crop"),
            ("data:\n  flip: maybe", 2, "data.flip"),
            ("model:\n  batch_norm: freeze", 2, "model.batch_norm"),
            ("model:\n  rates: [1, a]", 2, "model.rates"),
            ("optimizer:\n\n  lr: fast", 3, "optimizer.lr"),
            ("optimizer:\n  lr: {a: 1}", 2, "optimizer.lr"),
            ("optimizer:\n  lr: .nan", 2, "optimizer.lr"),
            ("optimizer:\n  lr: .inf", 2, "optimizer.lr"),
            ("optimizer:\n  lr: nan", 2, "optimizer.lr"),
            ("optimizer:\n  lr: 1" + 300 * "0" + "x", 2, "optimizer.lr"),
            ("data:\n  flip: yes", 2, "data.flip"),
            ("seed: '0x10'", 1, "seed"),
            ("seed: '1_000'", 1, "seed"),
            ("model:\n  mean: [.nan, 0.5, 0.5]", 2, "model.mean"),
            ("model:\n  std: [.inf, 0.5, 0.5]", 2, "model.std"),
            ("data:\n  crop: [64, 64]\n  scale: [0.5, .inf]", 3, "data.scale"),
        ],
    )
    def test_wrong_types_say_where(self, tmp_path: Path, text: str, line: int, path: str) -> None:
        with pytest.raises(ConfigError, match=rf"a\.yaml, line {line}: {path} must be"):
            resolved(tmp_path, text)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("optimzer: {lr: 1}", r"line 1: unknown setting 'optimzer'.*'optimizer'"),
            ("optimizer:\n  lt: 1", r"line 2: unknown setting 'optimizer\.lt'.*'optimizer\.lr'"),
            ("seed: 1\nlr: 1", r"line 2: unknown setting 'lr'"),
            ("optimizer.lr: 1\noptimizer: 5", r"optimizer is a section"),
            ("optimizer:", r"optimizer is a section"),
            ("data:\n  root: {a: 1}", r"line 2: data\.root must be"),
            ("seed: 1\nseed: 2", r"line 2: duplicate key 'seed'"),
            ("5: 1", r"unknown setting '5'"),
        ],
    )
    def test_wrong_keys_say_where(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            resolved(tmp_path, text)

    @pytest.mark.parametrize(
        "path", ["model.architecture", "mixing.mixer", "optimizer.name", "method", "model.backbone"]
    )
    def test_a_class_path_is_an_unknown_name(self, path: str) -> None:
        from mixseg.training.checks import check_settings

        with pytest.raises(ConfigError, match="unknown"):
            check_settings(resolve_settings([], {path: "os.system"}))

    @pytest.mark.parametrize("path", ONE_OF_EACH_TYPE)
    def test_a_class_path_object_is_refused_by_every_type(self, tmp_path: Path, path: str) -> None:
        text = '{class_path: os.system, init_args: {command: "true"}}'
        for part in reversed(path.split(".")):
            text = f"{{{part}: {text}}}"
        with pytest.raises(ConfigError, match=f"{path} must be"):
            resolved(tmp_path, text)


class TestRanges:
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            *((path, 0) for path in ("data.batch_labeled", "data.batch_unlabeled")),
            *((path, 0) for path in ("demo.train_images", "demo.val_images")),
            *((path, 0.0) for path in ("optimizer.lr", "optimizer.head_factor", "schedule.power")),
            *((path, 0) for path in ("training.iterations", "training.accumulate")),
            ("training.epochs", 0),
            ("schedule.warmup_epochs", -0.5),
            *((path, 0) for path in ("training.log_every", "targets.ramp_steps")),
            *((path, 0) for path in ("validation.batch_size", "checkpoints.every")),
            ("checkpoints.keep", 0),
            ("seed", -1),
            ("seed", 2**64),
            ("demo.seed", -1),
            ("data.workers", -1),
            ("data.split_seed", -1),
            ("optimizer.weight_decay", -1e-9),
            ("schedule.warmup_steps", -1),
            ("targets.unsupervised_weight", -0.1),
            ("validation.every", -1),
            ("checkpoints.keep_every", -1),
            *(("supervised_loss.label_smoothing", value) for value in (-0.1, 1.0)),
            ("supervised_loss.gamma", -0.1),
            ("supervised_loss.ohem_threshold", -0.1),
            *(("supervised_loss.ohem_share", value) for value in (-0.1, 1.1)),
            ("supervised_loss.frequencies", {"road": 0.5, "sky": -0.1}),
            ("supervised_loss.frequencies", {"road": 0.5, "sky": 1e13}),
            ("supervised_loss.frequencies", {"road": 0.0}),
            ("supervised_loss.frequencies", {}),
            ("mixing.proportion", 1.01),
            ("mixing.proportion", -0.01),
            ("targets.threshold", 1.5),
            ("augmentation.colour_jitter_probability", -0.1),
            ("augmentation.blur_probability", 1.1),
            ("augmentation.colour_jitter", 0.6),
            ("augmentation.colour_jitter", -0.1),
            ("teacher.decay", 1.1),
            ("optimizer.momentum", -0.1),
            ("optimizer.momentum", 1.0),
            ("data.rotate", -1.0),
            ("data.rotate", 180.5),
            ("data.scale_step", 0.1),
            ("data.resize", (16, 64)),
            ("data.crop", (64, 31)),
            ("demo.size", (8, 8)),
            ("mixing.sigma", (8.0, 4.0)),
            ("mixing.sigma", (0.0, 4.0)),
            ("optimizer.clip_norm", 0.0),
            ("model.output_stride", 4),
            ("model.rates", ()),
            ("model.rates", (0, 1)),
            ("model.std", (1.0, 0.0, 1.0)),
            ("model.weights_sha256", "abc"),
            ("model.weights_sha256", 64 * "a"),
            ("data.scale", (0.5, 1.5)),
            ("schedule.warmup_steps", 40_000),
            ("validation.resolution", "input"),
            ("name", "../escape"),
            ("name", "a/b"),
            ("name", ""),
            ("name", ".."),
            ("name", "a\x1b[31m"),
        ],
    )
    def test_refused_naming_the_setting_and_the_flag(self, path: str, value: object) -> None:
        with pytest.raises(ConfigError, match=rf"{path}.*--{path}"):
            resolve_settings([], {path: value})

    def test_the_file_and_line_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"optimizer\.lr must be from.*a\.yaml, line 2"):
            resolved(tmp_path, "optimizer:\n  lr: -1\n")

    @pytest.mark.parametrize("step", [0.0, -0.1, 1.2, float("nan")])
    def test_steps_of_the_scale(self, step: float) -> None:
        given = {"data.scale": (0.5, 1.6), "data.crop": (64, 64)}
        resolve_settings([], given | {"data.scale_step": 0.1})
        with pytest.raises(ConfigError, match=r"data\.scale_step"):
            resolve_settings([], given | {"data.scale_step": step})

    def test_scale_with_crop(self) -> None:
        resolve_settings([], {"data.scale": (0.5, 1.5), "data.crop": (64, 64)})
        with pytest.raises(ConfigError, match=r"data\.scale"):
            resolve_settings([], {"data.scale": (1.5, 0.5), "data.crop": (64, 64)})

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("supervised_loss.label_smoothing", 0.0),
            ("supervised_loss.gamma", 0.0),
            ("supervised_loss.ohem_threshold", 0.0),
            ("supervised_loss.ohem_share", 0.0),
            ("supervised_loss.ohem_share", 1.0),
            ("supervised_loss.frequencies", {"road": 1.0, "sky": 0.0}),
            ("mixing.proportion", 0.0),
            ("mixing.proportion", 1.0),
            ("targets.threshold", 1.0),
            ("teacher.decay", 0.0),
            ("data.workers", 0),
            ("seed", 0),
            ("augmentation.colour_jitter", 0.5),
            ("data.crop", (32, 32)),
            ("data.rotate", 180.0),
        ],
    )
    def test_bounds_belong_to_the_range(self, path: str, value: object) -> None:
        assert to_flat(resolve_settings([], {path: value}))[path] == value


class TestFlags:
    def test_nothing_typed_is_nothing_overridden(self) -> None:
        assert flags() == {}

    @pytest.mark.parametrize("short", sorted(SHORT_FLAGS))
    def test_short_and_dotted_spellings_are_one_setting(self, short: str) -> None:
        path = SHORT_FLAGS[short]
        value = {
            "workers": "3",
            "iterations": "7",
            "epochs": "7",
            "lr": "1e-3",
            "precision": "fp32",
            "domains": "intra",
            "skip-bad": "false",
        }.get(short, "text")
        assert flags(f"--{short}", value) == flags(f"--{path}", value)
        assert set(flags(f"--{short}", value)) == {path}

    @pytest.mark.parametrize("path", sorted(LEAVES))
    def test_every_setting_has_a_flag_that_takes_its_value(self, path: str) -> None:
        value = CHANGES.get(path, LEAVES[path].default)
        text = value if isinstance(value, str) else json.dumps(value)
        for typed in ((f"--{path}", text), (f"--{path}={text}",)):
            found = flags(*typed)
            assert set(found) == {path}
            settings = {} if path == "method" else {"method": "semi_supervised"}
            read = to_flat(resolve_settings([], settings | NEEDED.get(path, {}) | found))[path]
            assert read == (value if value != [] else ())

    def test_a_switch_needs_no_value(self) -> None:
        assert flags("--skip-bad", "--seed", "1") == {"data.skip_bad": True, "seed": 1}
        assert flags("--data.flip", "false", "--skip-bad") == {
            "data.flip": False,
            "data.skip_bad": True,
        }
        with pytest.raises(ConfigError, match="--skip-bad"):
            flags("--skip-bad", "null")

    def test_null_takes_back_what_a_file_says(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("data: {crop: [64, 64]}\n")
        found = resolve_settings([tmp_path / "a.yaml"], flags("--data.crop", "null"))
        assert found.data.crop is None
        with pytest.raises(ConfigError, match="--lr"):
            flags("--lr", "null")
        with pytest.raises(ConfigError, match=r"mixing\.mixer must be given a value"):
            resolve_settings([], flags("--mixer", "null"))

    def test_types(self) -> None:
        found = resolve_settings(
            [], flags("--lr", "1e-4", "--labeled", "372", "--data.crop", "[64, 96]")
        )
        assert found.optimizer.lr == 1e-4
        assert found.data.labeled == "372"
        assert found.data.crop == (64, 96)

    @pytest.mark.parametrize("text", ["64x96", "64,96", "[64, 96]"])
    def test_sizes(self, text: str, tmp_path: Path) -> None:
        for found in (
            resolve_settings([], flags("--data.crop", text)),
            resolve_settings([], flags("--set", f"data.crop={text}")),
            resolved(tmp_path, f"data: {{crop: {text if '[' in text else repr(text)}}}"),
        ):
            assert found.data.crop == (64, 96)

    @pytest.mark.parametrize("text", ["none", "null"])
    def test_no_value(self, text: str, tmp_path: Path) -> None:
        preset = written(tmp_path, "optimizer: {clip_norm: 1}\nmodel: {channel_order: bgr}")
        typed = flags("--optimizer.clip_norm", text, "--set", f"model.channel_order={text}")
        found = resolve_settings([preset], typed)
        assert (found.optimizer.clip_norm, found.model.channel_order) == (None, None)

    def test_set(self) -> None:
        overrides = flags("--set", "model.backbone=resnet50", "optimizer.lr=1e-3", "data.root=")
        found = resolve_settings([], overrides)
        assert (found.model.backbone, found.optimizer.lr) == ("resnet50", 1e-3)
        assert found.data.root is None

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("--set", "model.backbone"), "expected path=value"),
            (("--set", "model.backbon=x"), "unknown setting.*'model.backbone'"),
            (("--set", "seed=!!python/name:os.system"), "--set seed"),
            (("--lr", "1", "--set", "optimizer.lr=2"), "given twice"),
            (("--set", "seed=1", "seed=2"), "given twice"),
            (("--epochs", "2", "--iterations", "9"), r"training\.epochs and .*contradict"),
            (
                ("--set", "schedule.warmup_steps=1", "schedule.warmup_epochs=1"),
                r"schedule\.warmup_epochs and .*contradict",
            ),
            (("--set", "optimizer.lr=nan"), "--set optimizer.lr"),
        ],
    )
    def test_refused(self, arguments: tuple[str, ...], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            resolve_settings([], flags(*arguments))


class TestIdleFlags:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("--augmentation.per image", "--augmentation.per does nothing"),
            ("--mixing.sigma_scaled false", "--mixing.sigma_scaled does nothing"),
            ("--mixer cutmix --mixing.ignore_is_class", "--mixing.ignore_is_class does nothing"),
            ("--data.padding end", "--data.padding does nothing without --data.crop"),
            ("--method distillation --teacher a --weighting sigmoid", "--weighting does nothing"),
            (
                "--method distillation --teacher a --unlabeled b --distillation.unlabeled 0",
                "--dist",
            ),
            ("--domains intra", "--domains does nothing without two domains"),
            ("--method supervised --domains intra", "--domains does nothing without two domains"),
            (
                "--method distillation --teacher a --mixer cutmix",
                "--mixer does nothing .*unlabelled images",
            ),
            ("--method supervised --augmentation.blur_probability 1", "--augmentation.blur"),
            ("--set source_domain.root=a", "source_domain.root needs"),
            ("--set source_domain.split=a", "does nothing without --source NAME"),
            (
                "--method supervised --mixing.sigma [8,8]",
                "--mixing.sigma .* --mixing.labeled cowmix",
            ),
            ("--weighting constant --targets.per image", "--weighting threshold-proportional"),
            ("--targets.ramp_steps 9", "--targets.ramp_steps .* --weighting sigmoid"),
            ("--targets.alignment_decay 0.9", "--targets.alignment_decay .* --targets.alignment"),
            ("--augmentation.blur_probability 1", "blur_probability .* --augmentation.blur"),
            ("--schedule.name cosine --schedule.power 2", "schedule.power .* --schedule.name poly"),
            ("--model.architecture fcn8s --model.rates [3]", "model.rates .* deeplabv2"),
            ("--dataset camvid --data-root a --demo.size 64x64", "demo.size .* built-in scenes"),
            ("--data.skip_bad_share 0.1", "skip_bad_share .* --skip-bad"),
            ("--mixer none --mixing.proportion 0.3", "--mixer classmix, cutmix or cowmix"),
            ("--mixer cutmix --mixing.rounding floor", "--mixing.rounding .* --mixer classmix"),
            ("--mixing.sigma [8,8]", "--mixing.sigma .* --mixer cowmix"),
            ("--mixing.alpha 0.2", "--mixing.alpha .* --mixing.labeled mixup"),
            ("--supervised_loss.gamma 1", "--supervised_loss.gamma .* --loss focal"),
            ("--loss dice --supervised_loss.ohem_share 1", "ohem_share .* --loss ohem"),
            ("--supervised_loss.dice sum", "--supervised_loss.dice .* --loss dice"),
            ("--adversarial.unlabeled", "--adversarial.unlabeled .*--regularizer"),
        ],
    )
    def test_refused(self, arguments: str, message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            typed = flags(*arguments.split())
            check_flags(typed, resolve_settings([], typed))

    @pytest.mark.parametrize(
        "arguments",
        [
            "--source gta5 --method domain_adaptation --data-root a --demo.size 64x64",
            "--method distillation --teacher a --distillation.unlabeled 1 --unlabeled a",
            "--mixer cowmix --mixing.sigma [8,8] --weighting sigmoid --targets.ramp_steps 9",
            "--method supervised --mixing.labeled classmix --mixing.rounding floor",
            "--method supervised --mixing.labeled mixup --mixing.alpha 0.2",
            "--loss cross-entropy+0.5*focal --supervised_loss.gamma 1",
            "--method domain_adaptation --source gta5 --domains intra --alignment uniform",
            # What somebody registered may read any of them.
            "--mixer stripes --mixing.sigma [8,8] --mixing.rounding floor",
            "--weighting mine --targets.ramp_steps 9",
            "--loss mine --supervised_loss.gamma 1",
        ],
    )
    def test_accepted(self, arguments: str) -> None:
        typed = flags(*arguments.split())
        assert check_flags(typed, resolve_settings([], typed)) == []

    @pytest.mark.parametrize(
        ("arguments", "without_effect"),
        [
            ("--mixer cutmix --augmentation.blur", {"--mixer", "--augmentation.blur"}),
            ("--targets.threshold 0.9 --lr 0.1", {"--targets.threshold"}),
            ("--teacher.mode eval --teacher.decay 0.9", {"--teacher.mode"}),
            ("--source gta5 --domains intra --unlabeled a", {"--domains", "--unlabeled"}),
            ("--unlabeled a --data.batch_unlabeled 2", {"--unlabeled", "--data.batch_unlabeled"}),
            ("--mixing.proportion 0.3", {"--mixing.proportion"}),
            ("--mixing.labeled cutmix --mixing.proportion 0.3", set()),
            (
                "--regularizer adversarial-temperature --adversarial.unlabeled",
                {"--adversarial.unlabeled"},
            ),
        ],
    )
    def test_a_baseline_takes_the_flags_of_what_it_is_compared_with(
        self, arguments: str, without_effect: set[str]
    ) -> None:
        typed = flags("--method", "supervised", *arguments.split())
        assert set(check_flags(typed, resolve_settings([], typed))) == without_effect

    @pytest.mark.parametrize(
        ("method", "common"),
        [("semi_supervised", {}), ("domain_adaptation", {"source_domain.dataset": "gta5"})],
    )
    def test_every_flag_of_a_command_is_one_of_its_baseline(
        self, method: str, common: dict[str, str]
    ) -> None:
        trained = resolve_settings([], common | {"method": method})
        baseline = resolve_settings([], common | {"method": "supervised"})
        read = []
        for path in LEAVES:
            try:
                check_flags([path], trained)
            except ConfigError:
                continue
            read.append(path)
        noted = check_flags(read, baseline)
        assert len(read) > 50 and 10 < len(noted) < len(read) / 2

    def test_a_method_of_ones_own(self) -> None:
        typed = flags("--method", "mine", "--mixer", "cutmix", "--unlabeled", "a")
        settings = resolve_settings([], typed)
        refuse_idle_flags(typed, settings, takes_unlabeled=True, mixes_unlabeled=True)

    def test_choices_that_the_package_knows_are_those_that_it_has(self) -> None:
        assert {*MIXERS, MIXUP} == idle.MIXERS
        assert {*WEIGHTINGS} == idle.WEIGHTINGS
        assert {*LOSSES} == idle.LOSSES

    def test_files_may_hold_what_a_method_leaves_out(self, tmp_path: Path) -> None:
        # The same setting is accepted in a file and refused as a flag.
        path = written(
            tmp_path,
            "method: distillation\ndistillation: {teacher: a}\nmixing: {mixer: cutmix}\n",
        )
        other = flags("--seed", "3")
        check_flags(other, resolve_settings([path], other))
        typed = flags("--mixer", "cutmix")
        with pytest.raises(ConfigError, match="--mixer does nothing without"):
            check_flags(typed, resolve_settings([path], typed))


@pytest.mark.parametrize("path", sorted(LEAVES))
def test_every_setting_is_documented(path: str) -> None:
    assert len(LEAVES[path].help) > 3


def test_paths_mean_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "100").touch()  # a number stays a number, a word a word
    (tmp_path / "full").touch()
    for key, value, expected in (
        ("data.labeled", "100", "100"),
        ("data.labeled", "1/8", "1/8"),
        ("data.labeled", "full", "full"),
        ("data.labeled", "abc", "abc"),
        ("data.labeled", "a.txt,b.txt", f"{tmp_path}/a.txt,{tmp_path}/b.txt"),
        ("data.labeled", "x.pkl@1/8", f"{tmp_path}/x.pkl@1/8"),
        ("data.root", "x", f"{tmp_path}/x"),
        ("data.root", "/x", "/x"),
        ("targets.alignment", "uniform", "uniform"),
        ("targets.alignment", "gone,1.yaml", f"{tmp_path}/gone,1.yaml"),
        ("model.weights", "imagenet", "imagenet"),
        ("model.weights", "../w.pth", f"{tmp_path}/../w.pth"),
        ("source_domain.class_map", None, None),
    ):
        found = with_absolute_paths(resolve_settings([], {key: value}))
        assert to_flat(found)[key] == expected
        assert with_absolute_paths(found) == found


NUMERIC = [leaf for leaf in LEAVES.values() if leaf.allowed is not None]
EXTREMES = (
    *("-1", "0", "1e20", "100000000000000000000", "2147483648", "9223372036854775808"),
    *("nan", "inf", "-inf", ".nan", ".inf", "1e-300", "1e308", "1e999", "0x10", "010", "1_000"),
    *("1:30", "", "null", "true", "9" * 500, "0,0", "[-1, 1e20]", "[]", "1,2,3,4,5,6,7,8,9"),
)


def holds_numbers(hint: Any) -> bool:
    return hint in (int, float) or any(map(holds_numbers, typing.get_args(hint)))


@pytest.mark.parametrize(
    "leaf",
    [
        *(
            leaf
            for kind in (Settings, StageSettings, SlurmSettings, ClassificationSettings)
            for leaf in (settings_leaves() if kind is Settings else fields_of(kind))
            if leaf.path != "stages" and holds_numbers(leaf.hint)
        ),
    ],
    ids=lambda leaf: leaf.path,
)
def test_every_number_has_a_range(leaf: Setting) -> None:
    hint = str(leaf.hint)
    assert leaf.allowed is not None, (
        f"{leaf.path} has no range; write Annotated[{hint}, Range(LOW, HIGH)] where it is declared"
    )
    assert -math.inf < leaf.allowed.low < leaf.allowed.high < math.inf
    if leaf.default is not None:
        assert leaf.allowed.holds(leaf.default)


class TestExtremeNumbers:
    """Whatever number is typed, there are settings within their ranges, or an error for people."""

    @pytest.mark.slow
    @pytest.mark.parametrize("leaf", NUMERIC, ids=lambda leaf: leaf.path)
    def test_assignments_and_files(self, leaf: Setting, tmp_path: Path) -> None:
        assert leaf.allowed is not None
        ends = [str(leaf.allowed.low), str(leaf.allowed.high)]
        count = len([one for one in typing.get_args(leaf.hint) if one in (int, float)]) or 1
        *sections, name = leaf.path.split(".")
        before = "".join(f"{{{one}: " for one in (*sections, name))

        def assigned(text: str) -> Settings:
            return resolve_settings([], typed_overrides(Namespace(), [f"{leaf.path}={text}"]))

        def in_file(text: str) -> Settings:
            return resolved(tmp_path, before + text + "}" * (len(sections) + 1))

        for text in (*EXTREMES, *(",".join([end] * count) for end in ends)):
            for resolve in (assigned, in_file):
                with contextlib.suppress(ConfigError):
                    found = resolve(text)
                    assert leaf.allowed.holds(to_flat(found)[leaf.path]), text
                    check_settings(found, initial_weights=False)

    @pytest.mark.parametrize("leaf", NUMERIC, ids=lambda leaf: leaf.path)
    def test_beyond_the_ends_is_refused_with_the_range(self, leaf: Setting) -> None:
        assert leaf.allowed is not None
        name = leaf.path.rsplit(".")[-1]
        for value in (leaf.allowed.low - 1, leaf.allowed.high * 2 + 1):
            with pytest.raises(ConfigError, match=re.escape(str(leaf.allowed))) as caught:
                flags(f"--{leaf.path}={value:.0f}")
            assert name in str(caught.value).replace("-", "_")
            with pytest.raises(ConfigError, match=re.escape(str(leaf.allowed))) as caught:
                build_settings(Settings, to_flat(Settings()) | {leaf.path: value}, "")
            assert name in str(caught.value)
