"""What is refused is said on stderr without a traceback, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data.layouts import write_image
from tests.end_to_end.processes import Launcher, refused

# Arguments after --config, exit code, and what the message has to say. DIR is the test's folder.
ARGUMENTS: dict[str, tuple[list[str], int, list[str]]] = {
    "flag": (["--learning-rate", "1"], 2, ["unknown flag '--learning-rate'"]),
    "near flag": (["--iteration", "3"], 2, ["'--iteration'. Did you mean '--iterations'?"]),
    "mixer": (["--mixer", "classmax"], 2, ["mixing.mixer", "Did you mean 'classmix'?", "cowmix"]),
    "weighting": (
        ["--weighting", "pixelwize"],
        2,
        ["targets.weighting", "Did you mean 'pixelwise'?"],
    ),
    "backbone": (["--backbone", "resnet110"], 2, ["model.backbone", "'resnet1"]),
    "size of a backbone": (
        ["--backbone", "test_maxvit", "--set", "model.output_stride=32"],
        2,
        ["model.backbone 'test_maxvit'", "160x"],
    ),
    "class path": (["--mixer", "os.system"], 2, ["unknown mixer 'os.system'", "Choices:"]),
    "dataset": (["--dataset", "citiscapes"], 2, ["Did you mean 'cityscapes'?"]),
    "none labelled": (["--labeled", "0"], 1, ["'0'", "from 1 to 12"]),
    "too many labelled": (["--labeled", "9999"], 1, ["'9999'", "from 1 to 12"]),
    "share above one": (["--labeled", "9/8"], 1, ["'9/8'", "1 at most"]),
    "labelled words": (["--labeled", "abc"], 1, ["'abc'", "a fraction such as 1/8"]),
    "missing list": (["--labeled", "no.txt"], 1, ["no.txt: no such file"]),
    "escaping list": (["--labeled", "DIR/up.txt"], 1, ["up.txt, line 2", "escapes the root"]),
    "absolute list": (["--labeled", "DIR/absolute.txt"], 1, ["line 1", "escapes the root"]),
    "unlabelled nowhere": (["--unlabeled", "nowhere"], 1, ["unlabelled", "nowhere"]),
    "missing root": (["--data-root", "nowhere"], 1, ["nowhere"]),
    "empty root": (["--data-root", "DIR/empty"], 1, ["empty"]),
    "empty folder data": (
        ["--dataset", "folder", "--data-root", "DIR/empty"],
        1,
        ["dataset.yaml is missing"],
    ),
    "no root": (["--dataset", "voc"], 2, ["where is voc?", "--data-root DIR"]),
    "fp16 on a CPU": (["--precision", "fp16", "--device", "cpu"], 2, ["fp16 needs a GPU"]),
    "device": (["--device", "gpu0"], 2, ["'gpu0' is not a device"]),
    "missing GPU": (["--device", "cuda:99"], 2, ["cuda:99", "CUDA devices"]),
    "set without value": (["--set", "nonsense"], 2, ["--set nonsense: expected path=value"]),
    "set of nothing": (["--set", "optimizer.lrr=1"], 2, ["Did you mean 'optimizer.lr'?"]),
    "set twice": (["--set", "seed=1", "--set", "seed=2"], 2, ["seed is given twice"]),
    "not a number": (["--lr", "fast"], 2, ["--lr: expected a number"]),
    "out of range": (
        ["--iterations", "0"],
        2,
        ["--iterations: expected a whole number from 1", "'0'"],
    ),
    "negative": (["--seed", "-1"], 2, ["--seed: expected", "'-1'"]),
    "range of the average": (
        ["--teacher.decay", "2"],
        2,
        ["--teacher.decay: expected a number from 0 to 1"],
    ),
    "teacher of another method": (["--teacher", "a"], 2, ["distillation.teacher", "tools/distill"]),
    "idle regularizer": (
        ["--adversarial.temperature_g", "0.5"],
        2,
        ["--adversarial.temperature_g does nothing without --regularizer adversarial-temperature"],
    ),
    "idle distillation": (
        ["--distillation.alpha", "0.5"],
        2,
        ["--distillation.alpha does nothing without tools/distill.py"],
    ),
    "no number": (
        ["--adversarial.temperature_g", "abc"],
        2,
        ["--adversarial.temperature_g: expected a number from 0.01 to 10000, found 'abc'"],
    ),
    "no choice": (["--precision", "zz"], 2, ["expected one of auto, fp32", "zz"]),
    "no such method": (
        ["--method", "semi_supervisd", "--mixer", "cutmix"],
        2,
        ["Did you mean 'semi_supervised'?"],
    ),
    "misspelt short flag": (["--teachr", "x"], 2, ["Did you mean '--teacher'?"]),
    "short flag without value": (["--teacher"], 2, ["--teacher: expected one argument"]),
    "no list": (["--data.scale", "3"], 2, ["--data.scale: expected 2 numbers", "'3'"]),
    "no list of numbers": (["--data.scale", "[1,a]"], 2, ["--data.scale: expected 2 numbers"]),
    "idle mixer": (
        ["--mixer", "cutmix", "--mixing.rounding", "floor"],
        2,
        ["--mixing.rounding does nothing without --mixer classmix"],
    ),
    "no size": (["--data.crop", "64"], 2, ["--data.crop", "HEIGHTxWIDTH", "'64'"]),
    "one value per channel": (
        ["--data.crop", "32x32", "--model.output_stride", "32", "--data.batch_unlabeled", "1"],
        2,
        ["model.batch_norm train: 32x32 pixels", "a batch of one image"],
    ),
    "name with a path": (["--name", "../run"], 2, ["name must consist of letters"]),
    "weights over http": (["--weights", "http://localhost/w.pth"], 1, ["http"]),
    "missing weights": (["--weights", "nowhere.pth"], 1, ["nowhere.pth"]),
    "missing config": (["--config", "nowhere.yaml"], 2, ["nowhere.yaml: there is no such file"]),
}

# Lines of a YAML file, and what the message has to say.
FILES: dict[str, tuple[str, list[str]]] = {
    "unknown key": (
        "seed: 1\noptimizer:\n  lr_rate: 1\n",
        ["extra.yaml, line 3", "unknown setting 'optimizer.lr_rate'", "Did you mean"],
    ),
    "unknown section": ("optimiser:\n  lr: 1\n", ["line 1", "Did you mean 'optimizer'?"]),
    "duplicate key": ("seed: 1\nname: x\nseed: 2\n", ["line 3", "duplicate key 'seed'"]),
    "python tag": (
        "seed: 1\nname: !!python/object/apply:os.system ['touch written']\n",
        ["line 2", "tag"],
    ),
    "class path": (
        "model:\n  class_path: torch.nn.Linear\n  init_args: {in_features: 1}\n",
        ["line 2", "class_path"],
    ),
    "class path as a name": ("mixing:\n  mixer: os.system\n", ["unknown mixer 'os.system'"]),
    "alias": ("seed: &a 1\nname: *a\n", ["line 2", "aliases"]),
    "wrong type": ("training:\n  iterations: many\n", ["line 2", "training.iterations must be"]),
    "not a mapping": ("- 1\n- 2\n", ["expected 'key: value' lines"]),
    "not YAML": ("seed: [1\n", ["extra.yaml"]),
    "terminal escapes": ('"\\e[31mred": 1\n', ["unknown setting"]),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "empty").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "up.txt").write_text("aldenau/aldenau_000000_000019_leftImg8bit\n../x.png\n")
    (tmp_path / "absolute.txt").write_text("/etc/passwd\n")
    return tmp_path


@pytest.mark.parametrize("case", ARGUMENTS)
def test_arguments(case: str, launch: Launcher, config: Path, folder: Path) -> None:
    arguments, code, fragments = ARGUMENTS[case]
    arguments = [argument.replace("DIR", str(folder)) for argument in arguments]
    done = launch("train_ssl", "--config", config, "--output", "out", *arguments, cwd=folder)
    refused(done, *fragments, code=code)
    assert not [*(folder / "out").iterdir()]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_on_a_machine_without(launch: Launcher, config: Path, folder: Path) -> None:
    done = launch(
        "train_ssl", "--config", config, "--output", "out", "--device", "cuda", cwd=folder
    )
    refused(done, "'cuda': this machine has 0 CUDA devices")
    assert not [*(folder / "out").iterdir()]


@pytest.mark.parametrize("case", FILES)
def test_files(case: str, launch: Launcher, config: Path, folder: Path) -> None:
    text, fragments = FILES[case]
    (folder / "extra.yaml").write_text(text)
    done = launch("train_ssl", "--config", config, "extra.yaml", "--output", "out", cwd=folder)
    refused(done, *fragments)
    assert "\x1b" not in done.err
    assert not [*(folder / "out").iterdir()]
    assert not (folder / "written").exists()


def test_a_root_without_a_layout(launch: Launcher, folder: Path) -> None:
    done = launch("train_ssl", "--data-root", "empty", "--output", "out", cwd=folder)
    refused(done, "--data-root needs --config FILE or --dataset NAME")
    assert not [*(folder / "out").iterdir()]


def test_the_output_cannot_be_made(launch: Launcher, config: Path, folder: Path) -> None:
    (folder / "file").write_text("")
    done = launch("train_ssl", "--config", config, "--output", "file", "--name", "x", cwd=folder)
    refused(done, "file/x: cannot be made", code=1)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_is_damaged(
    workers: int, launch: Launcher, config: Path, folder: Path
) -> None:
    # More images than are looked at before training, so that a step runs into it.
    root = folder / "photographs"
    for number in range(40):
        write_image(root / f"{number:02}.png", number, (64, 128))
    damaged = root / "07.png"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    done = launch(
        "train_ssl",
        *("--config", config, "--output", "out", "--name", "run", "--workers", workers),
        *("--unlabeled", root, "--iterations", 40, "--set", "validation.every=0"),
        cwd=folder,
    )
    refused(done, str(damaged), code=1)
