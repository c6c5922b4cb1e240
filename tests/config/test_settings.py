"""Settings from files and flags, checked, saved and read again."""

from __future__ import annotations

import json
import math
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixseg.commands.parsing import Parser
from mixseg.config import renamed
from mixseg.config.effect import check_flags, check_parts
from mixseg.config.flags import SHORT_FLAGS, typed_overrides
from mixseg.config.options import fields_of
from mixseg.config.resolve import build_settings, resolve_settings
from mixseg.config.saved import changed_settings, dump_settings, with_absolute_paths
from mixseg.config.schema import description, schema, to_flat
from mixseg.config.sections import Settings, StageSettings
from mixseg.config.values import FlagText
from mixseg.errors import ConfigError
from mixseg.registry import all_slots


def written(tmp_path: Path, text: str, name: str = "a.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def resolved(tmp_path: Path, text: str) -> Settings:
    return resolve_settings([written(tmp_path, text)], {})


def flags(*arguments: str) -> dict[str, Any]:
    parsed = Parser("mixseg test", "", settings=True).read(arguments)
    return typed_overrides(parsed, parsed.assignments)


def choosing(path: str) -> dict[str, Any]:
    """Settings that give a run a part that has the option."""
    owner = schema()[path][0].owner
    for slot in all_slots():
        if owner in slot.registry and slot.having(path, [owner]):
            return {slot.setting: owner} if slot.setting else {}
    return {}


CHANGES: dict[str, Any] = {
    "data.resize": (256, 512),
    "data.scale": (0.5, 1.5),
    "data.crop": (321, 321),
    "data.labeled": "372",
    "data.workers": 3,
    "model.mean": (0.1, 0.2, 0.3),
    "model.rates": (1, 2, 3),
    "supervised_loss.name": "balanced-cross-entropy + 0.5*dice",
    "supervised_loss.frequencies": {"road": 0.75, "traffic light": 0.25},
    "mixing.mixer": "cowmix",
    "mixing.sigma": (4.0, 64.0),
    "mixing.labeled": "classmix",
    "mixing.together": ("pole+traffic sign", "rider+bicycle"),
    "optimizer.lr": 1e-4,
    "optimizer.clip_norm": 1.5,
    "name": "a-runs_ünïcode",
    "seed": 12345678901,
}


@settings(max_examples=8, deadline=None)
@given(
    rate=st.floats(1e-12, 1e6),
    seed=st.integers(0, 2**62),
    root=st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
)
def test_settings_are_saved_and_read_as_they_are(
    rate: float, seed: int, root: str | None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for changes in ({}, CHANGES, {"optimizer.lr": rate, "seed": seed, "data.root": root}):
        made = resolve_settings([], changes)
        assert changes.items() <= to_flat(made).items()
        assert resolved(tmp_path_factory.mktemp("c"), dump_settings(made)) == made
        assert resolve_settings([], to_flat(made)) == made == build_settings(to_flat(made))


def test_settings_of_earlier_versions(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # As 0.1 wrote it: options of parts that the run does not have are there as well.
    text = """
method: supervised
mixing: {mixer: classmix, proportion: 0.5, rounding: floor, domains: inter, sigma: [8.0, 32.0],
  sigma_scaled: true, ignore_is_class: false, labeled: none, alpha: 0.1}
supervised_loss: {name: focal, gamma: 1.0, ohem_threshold: 0.36, dice: mean, label_smoothing: 0.0}
augmentation: {colour_jitter: 0.25, colour_jitter_probability: 0.8, colour_jitter_form: kornia}
model: {upsampling: learnt, architecture: fcn8s, rates: [6, 12], output_stride: 32}
training: {tensorboard: true}
adversarial: {alpha: 0.05, schedule: same}
"""
    values = to_flat(resolved(tmp_path, text))
    assert values["mixing.rounding"] == "floor"
    assert values["supervised_loss.gamma"] == 1.0
    assert values["augmentation.color_jitter_form"] == "kornia"
    assert values["model.upsampling"] == "learned"
    assert values["training.loggers"] == ("tensorboard",)
    assert not {"mixing.sigma", "mixing.alpha", "model.rates", "adversarial.alpha"} & {*values}
    # Who types an old name is told the new one.
    renamed._said.clear()
    found = resolve_settings([], flags("--augmentation.colour_jitter", "0.25"))
    assert to_flat(found)["augmentation.color_jitter"] == 0.25
    assert "augmentation.color_jitter" in caplog.text
    assert set(renamed.RENAMED.values()) <= set(schema())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pole+traffic sign, rider+bicycle", ("pole+traffic sign", "rider+bicycle")),
        ("[pole + traffic sign]", ("pole + traffic sign",)),
        ("auto", ("auto",)),
        ("none", None),
    ],
)
def test_names_in_lists_may_hold_white_space(
    text: str, expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    typed = resolve_settings([], flags("--mixing.together", text))
    read = resolved(tmp_path, f"mixing: {{together: {text!r}}}")
    assert to_flat(typed)["mixing.together"] == to_flat(read)["mixing.together"] == expected


class TestPrecedence:
    def test_file_later_file_flag(self, tmp_path: Path) -> None:
        first = written(tmp_path, "seed: 2\nmethod: supervised\noptimizer: {lr: 0.2}", "a.yaml")
        second = written(tmp_path, "seed: 3\noptimizer: {momentum: 0.5}", "b.yaml")
        found = to_flat(resolve_settings([first, second], {"optimizer.momentum": 0.7}))
        assert (found["seed"], found["method"]) == (3, "supervised")
        assert (found["optimizer.lr"], found["optimizer.momentum"]) == (0.2, 0.7)

    def test_epochs_and_steps(self, tmp_path: Path) -> None:
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
        assert length([steps], iterations=8, epochs=9) == (8, 9)

        warm = written(tmp_path, "schedule: {warmup_epochs: 0.5}")
        found = resolve_settings([warm], {"schedule.warmup_steps": 3})
        assert (found.schedule.warmup_steps, found.schedule.warmup_epochs) == (3, None)
        # The number of iterations is not known yet; it is compared once images are counted.
        resolve_settings([], {"training.epochs": 2, "schedule.warmup_steps": 50_000})
        with pytest.raises(ConfigError, match="warmup_epochs"):
            resolve_settings([warm], {"training.epochs": 2, "schedule.warmup_epochs": 2})

    def test_the_split_has_the_seed_of_the_run_unless_it_has_its_own(self) -> None:
        assert resolve_settings([], {"seed": 5}).split_seed == 5
        assert resolve_settings([], {"seed": 5, "data.split_seed": 0}).split_seed == 0


class TestValues:
    def test_read(self, tmp_path: Path) -> None:
        for text, path, value in (
            ("optimizer:\n  lr: 1e-4\n", "optimizer.lr", 1e-4),
            ("data: {labeled: 372}", "data.labeled", "372"),
            ("name: 1e5", "name", "1e5"),
            ("mixing: {mixer: cowmix, sigma: [4, 8]}", "mixing.sigma", (4.0, 8.0)),
            ("data: {crop: 64x96}", "data.crop", (64, 96)),
            ("data: {crop: '64,96'}", "data.crop", (64, 96)),
            ("optimizer: {clip_norm: none}", "optimizer.clip_norm", None),
        ):
            assert to_flat(resolved(tmp_path, text))[path] == value

    @pytest.mark.parametrize(
        ("text", "line", "path"),
        [
            ("seed: x", 1, "seed"),
            ("seed: 1.5", 1, "seed"),
            ("seed:", 1, "seed"),
            ("seed: '0x10'", 1, "seed"),
            ("data:\n  crop: [64]", 2, "data.crop"),
            ("data:\n  flip: yes", 2, "data.flip"),
            ("model:\n  batch_norm: freeze", 2, "model.batch_norm"),
            ("model:\n  rates: [1, a]", 2, "model.rates"),
            ("optimizer:\n\n  lr: {a: 1}", 3, "optimizer.lr"),
            ("optimizer:\n  lr: .nan", 2, "optimizer.lr"),
            ("model:\n  std: [.inf, 0.5, 0.5]", 2, "model.std"),
            ("mixing:\n  sigma: no", 2, "mixing.sigma"),  # of another mixer than the run has
            ("mixing:\n  sigma: [0, 1]", 2, "mixing.sigma"),
            ("seed: 1\nlr: 1", 2, "'lr'"),
            ("optimizer:\n  lt: 1", 2, "'optimizer.lr'"),
            ("optimizer: 5", 1, "optimizer"),
            ("data:\n  root: {a: 1}", 2, "data.root"),
            ("seed: 1\nseed: 2", 2, "'seed'"),
            ("optimizer:\n  lr: -1\n", 2, "optimizer.lr"),
            ("mixing:\n  mixer: os.system", 2, "mixing.mixer"),
            ("model: {}\nmethod: os.system", 2, "method"),
            ("mixing:\n  sigmas: 1", 2, "'mixing.sigma' (of cowmix)"),
        ],
    )
    def test_refused_with_file_line_and_key(
        self, tmp_path: Path, text: str, line: int, path: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            resolved(tmp_path, text)
        assert path in str(caught.value) and f"a.yaml, line {line}" in str(caught.value)

    def test_a_class_path_is_refused_by_every_type(self, tmp_path: Path) -> None:
        for path in {str(one[0].hint): path for path, one in schema().items()}.values():
            text = '{class_path: os.system, init_args: {command: "true"}}'
            for part in reversed(path.split(".")):
                text = f"{{{part}: {text}}}"
            with pytest.raises(ConfigError, match=path):
                resolved(tmp_path, text)


def test_combinations_that_cannot_work_name_the_setting() -> None:
    scaled = {"data.scale": (0.5, 1.6), "data.crop": (64, 64)}
    resolve_settings([], scaled | {"data.scale_step": 0.1})
    for path, value in (
        ("supervised_loss.frequencies", {"road": 0.5, "sky": -0.1}),
        ("data.scale_step", 0.1),
        ("data.crop", (64, 31)),
        ("model.output_stride", 4),
        ("model.output_stride", 9),
        ("model.std", (1.0, 0.0, 1.0)),
        ("model.weights_sha256", "abc"),
        ("model.weights_sha256", 64 * "a"),
        ("data.scale", (0.5, 1.5)),
        ("schedule.warmup_steps", 40_000),
        ("validation.resolution", "input"),
        *(("name", name) for name in ("../escape", "a/b", "", "..", "a\x1b[31m")),
        *(("data.scale_step", step) for step in (0.0, 1.2, math.nan)),
    ):
        needed = scaled if path == "data.scale_step" and value != 0.1 else choosing(path)
        with pytest.raises(ConfigError, match=re.escape(path)):
            resolve_settings([], needed | {path: value})


class TestFlags:
    def test_every_setting_has_flags_that_take_its_value(self) -> None:
        short = {path: name for name, path in SHORT_FLAGS.items()}
        assert flags() == {} and set(short) <= set(schema())
        for path, entries in schema().items():
            if path == "imports":
                continue
            value = CHANGES.get(path, entries[0].default)
            text = value if isinstance(value, str) else json.dumps(value)
            needed = {"data.crop": (64, 64)} if path == "data.scale" else choosing(path)
            needed.pop(path, None)
            typed = [(f"--{path}", text), (f"--{path}={text}",), ("--set", f"{path}={text}")]
            for one in [*typed, *([(f"--{short[path]}", text)] if path in short else [])]:
                found = flags(*one)
                assert set(found) == {path}
                read = to_flat(resolve_settings([], needed | found))[path]
                assert read == (value if value != [] else ())
            assert len(entries[0].help) > 3 and description(path)

    def test_switches_and_null(self, tmp_path: Path) -> None:
        found = resolve_settings([], flags("--skip-bad", "--seed", "1", "--data.flip", "false"))
        assert (found.data.skip_bad, found.seed, found.data.flip) == (True, 1, False)
        preset = written(tmp_path, "optimizer: {clip_norm: 1}\nmodel: {channel_order: bgr}")
        typed = flags("--optimizer.clip_norm", "none", "--set", "model.channel_order=null")
        found = resolve_settings([preset], typed)
        assert (found.optimizer.clip_norm, found.model.channel_order) == (None, None)
        assert resolve_settings([], flags("--set", "data.root=", "seed=2")).data.root is None

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            ("--lr null", "optimizer.lr"),
            ("--skip-bad null", "data.skip_bad"),
            ("--mixer null", "mixing.mixer"),
            ("--set model.backbone", "model.backbone"),
            ("--set model.backbon=x", "model.backbone"),
            ("--set seed=!!python/name:os.system", "seed"),
            ("--lr 1 --set optimizer.lr=2", "optimizer.lr"),
            ("--set seed=1 --set seed=2", "seed"),
            ("--epochs 2 --iterations 9", "training.epochs"),
            ("--set schedule.warmup_steps=1 schedule.warmup_epochs=1", "warmup_epochs"),
            ("--set imports=a.py", "imports"),
            ("--mixxer cutmix", "--mixer"),
            ("--mixe cutmix", "--mixer"),
            ("--mixer", "--mixer"),
            ("--mixing.sigma 0,1", "--mixing.sigma"),
        ],
    )
    def test_refused(self, arguments: str, named: str) -> None:
        with pytest.raises(ConfigError, match=named):
            flags(*arguments.split())


class TestIdleFlags:
    @pytest.mark.parametrize(
        ("arguments", "flag", "needed"),
        [
            ("--augmentation.per image", "--augmentation.per", "--augmentation.color_jitter"),
            ("--mixing.sigma_scaled false", "--mixing.sigma_scaled", "--mixer cowmix"),
            ("--mixer cutmix --mixing.ignore_is_class", "--mixing.ignore_is_class", "classmix"),
            ("--data.padding end", "--data.padding", "--data.crop"),
            (
                "--method distillation --teacher a --unlabeled b --distillation.unlabeled 0",
                "--unlabeled",
                "--distillation.unlabeled 1",
            ),
            ("--domains intra", "--domains", "--method domain_adaptation"),
            ("--method distillation --teacher a --mixer cutmix", "--mixer", "semi_supervised"),
            ("--set source_domain.split=a", "--source_domain.split", "--source NAME"),
            ("--weighting constant --targets.per image", "--targets.per", "threshold-prop"),
            ("--targets.alignment_decay 0.9", "--targets.alignment_decay", "--targets.alignment"),
            ("--model.architecture fcn8s --model.rates [3]", "--model.rates", "deeplabv2"),
            ("--dataset camvid --data-root a --demo.size 64x64", "--demo.size", "scenes"),
            ("--sampling.temperature 0.1", "--sampling.temperature", "--sampling.name rare"),
            ("--sampling.name rare --sampling.retries 3", "--sampling.retries", "--data.crop"),
            ("--data.skip_bad_share 0.1", "--data.skip_bad_share", "--skip-bad"),
            ("--mixer none --mixing.proportion 0.3", "--mixing.proportion", "classmix"),
            ("--adversarial.unlabeled", "--adversarial.unlabeled", "--regularizer"),
            (
                "--views.channel_dropout independent --views.dropout_share 0.3",
                "--views.dropout_share",
                "complementary",
            ),
            (
                "--views.channel_dropout complementary --views.dropout_rate 0.3",
                "--views.dropout_rate",
                "independent",
            ),
        ],
    )
    def test_refused(self, arguments: str, flag: str, needed: str) -> None:
        typed = flags(*arguments.split())
        with pytest.raises(ConfigError, match=f"{flag} does nothing without") as caught:
            check_flags(typed, to_flat(resolve_settings([], typed)))
        assert needed in str(caught.value)

    @pytest.mark.parametrize(
        ("arguments", "without_effect"),
        [
            ("--source gta5 --method domain_adaptation --data-root a --demo.size 64x64", set()),
            (
                "--method distillation --teacher a --distillation.unlabeled 1 --unlabeled a",
                set(),
            ),
            (
                "--mixer cowmix --mixing.sigma [8,8] --weighting sigmoid --targets.ramp_steps 9",
                set(),
            ),
            ("--loss cross-entropy+0.5*focal --supervised_loss.gamma 1", set()),
            (
                "--method domain_adaptation --source gta5 --domains intra --alignment uniform",
                set(),
            ),
            # A baseline takes the flags of what it is compared with.
            ("--method supervised --mixing.labeled mixup --mixing.alpha 0.2", set()),
            ("--method supervised --mixer cutmix --augmentation.blur", {"mixer", "blur"}),
            ("--method supervised --teacher.mode eval --teacher.decay 0.9", {"mode"}),
            (
                "--method supervised --source gta5 --domains intra --unlabeled a",
                {"domains", "unlabeled"},
            ),
        ],
    )
    def test_accepted(self, arguments: str, without_effect: set[str]) -> None:
        typed = flags(*arguments.split())
        found = check_flags(typed, to_flat(resolve_settings([], typed)))
        assert {flag.strip("-").rpartition(".")[2] for flag in found} == without_effect

    def test_files_may_hold_what_a_run_does_not_have(self, tmp_path: Path) -> None:
        path = written(tmp_path, "method: distillation\nmixing: {mixer: cutmix, sigma: [1, 2]}\n")
        typed = flags("--seed", "3")
        check_flags(typed, to_flat(resolve_settings([path], typed)))

    def test_a_part_that_a_method_does_not_take_whatever_else_is_set(self) -> None:
        check_parts(["mixing.mixer"], "semi_supervised")
        check_parts(["mixing.mixer"], "supervised")
        check_parts(["mixing.labeled", "data.padding"], "distillation")
        with pytest.raises(ConfigError, match="--weighting does nothing"):
            check_parts(["targets.weighting"], "distillation")


def test_paths_mean_the_same_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "100").touch()  # a number stays a number, a word a word
    for key, value, expected in (
        ("data.labeled", "100", "100"),
        ("data.labeled", "1/8", "1/8"),
        ("data.labeled", "full", "full"),
        ("data.labeled", "abc", "abc"),
        ("data.labeled", "a.txt,b.txt", f"{tmp_path}/a.txt,{tmp_path}/b.txt"),
        ("data.labeled", "x.pkl@1/8", f"{tmp_path}/x.pkl@1/8"),
        ("data.root", "x", f"{tmp_path}/x"),
        ("targets.alignment", "uniform", "uniform"),
        ("targets.alignment", "gone,1.yaml", f"{tmp_path}/gone,1.yaml"),
        ("model.weights", "imagenet", "imagenet"),
        ("model.weights", "../w.pth", f"{tmp_path}/../w.pth"),
    ):
        found = with_absolute_paths(resolve_settings([], {key: value}))
        assert to_flat(found)[key] == expected
        assert with_absolute_paths(found) == found


def test_changes_are_listed_without_options_that_follow_from_them() -> None:
    before = resolve_settings([], {})
    after = resolve_settings([], {"mixing.mixer": "cowmix", "seed": 3})
    assert changed_settings(to_flat(before), to_flat(after), {"seed"}) == [
        "mixing.mixer: classmix -> cowmix"
    ]


def numbers_in(hint: Any) -> int:
    """How many numbers a value of a type has, at least."""
    return int(hint in (int, float)) + sum(map(numbers_in, typing.get_args(hint)))


def test_every_number_has_a_range_and_keeps_to_it() -> None:
    for entry in (*schema().values(), fields_of(StageSettings, "stages.")):
        for setting in entry:
            if setting.path == "stages" or not (count := numbers_in(setting.hint)):
                continue
            allowed = setting.allowed
            assert allowed is not None, f"{setting.path}: annotate it with Range(LOW, HIGH)"
            assert -math.inf < allowed.low < allowed.high < math.inf
            assert setting.default is None or allowed.holds(setting.default)
            if setting.path.startswith("stages."):
                continue
            for value in (allowed.low - 1, allowed.high * 2 + 1):
                text = ",".join([f"{value:.0f}"] * count)
                text = f"{{a: {value:.0f}}}" if "dict" in str(setting.hint) else text
                given = {setting.path: FlagText(text)}
                with pytest.raises(ConfigError, match=re.escape(str(allowed))) as caught:
                    resolve_settings([], choosing(setting.path) | given)
                assert setting.path in str(caught.value)
