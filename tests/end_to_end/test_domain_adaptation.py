"""``tools/train_uda.py`` as a person runs it, on data sets in the real layouts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import yaml

from mixseg.data.cityscapes import CITYSCAPES
from mixseg.data.layout import open_dataset
from tests.data.layouts import write_label
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import (
    TOOLS,
    Launcher,
    assert_same_tensors,
    metrics,
    refused,
    refused_saying,
    tree,
)

CLASSES = 19


@pytest.fixture(scope="module")
def uda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Settings of a run of seconds."""
    path = tmp_path_factory.mktemp("config") / "uda.yaml"
    content = TINY | {"method": "domain_adaptation", "source_domain": {"dataset": "gta5"}}
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory, launch: Launcher) -> dict[str, Path]:
    """GTA5 and SYNTHIA of 64x128, Cityscapes of 48x96, each with other scenes."""
    folder = tmp_path_factory.mktemp("roots")
    for name, size, look in (
        ("gta5", "64x128", "render"),
        ("synthia", "64x128", "render"),
        ("cityscapes", "48x96", "camera"),
    ):
        own = ("--out", folder / name, "--layout", name, "--size", size, "--look", look)
        launch.ok("make_demo", *own, "--images", 5, cwd=folder)
    return {name: folder / name for name in ("gta5", "synthia", "cityscapes")}


def real(config: Path, roots: dict[str, Path], source: str, *more: object) -> list[object]:
    return [
        *("--config", config, "--source", source, "--source-root", roots[source]),
        *("--dataset", "cityscapes", "--data-root", roots["cityscapes"]),
        *("--output", "out", "--name", "run", *more),
    ]


def test_on_the_built_in_scenes(uda: Path, launch: Launcher, tmp_path: Path) -> None:
    flags = ("--config", uda, "--output", "out", "--name", "run", "--iterations", 3)
    done = launch.ok("train_uda", *flags)
    run = tmp_path / "out/run"
    for counted in ("12 labeled", "12 unlabeled", "3 validation"):
        assert f": {counted} images" in done.out
    table = (run / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in table[2:6]] == [
        "student, last step",
        "teacher, last step",
        "student, best (chosen on val)",
        "teacher, best (chosen on val)",
    ]
    summary = json.loads((run / "summary.json").read_text())
    assert f"{100 * summary['last']['teacher']['miou']:.2f} |" in table[3]
    for line in metrics(run):
        shares = [value for key, value in line.items() if key.startswith("pseudo-labels/")]
        if "loss/consistency" in line:
            assert len(shares) == CLASSES
            assert sum(shares) == pytest.approx(1)
    assert (run / "pseudo_labels.png").is_file()


def test_synthia_to_cityscapes_of_other_sizes(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    more = ("--iterations", 1, "--set", "data.crop=[32,64]")
    done = launch.ok("train_uda", *real(uda, roots, "synthia", *more))
    assert "classes of synthia: never labeled: terrain, truck, train" in done.out
    for name in ("mIoU", "mIoU-16", "mIoU-13"):
        assert f"│ {name} " in done.out
    heads = (tmp_path / "out/run/table.md").read_text().splitlines()[0]
    assert "mIoU-19 | mIoU* (13) | mIoU (16)" in heads
    # A checkpoint knows where it was trained.
    done = launch("evaluate", "out/run", "--json", "scores.json")
    assert "mIoU-13" in done.out
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]["teacher"]
    assert scores["mIoU-16"] >= scores["miou"] - 1e-9


def test_the_baseline_sees_the_source_alone(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    # Without any training image of the target: only its validation split is read.
    target = tmp_path / "cityscapes"
    shutil.copytree(roots["cityscapes"], target)
    shutil.rmtree(target / "leftImg8bit/train")
    # The command of the run that it is compared with, and one word.
    mixed = ("--teacher.buffers", "own", "--augmentation.blur", "--domains", "intra")
    arguments = real(uda, roots | {"cityscapes": target}, "gta5", *mixed, "--source-only")
    done = launch.ok("train_uda", *arguments, "--iterations", 1)
    for flag in mixed[0], "--augmentation.blur", "--domains":
        assert f"note: {flag} has no effect in a supervised run\n" in done.out
    assert ": 5 labeled images" in done.out
    assert "unlabeled images" not in done.out
    assert not (tmp_path / "out/run/pseudo_labels.png").exists()
    config = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())
    assert config["method"] == "supervised"


def test_photographs_as_a_target_and_unequal_pairs_of_the_source(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    photographs, target, source = (tmp_path / name for name in ("photographs", "city", "gta5"))
    shutil.copytree(roots["cityscapes"] / "leftImg8bit/train", photographs)
    shutil.copytree(roots["cityscapes"], target)
    shutil.rmtree(target / "gtFine/train")
    shutil.copytree(roots["gta5"], source)
    write_label(source / "labels/00003.png", np.full((10, 20), 7, dtype=np.uint8))
    own = roots | {"cityscapes": target, "gta5": source}
    arguments = real(uda, own, "gta5", "--unlabeled", photographs, "--iterations", 1)
    done = launch.ok("train_uda", *arguments, "--set", "data.resize=[64,128]")
    assert "left out 1 pairs of gta5" in done.out
    assert "00003: 128x64 and 20x10 pixels" in done.out
    assert "4 labeled" in done.out


def test_a_target_split_needs_no_labels(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    target = tmp_path / "cityscapes"
    shutil.copytree(roots["cityscapes"], target)
    shutil.rmtree(target / "gtFine/train")
    arguments = real(uda, roots | {"cityscapes": target}, "gta5", "--set", "data.crop=[48,64]")
    refused_saying("uda", *arguments, "--alignment", "target", words=["targets.alignment"], code=1)
    done = launch.ok("train_uda", *arguments, "--iterations", 1)
    assert f"data {target / 'leftImg8bit/train'}: 5 unlabeled images" in done.out
    assert "5 images of the target have no label" in done.out
    ids = (tmp_path / "out/run/unlabeled.txt").read_text()
    labelled = open_dataset("cityscapes", roots["cityscapes"], "train")
    assert ids.splitlines() == [sample.id for sample in labelled.samples]


@pytest.mark.parametrize("alignment", ["labeled", "target"])
def test_other_distributions(
    alignment: str, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    more = ("--domains", "intra", "--alignment", alignment, "--iterations", 1)
    more += ("--set", "validation.every=0")
    launch.ok("train_uda", *real(uda, roots, "gta5", *more))
    (checkpoint,) = (tmp_path / "out/run/checkpoints").glob("step-*")
    wanted = safetensors.torch.load_file(checkpoint / "method.safetensors")["wanted"].numpy()
    name = "gta5" if alignment == "labeled" else "cityscapes"
    opened = open_dataset(name, roots[name], "train")
    labels = np.concatenate([opened.label(index).ravel() for index in range(len(opened))])
    expected = np.bincount(labels[labels != 255], minlength=CLASSES) / (labels != 255).sum()
    np.testing.assert_allclose(wanted, expected, atol=1e-4)


def shares(**changes: object) -> str:
    values = dict.fromkeys(CITYSCAPES.names, 1.0) | {"road": 20} | changes
    return yaml.safe_dump(values)


def test_changed_files_do_not_change_a_resumed_run(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "shares.yaml").write_text(shares())
    arguments = ("--config", uda, "--domains", "intra", "--alignment", "shares.yaml")
    more = ("--iterations", 2, "--output", "a", "--name", "run", "--set", "validation.every=0")
    launch.ok("train_uda", *arguments, *more)
    (tmp_path / "shares.yaml").write_text(shares(road=1000))
    # Nor does a start from another folder, nor a file of the run's own that somebody has edited.
    (tmp_path / "elsewhere").mkdir()
    own = (tmp_path / "a/run/class_map.yaml").read_text()
    (tmp_path / "a/run/class_map.yaml").write_text("road: sky\n")
    more = ("--iterations", 4, "--allow-changes")
    done = launch.ok("train_uda", "--resume", "../a/run", *more / "elsewhere")
    checkpoint = tmp_path / "a/run/checkpoints/step-00000004/method.safetensors"
    assert safetensors.torch.load_file(checkpoint)["wanted"][0] == pytest.approx(20 / 38, rel=1e-4)
    assert "class_map.yaml: was lost or changed" in done.out
    assert (tmp_path / "a/run/class_map.yaml").read_text() == own
    # Labels that mean something else, and another alignment, are refused.
    (tmp_path / "other.yaml").write_text(own.replace("road: road", "road: sky"))
    resume = ("--resume", tmp_path / "a/run", "--allow-changes")
    other = ("--set", f"source_domain.class_map={tmp_path / 'other.yaml'}")
    refused_saying("uda", *resume, *other, words=["class map"], code=1)
    refused_saying("uda", *resume, "--alignment", "uniform", words=["targets.alignment: "])


@pytest.mark.slow
def test_a_bad_file_in_the_middle_costs_nothing(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    """One image of forty; which is seen when depends on the seed."""
    command = [TOOLS / "make_demo.py", "--out", tmp_path / "own", "--images", 40]
    launch.ok(command[0], *command[1:], "--size", "64x128")
    images = sorted((tmp_path / "own/leftImg8bit/train").rglob("*.png"))
    spoilt = images[17]  # not among those that are read before training
    content = spoilt.read_bytes()
    folder = tmp_path / "own/leftImg8bit/train"
    arguments = ("--config", uda, "--unlabeled", folder, "--iterations", 12, "--output", "a")
    schedule = ("--set", "checkpoints.every=100", "validation.every=0", "training.accumulate=2")
    spoilt.write_bytes(content[: len(content) // 2])
    done = launch("train_uda", *arguments, *schedule, "--name", "bad")
    refused(done, str(spoilt), "The run is saved at step", "--resume a/bad", code=1)
    (saved,) = (tmp_path / "a/bad/checkpoints").glob("step-*")
    assert 0 < int(saved.name[5:]) < 10

    # Without it the run would be another one, which has to be asked for.
    spoilt.unlink()
    done = launch("train_uda", "--resume", "a/bad")
    refused(done, "unlabeled images: 1 are gone", "--allow-changes")
    spoilt.write_bytes(content)
    launch.ok("train_uda", "--resume", "a/bad")
    launch.ok("train_uda", *arguments, *schedule, "--name", "good")
    assert_same_tensors(
        tmp_path / "a/good/checkpoints/step-00000012", tmp_path / "a/bad/checkpoints/step-00000012"
    )
    spoilt.unlink()
    more = ("--allow-changes", "--iterations", 13)
    launch.ok("train_uda", "--resume", "a/bad", *more)
    assert len((tmp_path / "a/bad/unlabeled.txt").read_text().splitlines()) == 39


@pytest.mark.slow
def test_a_bad_file_of_the_validation_split(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    command = [TOOLS / "make_demo.py", "--out", tmp_path / "own", "--images", 4]
    more = ("--val-images", 33, "--size", "64x128")
    launch.ok(command[0], *command[1:], *more)
    images = sorted((tmp_path / "own/leftImg8bit/val").rglob("*.png"))
    content = images[1].read_bytes()
    images[1].write_bytes(content[: len(content) // 2])
    arguments = real(uda, roots | {"cityscapes": tmp_path / "own"}, "gta5")
    more = ("--iterations", 4, "--set", "checkpoints.every=100", "validation.every=2")
    done = launch("train_uda", *arguments, *more)
    refused(done, str(images[1]), "The run is saved at step 2", code=1)
    images[1].write_bytes(content)
    launch.ok("train_uda", "--resume", "out/run")
    # The validation that failed has been made good.
    other = ["good" if argument == "run" else argument for argument in (*arguments, *more)]
    launch.ok("train_uda", *other)
    assert metrics(tmp_path / "out/run") == metrics(tmp_path / "out/good")
    assert_same_tensors(
        tmp_path / "out/run/checkpoints/step-00000004",
        tmp_path / "out/good/checkpoints/step-00000004",
    )


REFUSED: dict[str, tuple[int, str]] = {
    "--source gta": (2, "'gta'"),
    "--source cityscapes_": (2, "'cityscapes'"),
    "--alignment unifrom": (2, "'unifrom'"),
    "--alignment bad.yaml": (1, "bad.yaml, line 1: unknown class 'rood'"),
    "--source folder": (2, "--source-root"),
    "--set source_domain.class_map=no.yaml": (2, "no.yaml"),
    "--method semi_supervised": (2, "semi_supervised"),
    "--set source_domain.dataset=null": (2, "source_domain.dataset"),
    "--domains outer": (2, "outer"),
    "--mixer none": (2, "mixing.mixer none"),
    "--labeled 1/8": (2, "source_domain.labeled=1/8"),
    "--set source_domain.scale=[0.5,1.5]": (2, "source_domain.scale"),
}


@pytest.mark.parametrize("arguments", REFUSED)
def test_refused_arguments(arguments: str, uda: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rood: 1\n")
    code, word = REFUSED[arguments]
    refused_saying("uda", "--config", uda, *arguments.split(), words=[word], code=code)
    assert set(tree(tmp_path)) <= {"bad.yaml", "runs"}


def test_refused_data(uda: Path, roots: dict[str, Path], tmp_path: Path) -> None:
    source, images, crop = tmp_path / "gta5", tmp_path / "folder", ("--set", "data.crop=[32,64]")
    shutil.copytree(roots["gta5"], source)
    shutil.copytree(roots["gta5"] / "images", images / "images/train")
    (images / "dataset.yaml").write_text("names: [c0, c1, c2]\n")
    (tmp_path / "map.yaml").write_text("c0: road\nc1: sky\nc2: ignore\n")
    (tmp_path / "empty").mkdir()
    own = roots | {"gta5": source, "folder": images}
    swapped = {"gta5": roots["cityscapes"], "cityscapes": roots["gta5"]}
    no_target = roots | {"cityscapes": tmp_path / "empty"}
    write_label(source / "labels/00001.png", np.full((64, 128), 77, dtype=np.uint8))
    before = tree(tmp_path)

    def refuses(*words: str, given: list[object]) -> None:
        refused_saying("uda", *given, words=words, code=1)
        assert tree(tmp_path) == before

    refuses("64x128", "48x96", "data.crop", given=real(uda, roots, "gta5"))
    refuses("00001.png", "77", given=real(uda, own, "gta5", *crop))
    mapped = (*crop, "source_domain.class_map=map.yaml")
    refuses("5 of the labeled images", given=real(uda, own, "folder", *mapped))
    refuses("GTA5", "leftImg8bit/", given=real(uda, swapped, "gta5"))
    refuses("is empty", given=real(uda, no_target, "gta5"))
    refuses("no unlabeled", given=real(uda, roots, "gta5", "--unlabeled", "empty"))
    shutil.rmtree(source / "labels")
    before = tree(tmp_path)
    refuses("5 of 5 images have no label", "labels", given=real(uda, own, "gta5"))
