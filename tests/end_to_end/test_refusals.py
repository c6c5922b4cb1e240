"""What is refused: nothing is executed, nothing is written, and the error names what is wrong.

The commands are called in this process; that the error reaches standard error without a traceback,
with its exit code, is shown once, by a process.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from mixseg.cli import COMMANDS
from mixseg.commands.parsing import Parser
from mixseg.config.schema import schema
from mixseg.config.values import FlagType
from mixseg.errors import ConfigError
from tests.data.layouts import SIZE, write_camvid, write_image, write_label
from tests.data.png_encoder import png_file
from tests.end_to_end.processes import Launcher, refused, refuses, refuses_each


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a test works: with a folder that is empty, and two lists."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "up.txt").write_text("aldenau/aldenau_000000_000019_leftImg8bit\n../x.png\n")
    (tmp_path / "absolute.txt").write_text("/etc/passwd\n")
    (tmp_path / "nul.txt").write_bytes(b"a\0b\n")
    return tmp_path


USAGE = {
    "--learning-rate 1": "--learning-rate",
    "--iteration 3": "'--iterations'",
    "--teachr x": "'--teacher'",
    "--teacher": "--teacher",
    "--mixer classmax": "mixing.mixer 'classmix' cowmix",
    "--mixer os.system": "'os.system' Choices:",
    "--weighting pixelwize": "targets.weighting 'pixelwise'",
    "--method semi_supervisd --mixer cutmix": "'semi_supervised'",
    "--dataset citiscapes": "'cityscapes'",
    "--backbone resnet110": "model.backbone 'resnet1",
    "--backbone maxvit_rmlp_pico_rw_256 --set model.output_stride=32": "maxvit_rmlp 256x",
    "--loss hinge": "'hinge' dice",
    "--loss dice+dice": "dice twice",
    "--loss dice --supervised_loss.label_smoothing 0.1": "label_smoothing cross-entropy",
    "--schedule.momentum [0.8,0.9]": "schedule.momentum one-cycle",
    "--regularizer adversarial": "regularizer adversarial-temperature none",
    "--adversarial.temperature_g 0.5": "temperature_g --regularizer adversarial-temperature",
    "--adversarial.temperature_g abc": "adversarial.temperature_g 10000 'abc'",
    "--distillation.alpha 0.5": "--distillation.alpha distillation",
    "--teacher a": "--teacher distillation",
    "--mixer cutmix --mixing.rounding floor": "--mixing.rounding --mixer classmix",
    "--dataset voc": "voc --data-root",
    "--precision fp16 --device cpu": "fp16 GPU",
    "--device gpu0": "'gpu0'",
    "--device cuda:99": "cuda:99",
    "--set nonsense": "nonsense path=value",
    "--set seed=1 --set seed=2": "seed twice",
    "--lr fast": "optimizer.lr 'fast'",
    "--iterations 0": "training.iterations 0",
    "--data.scale 3": "data.scale '3'",
    "--data.crop 32x32 --model.output_stride 32 --data.batch_unlabeled 1": "model.batch_norm 32x32",
    "--name ../run": "name",
    "--config nowhere.yaml": "nowhere.yaml",
    "--resume auto": "--name",
    "--allow-changes": "--resume",
    "--epochs 4 --schedule.warmup_steps 8": "schedule.warmup_steps 8",
}
"""Arguments after --config -> words of the message."""
DATA = {
    "--labeled 9999": "'9999' 1 12",
    "--labeled abc": "'abc'",
    "--labeled no.txt": "no.txt",
    "--labeled up.txt": "up.txt, line 2 root",
    "--labeled absolute.txt": "absolute.txt, line 1 root",
    "--labeled nul.txt": "nul.txt, line 1 root",
    "--unlabeled nowhere": "nowhere",
    "--data-root nowhere": "nowhere",
    "--data-root empty": "empty",
    "--dataset folder --data-root empty": "dataset.yaml",
    "--weights http://localhost/w.pth": "http",
    "--weights nowhere.pth": "nowhere.pth",
}
"""The same, for what is known once the data are open."""


def test_arguments(config: Path, folder: Path) -> None:
    refuses_each("ssl", USAGE, "--config", config)
    refuses_each("ssl", DATA, "--config", config, code=1)
    refuses("ssl", "--data-root", "empty", words=["--config FILE", "--dataset NAME"])
    (folder / "file").write_text("")
    own = ("--config", config, "--output", "file", "--name", "x")
    refuses("ssl", *own, words=["file/x"], code=1)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_on_a_machine_without(config: Path) -> None:
    refuses("ssl", "--config", config, "--device", "cuda", words=["'cuda'"])


FILES = {
    "seed: 1\noptimizer:\n  lr_rate: 1\n": "line 3 'optimizer.lr_rate'",
    "seed: 1\nname: !!python/object/apply:os.system ['touch written']\n": "line 2 tag",
    "model:\n  class_path: torch.nn.Linear\n  init_args: {in_features: 1}\n": "line 2 class_path",
    "stages:\n- {epochs: 2, crop: [32, 32], batch: 2}\ntraining: {epochs: 5}\n": (
        "training.epochs 5"
    ),
}
"""Content of a YAML file -> words of the message; ``tests/config`` has what is no YAML for us."""


def test_files(config: Path, folder: Path) -> None:
    for text, words in FILES.items():
        (folder / "extra.yaml").write_text(text)
        own = ("--config", config, "extra.yaml")
        refuses("ssl", *own, words=[*words.split(), "extra.yaml"])
    text = "supervised_loss: {name: balanced-cross-entropy, frequencies: {rode: 0.5}}\n"
    (folder / "extra.yaml").write_text(text)
    refuses("ssl", *own, words=["frequencies", "'road'"], code=1)
    (folder / "extra.yaml").write_text("mixing: {together: [rider+bycicle]}\n")
    refuses("ssl", *own, words=["mixing.together", "'bicycle'"])


def test_a_process_says_it_on_standard_error(launch: Launcher, config: Path, folder: Path) -> None:
    (folder / "extra.yaml").write_text('"\\e[31mred": 1\n')
    done = launch("train_ssl", "--config", config, "extra.yaml")
    refused(done, "extra.yaml, line 1")
    assert "\x1b" not in done.err
    refused(launch("train_ssl", "--config", config, "--labeled", "abc"), code=1)


# Hostile files ----------------------------------------------------------------------------------


class Payload:
    """Makes a file when an unpickler that trusts the file reads it."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.witness,)


def weights_that_run_code(folder: Path) -> tuple[object, ...]:
    torch.save({"conv1.weight": Payload(folder / "executed")}, folder / "evil.pth")
    return "--weights", "evil.pth"


def split_that_runs_code(folder: Path) -> tuple[object, ...]:
    (folder / "evil.pkl").write_bytes(pickle.dumps(Payload(folder / "executed")))
    return "--labeled", "evil.pkl@1/4"


def weights_with_an_absurd_header(folder: Path) -> tuple[object, ...]:
    (folder / "absurd.safetensors").write_bytes(b"\xff" * 7 + b"\x7f{}")
    return "--weights", "absurd.safetensors"


def weights_of_another_network(folder: Path) -> tuple[object, ...]:
    safetensors.torch.save_file({"layer.weight": torch.zeros(3)}, folder / "other.safetensors")
    return "--weights", "other.safetensors"


def weights_with_another_hash(folder: Path) -> tuple[object, ...]:
    return *weights_of_another_network(folder), "--model.weights_sha256", 64 * "a"


def a_huge_image(folder: Path) -> tuple[object, ...]:
    image = min((folder / "data/train").iterdir())
    image.write_bytes(png_file(15000, 15000, 8, 2, bytes(100)))
    return ()


def an_unknown_id(folder: Path) -> tuple[object, ...]:
    label = min((folder / "data/trainannot").iterdir())
    write_label(label, np.full(SIZE, 200, dtype=np.uint8))
    return ()


CASES: dict[Callable[[Path], tuple[object, ...]], str] = {
    weights_that_run_code: "evil.pth unsafe",
    split_that_runs_code: "evil.pkl unsafe",
    weights_with_an_absurd_header: "absurd.safetensors",
    weights_of_another_network: "90 %",
    weights_with_another_hash: "other.safetensors SHA-256",
    a_huge_image: ".png large",
    an_unknown_id: "trainannot 200",
}
"""What is written and given -> words of the message."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_hostile_files(
    case: Callable[[Path], tuple[object, ...]], config: Path, folder: Path
) -> None:
    for split in ("train", "val"):
        write_camvid(folder / "data", split)
    write_image(folder / "more/a.png")
    own = ("--config", config, "--dataset", "camvid", "--data-root", "data", "--labeled", "full")
    more = ("--unlabeled", "more", "--set", "data.crop=[64,64]", "--output", "out")
    refuses("ssl", *own, *more, *case(folder), words=CASES[case].split(), code=1)
    assert not (folder / "executed").exists()


# Flags of the other commands --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "given", "missing"),
    [
        ("predict", [], {"checkpoint", "paths", "--output"}),
        ("predict", ["run", "photo.png"], {"--output"}),
        ("export", ["run"], {"--output"}),
        ("make-demo", [], {"--out"}),
        ("evaluate", [], {"checkpoint"}),
        ("ablate", [], {"grid"}),
    ],
)
def test_what_is_missing_is_named_as_it_is_typed(
    name: str, given: list[str], missing: set[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        COMMANDS[name].load()(given)
    assert set(re.split(r"[ ,]+", str(error.value).partition(": ")[2])) == missing


def test_a_wrong_value_is_told_of_its_flag() -> None:
    parser = Parser("program", "A program.")
    parser.add("number", "", int)
    parser.add("--batch-size", "", int)
    for arguments, start in ((["x"], "number: "), (["3", "--batch-size", "x"], "--batch-size: ")):
        with pytest.raises(ConfigError, match=f"^{start}"):
            parser.read(arguments)


@pytest.mark.parametrize(
    "name", [name for name, entry in COMMANDS.items() if entry.module != "training"]
)
def test_every_number_has_a_range(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a missing range nor a value beyond one gets past the flags of a command."""
    found: list[argparse.ArgumentParser] = []
    original = argparse.ArgumentParser.parse_known_args

    def instead(parser: argparse.ArgumentParser, *given: object) -> object:
        if not parser.add_help:  # the one that looks for --import
            return original(parser, *given)
        found.append(parser)
        raise ConfigError("seen")

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", instead)
    with pytest.raises(ConfigError, match="seen"):
        COMMANDS[name].load()([])
    for action in found[0]._actions:
        if action.dest in schema() or action.type in (None, str):
            continue
        assert isinstance(action.type, FlagType), f"{action.dest}: give it a FlagType with a Range"
        if not re.search(r"int|float|Size", repr(action.type.hint)):
            continue
        allowed = action.type.allowed
        assert allowed is not None, action.dest
        for value in (allowed.low - 1, allowed.high * 2 + 1, "nan", "inf", "1e999", "0x10"):
            with pytest.raises(ConfigError, match=f"^{action.type.flag}: "):
                action.type(str(value))
