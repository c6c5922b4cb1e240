"""``docs/extending.md``: each of its files, outside the package, in every command."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import yaml
from PIL import Image

from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import (
    REPOSITORY,
    RUN,
    Launcher,
    assert_same_run,
    files_below,
    metrics,
    refused,
)

BLOCK = re.compile(r"^```python\n# (\w+\.py)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILES = dict(BLOCK.findall((REPOSITORY / "docs" / "extending.md").read_text()))
ALL = ("mixer", "weighting", "loss", "network", "layout", "method", "logger", "term")
OWN = (
    *("--mixer", "stripes", "--mixing.stripes", 4),
    *("--weighting", "by-class", "--targets.class_decay", 0.5),
    *("--loss", "clipped", "--supervised_loss.most", 3),
    *("--model.architecture", "two-scores", "--model.width", 8, "--model.output_stride", 32),
    *("--terms", "sharpness", "--sharpness.weight", 0.1),
    *("--training.loggers", "losses-csv", "--losses_csv.column", "gradient_norm"),
)


def test_there_is_a_file_for_each_kind() -> None:
    assert set(FILES) == {f"my_{kind}.py" for kind in ALL}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the document."""
    folder = tmp_path_factory.mktemp("parts")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def imports(parts: Path, *kinds: str) -> list[object]:
    return [word for kind in kinds for word in ("--import", parts / f"my_{kind}.py")]


@pytest.fixture(scope="module")
def trained(
    parts: Path, launch: Launcher, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Path]:
    """Copies a run with five parts of one's own to the folder of a test."""
    cwd = tmp_path_factory.mktemp("trained")
    shutil.copytree(parts, cwd / "mine")
    content = {key: value for key, value in TINY.items() if key != "model"}
    content["model"] = {key: value for key, value in TINY["model"].items() if key != "rates"}
    (cwd / "tiny.yaml").write_text(yaml.safe_dump(content))
    own = imports(Path("mine"), "mixer", "weighting", "loss", "network", "logger", "term")
    flags = ("--config", "tiny.yaml", *RUN, "--iterations", 4)
    launch.ok("train_ssl", *flags, *own, *OWN, cwd=cwd)
    return lambda folder: Path(shutil.copytree(cwd / "out", folder / "out")) / "run"


def test_a_run_remembers_its_parts(
    trained: Callable[[Path], Path], launch: Launcher, tmp_path: Path
) -> None:
    whole, run = trained(tmp_path / "whole"), trained(tmp_path)
    saved = yaml.safe_load((run / "config.yaml").read_text())
    assert [Path(one).name for one in saved["imports"]] == [
        *("my_mixer.py", "my_weighting.py", "my_loss.py", "my_network.py", "my_logger.py"),
        "my_term.py",
    ]
    assert saved["mixing"]["stripes"] == 4 and saved["model"]["width"] == 8
    shutil.rmtree(run / "checkpoints" / "step-00000004")
    (run / "summary.json").unlink()
    # An option of a part is a flag, also where nothing but the run says that there is the part.
    launch.ok("train_ssl", "--resume", "out/run", "--mixing.stripes", 4)
    assert_same_run(whole, run)
    for one in (whole, run):
        lines = [line.split(",") for line in (one / "losses.csv").read_text().splitlines()]
        logged = [line for line in metrics(one) if "gradient_norm" in line]
        assert [[int(a), float(b)] for a, b in lines] == [
            [line["step"], line["gradient_norm"]] for line in logged
        ]
    state = safetensors.torch.load_file(run / "checkpoints/step-00000004/method.safetensors")
    assert (state["mean_confidence"] != 1 / 19).any()


def test_what_was_trained_is_used_without_a_word_of_its_parts(
    trained: Callable[[Path], Path], launch: Launcher, tmp_path: Path
) -> None:
    run = trained(tmp_path)
    launch.ok("evaluate", run, "--precision", "fp32", "--json", "s.json")
    last = json.loads((run / "summary.json").read_text())["last"]
    assert json.loads((tmp_path / "s.json").read_text())["scores"] == last
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for tool, *arguments in (
        ("predict", run, "a.png", "--output", "pred"),
        ("compare", run),
        ("export", run, "--size", "64x64", "--output", "net.pt2"),
        ("figures", "learning-curves", "predictions", "--run", run, "--images", 1),
    ):
        launch.ok(tool, *arguments)
    assert (tmp_path / "pred").is_dir() and (tmp_path / "net.pt2").is_file()
    assert (tmp_path / "figures" / "predictions.png").is_file()


def test_somebody_elses_run_is_refused_until_its_import_is_named(
    trained: Callable[[Path], Path], parts: Path, launch: Launcher, tmp_path: Path
) -> None:
    run = trained(tmp_path)
    stranger = {"XDG_CONFIG_HOME": str(tmp_path / "nobody")}
    for tool, *arguments in (
        ("evaluate", run),
        ("train_ssl", "--resume", run),
        ("train_ssl", "--config", run / "config.yaml"),
    ):
        done = launch(tool, *arguments, **stranger)
        refused(done, "my_mixer.py", "--import")
    # A file of the same name stands for one that is not on this machine.
    own = imports(parts, "mixer", "weighting", "loss", "network", "logger", "term")
    launch.ok("evaluate", run, *own, **stranger)


def test_a_layout_and_a_method(parts: Path, launch: Launcher, tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 1)):
        (tmp_path / "data" / split).mkdir(parents=True)
        for number in range(count):
            path = tmp_path / "data" / split / f"{number}.jpg"
            pixels = chance.integers(0, 256, (64, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path)
            ids = chance.choice(np.array([0, 1, 255], dtype=np.uint8), (64, 64))
            Image.fromarray(ids).save(path.with_name(f"{number}-ids.png"))
    model = {"model": TINY["model"], "data": TINY["data"] | {"labeled": "1/2"}}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(model))
    data = ("--dataset", "pairs", "--data-root", "data", "--data.mask_ending=-ids")
    launch.ok(
        *("train_ssl", "--config", "tiny.yaml", *imports(parts, "layout", "method"), *data),
        *("--method", "confident_entropy", "--confident_entropy.entropy_weight", 0.5),
        *(*RUN, "--iterations", 2, "--training.log_every", 1),
    )
    line = metrics(tmp_path / "out" / "run")[0]
    assert line["loss/entropy"] > 0 and "loss/consistency" not in line
    assert "leaf" in launch.ok("evaluate", "out/run").out
    student = ("--student", "test_efficientnet", "--weights", "none", "--iterations", 1)
    more = ("--workers", 0, "--model.batch_norm", "train", "--schedule.warmup_steps", 0)
    launch.ok("distill", "--teacher", "out/run", *student, *more, "--output", "out")
    launch.ok("check_data", "--config", "tiny.yaml", *imports(parts, "layout"), *data)


@pytest.fixture
def table(grid: Path) -> Path:
    row = "  stripes: {set: {mixing.mixer: stripes, mixing.stripes: 4}}\n"
    text = grid.read_text().replace("default: with CutMix", "default: stripes")
    grid.write_text(text + row)
    return grid


def test_rows_of_a_table(parts: Path, table: Path, launch: Launcher, tmp_path: Path) -> None:
    own = (table, "--output", "out", *imports(parts, "mixer"), "--seeds", 1)
    done = launch.ok("ablate", *own, "--dry-run", "--mixing.stripes", 2, "--rows", "stripes")
    assert "mixing.mixer: classmix -> stripes" in done.out
    shutil.rmtree(tmp_path / "out")
    refused(launch("ablate", table, "--output", "out"), "mixing.stripes")
    table.write_text(table.read_text() + "  typo: {set: {mixing.mixer: stripe}}\n")
    refused(launch("ablate", *own), "row 'typo'", "'stripe'", "stripes")
    assert not files_below(tmp_path / "out")


@pytest.mark.slow
def test_the_runs_of_a_table(parts: Path, table: Path, launch: Launcher, tmp_path: Path) -> None:
    own = (table, "--output", "out", *imports(parts, "mixer"), "--seeds", 1)
    launch.ok("ablate", *own, "--rows", "stripes")
    saved = yaml.safe_load((tmp_path / "out/stripes-seed0/config.yaml").read_text())
    assert saved["imports"] == [str(parts / "my_mixer.py")]
    assert saved["mixing"]["stripes"] == 4
