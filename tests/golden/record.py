"""Losses and weights of short training runs in float64, which every processor computes alike.

``python -m tests.golden.record`` runs the cases and rewrites ``record.json``; do that only where
results are meant to change. The test compares a new record with the file.

What makes a run portable:

- All arithmetic is in float64. The default dtype of torch is float64, and code that asks for
  float32 gets float64 (:class:`Double`). The order of sums and the instructions of a processor
  then show from the twelfth digit on; in float32 they would from the sixth.
- Images are random bytes in PNG files. Crops, flips and rotation are the same everywhere. Scaling
  is not: torch interpolates bytes in several ways, so no case scales its images.
- Generators of torch and numpy give the same float64 numbers everywhere. Dropout does not, as it
  draws from a library of its own on some processors, so no case has ENet.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch.overrides import TorchFunctionMode

from mixseg import cli

RECORD = Path(__file__).with_name("record.json")
SIDE = 32
CLASSES = ("road", "building", "vegetation", "sky", "car")


class Double(TorchFunctionMode):
    """Whoever asks torch for float32 gets float64."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        widened = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return function(*map(_wide, args), **widened)


def _wide(value: Any) -> Any:
    return torch.float64 if value is torch.float32 else value


@contextmanager
def float64() -> Iterator[None]:
    """All of torch's arithmetic in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Double():
            yield
    finally:
        torch.set_default_dtype(before)


@register_model
def golden_tiny(pretrained: bool = False, **options: Any) -> Any:
    """A ResNet of 3,000 weights."""
    shape = {"block": BasicBlock, "layers": (1, 1, 1, 1), "channels": (4, 4, 6, 6)}
    return build_model_with_cfg(ResNet, "golden_tiny", pretrained, **shape, **options)


# Cases --------------------------------------------------------------------------------------------

JITTER = (
    *("--augmentation.colour_jitter", "0.25", "--augmentation.colour_jitter_probability", "0.9"),
    *("--augmentation.blur", "true"),
)
ADVERSARIAL = (
    *("--regularizer", "adversarial-temperature", "--adversarial.lr", "1e-4"),
    *("--adversarial.temperature_g", "0.5", "--adversarial.temperature_d", "0.7"),
)

SOURCE = ("--source", "folder", "--source-root", "SOURCE")

CASES: dict[str, tuple[str, ...]] = {
    "classmix": (
        *("ssl", *JITTER, "--targets.threshold", "0.22"),
        *("--supervised_loss.label_smoothing", "0.1"),
    ),
    "cutmix, pixelwise, squared error, ohem": (
        *("ssl", "--mixer", "cutmix", "--weighting", "pixelwise", "--consistency", "squared-error"),
        *("--targets.threshold", "0.22", "--loss", "ohem", "--supervised_loss.ohem_share", "0.3"),
        *(*JITTER, "--augmentation.colour_jitter_form", "kornia", "--augmentation.per", "image"),
    ),
    "cowmix, sigmoid, soft targets, aligned": (
        *("ssl", "--mixer", "cowmix", "--weighting", "sigmoid", "--targets.ramp_steps", "4"),
        *("--targets.kind", "soft", "--alignment", "labeled", "--teacher.buffers", "own"),
        *("--mixing.sigma", "[16, 64]"),
    ),
    "no mixer, constant, joint forward, accumulated": (
        *("ssl", "--mixer", "none", "--weighting", "constant", "--model.joint_forward", "true"),
        *("--training.accumulate", "2", "--teacher.mode", "eval", "--loss", "dice"),
    ),
    "stages, one-cycle": (
        *("ssl", "--mixer", "cutmix", "--targets.threshold", "0.22", "--stages"),
        "[{epochs: 1, crop: [32, 32], batch: 2}, {epochs: 1, crop: [48, 32], batch: 1}]",
        *("--schedule.name", "one-cycle", "--schedule.momentum", "[0.85, 0.95]"),
    ),
    "resumed, adversarial, unlabeled maps, aligned, adamw": (
        *("ssl", *ADVERSARIAL, "--adversarial.unlabeled", "true", "--adversarial.loss", "dcgan"),
        *("--optimizer.name", "adamw", "--targets.threshold", "0.22", "--targets.per", "image"),
        *("--alignment", "uniform"),
    ),
    "domains, inter, mixup": (
        *("uda", *SOURCE, *JITTER, "--targets.threshold", "0.22", "--mixing.labeled", "mixup"),
        *("--data.crop", "[40, 32]", "--data.rotate", "10", "--targets.per", "image"),
    ),
    "domains, intra, cowmix": (
        *("uda", *SOURCE, "--domains", "intra", "--mixer", "cowmix", "--alignment", "target"),
        *("--targets.threshold", "0.22"),
    ),
    "source alone": ("uda", *SOURCE, "--source-only", "--mixing.labeled", "cowmix"),
    "supervised, balanced, mixup, clipped": (
        *("supervised", "--loss", "balanced-cross-entropy", "--mixing.labeled", "mixup"),
        *("--optimizer.clip_norm", "0.3", "--schedule.warmup_steps", "2"),
    ),
    "supervised, sum of losses, classmix, fcn8s": (
        *("supervised", "--loss", "cross-entropy + 0.5*dice + 0.3*focal + 0.2*ohem"),
        *("--mixing.labeled", "classmix", "--model.architecture", "fcn8s"),
        *("--model.output_stride", "32", "--model.upsampling", "learnt"),
    ),
    "distilled, unlabeled, pairwise": (
        *("distill", "--distillation.unlabeled", "0.7", "--distillation.pairwise", "0.5"),
    ),
    "distilled, holistic": (
        *("distill", "--distillation.holistic", "true", *ADVERSARIAL, "--iterations", "3"),
    ),
}
"""Name -> command and flags. Data and network are those of :func:`build`."""


def build(name: str, folder: Path) -> list[str]:
    """The command line of a case, with data and run in a folder."""
    command, *flags = CASES[name]
    teacher = ("--teacher", str(folder / "classmix")) if command == "distill" else ()
    return [
        *(command, "--config", str(folder / "base.yaml"), "--data-root", str(folder / "target")),
        *("--output", str(folder), "--name", re.sub(r"[ ,]+", "-", name)),
        *(text.replace("SOURCE", str(folder / "source")) for text in (*teacher, *flags)),
    ]


def write_data(root: Path) -> None:
    """Two data sets of random blocks, ``target`` and ``source``, and the settings of all cases."""
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (len(CLASSES), 3))
    for name, counts in {"target": {"train": 8, "val": 2}, "source": {"train": 6}}.items():
        for split, count in counts.items():
            for kind in ("images", "labels"):
                (root / name / kind / split).mkdir(parents=True)
            for number in range(count):
                blocks = rng.integers(0, len(CLASSES), (SIDE // 8, SIDE // 8)).astype(np.uint8)
                labels = blocks.repeat(8, axis=0).repeat(8, axis=1)
                noise = rng.integers(-40, 41, (SIDE, SIDE, 3))
                image = np.clip(palette[labels] + noise, 0, 255).astype(np.uint8)
                labels[:2] = 255
                for kind, pixels in (("images", image), ("labels", labels)):
                    Image.fromarray(pixels).save(root / name / kind / split / f"{number}.png")
        (root / name / "dataset.yaml").write_text(f"names: [{', '.join(CLASSES)}]\n")
    (root / "base.yaml").write_text(BASE)


BASE = """\
data: {dataset: folder, labeled: 1/2, flip: true, batch_labeled: 2, batch_unlabeled: 2, workers: 0}
model: {backbone: golden_tiny, output_stride: 16, rates: [1, 2], batch_norm: train, weights: none}
optimizer: {lr: 0.01}
training: {iterations: 6, log_every: 1, precision: fp32, device: cpu}
validation: {every: 0}
checkpoints: {every: 3, keep: 9}
"""


# The record ---------------------------------------------------------------------------------------


def recorded(name: str, folder: Path) -> dict[str, Any]:
    """Run a case on the data in a folder; its losses, and numbers that stand for its weights."""
    line = build(name, folder)
    run = folder / line[line.index("--name") + 1]
    if "--teacher" in line and not (folder / "classmix").is_dir():
        recorded("classmix", folder)
    with float64():
        command(line)
        if name.startswith("resumed"):
            shutil.rmtree(max(run.glob("checkpoints/step-*")))
            (run / "summary.json").unlink()
            command([line[0], "--resume", str(run)])
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    last = max(run.glob("checkpoints/step-*"))
    return {
        "steps": [
            {key: value for key, value in one.items() if key.startswith(LOGGED)}
            for one in lines
            if "gradient_norm" in one
        ],
        "weights": {
            "student" if file.stem == "student" else "average": checksums(file)
            for file in sorted(last.glob("*.safetensors"))
            if file.stem in NETWORKS
        },
    }


LOGGED = ("loss/", "lr", "gradient_norm", "confident", "weight", "discriminator", "momentum")
NETWORKS = ("student", "teacher", "average")


def command(line: list[str]) -> None:
    """Run a command in this process."""
    with mock.patch.object(sys, "argv", ["mixseg", *line]):
        code = cli.main()
    if code:
        raise RuntimeError(f"exit code {code}: mixseg {' '.join(line)}")


def checksums(file: Path) -> list[float]:
    """Norm of all weights and statistics, and a sum in which every number has a factor of its own.

    The factors are those of a cosine, so that exchanged weights do not go unseen.
    """
    tensors = safetensors.torch.load_file(file)
    flat = torch.cat([tensors[key].double().flatten() for key in sorted(tensors)])
    factors = torch.cos(torch.arange(len(flat), dtype=torch.float64))
    return [float(flat.norm()), float(flat @ factors)]


def differences(found: Any, wanted: Any, where: str = "") -> Iterator[str]:
    """Where two records differ by more than a billionth."""
    if isinstance(wanted, dict | list) and type(found) is type(wanted):
        keys = wanted.keys() | found.keys() if isinstance(wanted, dict) else range(len(wanted))
        if len(keys) != len(found) or len(keys) != len(wanted):
            yield f"{where}: other names or another number of them"
            return
        for key in keys:
            yield from differences(found[key], wanted[key], f"{where}/{key}")
    elif not math.isclose(found, wanted, rel_tol=1e-9, abs_tol=1e-12):
        yield f"{where}: {found!r}, recorded {wanted!r}"


def main() -> None:
    """Rewrite the record."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder)
        record = {name: recorded(name, folder) for name in CASES}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(one)}" for name, one in record.items())
    RECORD.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
