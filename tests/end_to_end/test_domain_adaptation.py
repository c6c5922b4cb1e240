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
    RUN,
    Launcher,
    assert_same_run,
    assert_same_tensors,
    metrics,
    refused,
    refuses,
    refuses_each,
)

CLASSES = 19
SETS = {
    "gta5": ("64x128", "render"),
    "synthia": ("64x128", "render"),
    "cityscapes": ("48x96", "camera"),
}


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
    for name, (size, look) in SETS.items():
        own = ("--out", name, "--layout", name, "--size", size, "--look", look, "--images", 5)
        launch.ok("make_demo", *own, cwd=folder)
    return {name: folder / name for name in SETS}


@pytest.fixture
def own(roots: dict[str, Path], tmp_path: Path) -> dict[str, Path]:
    """Copies of the first and the last in the folder of a test."""
    names = ("gta5", "cityscapes")
    return {name: Path(shutil.copytree(roots[name], tmp_path / name)) for name in names}


def real(config: Path, roots: dict[str, Path], source: str, *more: object) -> list[object]:
    return [
        *("--config", config, "--source", source, "--source-root", roots[source]),
        *("--dataset", "cityscapes", "--data-root", roots["cityscapes"]),
        *(*RUN, "--iterations", 1, *more),
    ]


def test_on_the_built_in_scenes(uda: Path, launch: Launcher, tmp_path: Path) -> None:
    done = launch.ok("train_uda", "--config", uda, *RUN, "--iterations", 3)
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
    last = json.loads((run / "summary.json").read_text())["last"]
    assert f"{100 * last['teacher']['miou']:.2f} |" in table[3]
    for line in metrics(run):
        shares = [value for key, value in line.items() if key.startswith("pseudo-labels/")]
        if "loss/consistency" in line:
            assert len(shares) == CLASSES and sum(shares) == pytest.approx(1)
    assert (run / "pseudo_labels.png").is_file()


def test_synthia_to_cityscapes_of_other_sizes(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    done = launch.ok("train_uda", *real(uda, roots, "synthia", "--data.crop", "[32,64]"))
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
    uda: Path, own: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    # Without any training image of the target: only its validation split is read.
    shutil.rmtree(own["cityscapes"] / "leftImg8bit/train")
    # The command of the run that it is compared with, and one word.
    mixed = ("--teacher.buffers", "own", "--augmentation.blur", "--domains", "intra")
    done = launch.ok("train_uda", *real(uda, own, "gta5", *mixed, "--source-only"))
    for flag in mixed[0], "--augmentation.blur", "--domains":
        assert f"note: {flag} has no effect in a supervised run\n" in done.out
    assert ": 5 labeled images" in done.out and "unlabeled images" not in done.out
    assert not (tmp_path / "out/run/pseudo_labels.png").exists()
    config = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())
    assert config["method"] == "supervised"


def test_photographs_as_a_target_and_unequal_pairs_of_the_source(
    uda: Path, own: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    shutil.copytree(own["cityscapes"] / "leftImg8bit/train", photographs)
    shutil.rmtree(own["cityscapes"] / "gtFine/train")
    write_label(own["gta5"] / "labels/00003.png", np.full((10, 20), 7, dtype=np.uint8))
    more = ("--unlabeled", photographs, "--data.resize", "[64,128]")
    done = launch.ok("train_uda", *real(uda, own, "gta5", *more))
    assert "left out 1 pairs of gta5" in done.out and "4 labeled" in done.out
    assert "00003: 128x64 and 20x10 pixels" in done.out


def test_a_target_split_needs_no_labels(
    uda: Path, roots: dict[str, Path], own: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    shutil.rmtree(own["cityscapes"] / "gtFine/train")
    arguments = real(uda, own, "gta5", "--data.crop", "[48,64]")
    refuses("uda", *arguments, "--alignment", "target", words=["targets.alignment"], code=1)
    done = launch.ok("train_uda", *arguments)
    assert f"data {own['cityscapes'] / 'leftImg8bit/train'}: 5 unlabeled images" in done.out
    assert "5 images of the target have no label" in done.out
    ids = (tmp_path / "out/run/unlabeled.txt").read_text()
    labeled = open_dataset("cityscapes", roots["cityscapes"], "train")
    assert ids.splitlines() == [sample.id for sample in labeled.samples]


@pytest.mark.parametrize(("alignment", "name"), [("labeled", "gta5"), ("target", "cityscapes")])
def test_other_distributions(
    alignment: str,
    name: str,
    uda: Path,
    roots: dict[str, Path],
    launch: Launcher,
    tmp_path: Path,
) -> None:
    more = ("--domains", "intra", "--alignment", alignment, "--validation.every", 0)
    launch.ok("train_uda", *real(uda, roots, "gta5", *more))
    (checkpoint,) = (tmp_path / "out/run/checkpoints").glob("step-*")
    wanted = safetensors.torch.load_file(checkpoint / "method.safetensors")["wanted"].numpy()
    opened = open_dataset(name, roots[name], "train")
    labels = np.concatenate([opened.label(index).ravel() for index in range(len(opened))])
    expected = np.bincount(labels[labels != 255], minlength=CLASSES) / (labels != 255).sum()
    np.testing.assert_allclose(wanted, expected, atol=1e-4)


def test_changed_files_do_not_change_a_resumed_run(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    def write_shares(road: int) -> None:
        shares = dict.fromkeys(CITYSCAPES.names, 1.0) | {"road": road}
        (tmp_path / "shares.yaml").write_text(yaml.safe_dump(shares))

    write_shares(road=20)
    arguments = ("--config", uda, "--domains", "intra", "--alignment", "shares.yaml")
    launch.ok("train_uda", *arguments, *RUN, "--iterations", 1, "--validation.every", 0)
    run = tmp_path / "out/run"
    write_shares(road=1000)
    # Nor does a start from another folder, nor a file of the run's own that somebody has edited.
    (tmp_path / "elsewhere").mkdir()
    class_map = (run / "class_map.yaml").read_text()
    (run / "class_map.yaml").write_text("road: sky\n")
    more = ("--iterations", 2, "--allow-changes")
    done = launch.ok("train_uda", "--resume", "../out/run", *more, cwd=tmp_path / "elsewhere")
    saved = safetensors.torch.load_file(run / "checkpoints/step-00000002/method.safetensors")
    assert saved["wanted"][0] == pytest.approx(20 / 38, rel=1e-4)
    assert "class_map.yaml: was lost or changed" in done.out
    assert (run / "class_map.yaml").read_text() == class_map
    # Labels that mean something else, and another alignment, are refused.
    (tmp_path / "other.yaml").write_text(class_map.replace("road: road", "road: sky"))
    resume = ("--resume", run, "--allow-changes")
    other = ("--source_domain.class_map", tmp_path / "other.yaml")
    refuses("uda", *resume, *other, words=["class map"], code=1)
    refuses("uda", *resume, "--alignment", "uniform", words=["targets.alignment: "])


@pytest.mark.slow
def test_a_bad_file_in_the_middle_costs_nothing(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    """One image of forty; which is seen when depends on the seed."""
    launch.ok("make_demo", "--out", "own", "--images", 40, "--size", "64x128")
    folder = tmp_path / "own/leftImg8bit/train"
    spoilt = sorted(folder.rglob("*.png"))[17]  # not among those that are read before training
    content = spoilt.read_bytes()
    arguments = ("--config", uda, "--unlabeled", folder, "--iterations", 12, "--output", "a")
    schedule = ("--set", "checkpoints.every=100", "validation.every=0", "training.accumulate=2")
    spoilt.write_bytes(content[: len(content) // 2])
    done = launch("train_uda", *arguments, *schedule, "--name", "bad")
    refused(done, str(spoilt), "The run is saved at step", "--resume a/bad", code=1)
    (saved,) = (tmp_path / "a/bad/checkpoints").glob("step-*")
    assert 0 < int(saved.name[5:]) < 10

    # Without it the run would be another one, which has to be asked for.
    spoilt.unlink()
    words = ["unlabeled images: 1 are gone", "--allow-changes"]
    refuses("uda", "--resume", "a/bad", words=words)
    spoilt.write_bytes(content)
    launch.ok("train_uda", "--resume", "a/bad")
    launch.ok("train_uda", *arguments, *schedule, "--name", "good")
    final = "checkpoints/step-00000012"
    assert_same_tensors(tmp_path / "a/good" / final, tmp_path / "a/bad" / final)
    spoilt.unlink()
    launch.ok("train_uda", "--resume", "a/bad", "--allow-changes", "--iterations", 13)
    assert len((tmp_path / "a/bad/unlabeled.txt").read_text().splitlines()) == 39


@pytest.mark.slow
def test_a_bad_file_of_the_validation_split(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    size = ("--images", 4, "--val-images", 33, "--size", "64x128")
    launch.ok("make_demo", "--out", "own", *size)
    bad = sorted((tmp_path / "own/leftImg8bit/val").rglob("*.png"))[1]
    content = bad.read_bytes()
    bad.write_bytes(content[: len(content) // 2])
    often = ("--set", "checkpoints.every=100", "validation.every=2", "--iterations", 4)
    arguments = real(uda, roots | {"cityscapes": tmp_path / "own"}, "gta5", *often)
    refused(launch("train_uda", *arguments), str(bad), "The run is saved at step 2", code=1)
    bad.write_bytes(content)
    launch.ok("train_uda", "--resume", "out/run")
    # The validation that failed has been made good.
    launch.ok("train_uda", *arguments, "--name", "good")
    run, good = tmp_path / "out/run", tmp_path / "out/good"
    assert metrics(run) == metrics(good)
    assert_same_tensors(*(one / "checkpoints/step-00000004" for one in (run, good)))


@pytest.mark.parametrize("more", [(), ("--source-only",)], ids=" ".join)
def test_a_few_labels_of_the_target(
    more: tuple[str, ...], uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    few = ("--config", uda, "--source", "demo", "--labeled-target", "1/4", *more)
    few = (*few, "--data.batch_target", 1, "--output", "out", "--iterations", 4)
    done = launch.ok("train_uda", *few, "--name", "whole")
    for counted in ("12 labeled images", "3 labeled target images", "3 validation images"):
        assert f": {counted}" in done.out
    whole, cut = tmp_path / "out/whole", tmp_path / "out/cut"
    effective = json.loads((whole / "summary.json").read_text())["effective_batch"]
    assert effective == dict.fromkeys(effective, 2) | {"target": 1}
    listed = [(whole / f"{name}.txt").read_text().splitlines() for name in ("target", "unlabeled")]
    assert [len(ids) for ids in listed] == [3, 9] and not set(listed[0]) & set(listed[1])
    losses = [line["loss/supervised_target"] for line in metrics(whole) if "lr" in line]
    assert len(losses) == 4 and min(losses) > 0
    # It goes on as if nothing had been, from lists that come back.
    launch.start("train_uda", *few, "--name", "cut").killed_after(cut, 2)
    (cut / "target.txt").write_text("")
    done = launch.ok("train_uda", "--resume", cut)
    assert "target.txt: was lost or changed" in done.out
    assert_same_run(whole, cut, settings=False)
    assert (cut / "target.txt").read_text() == (whole / "target.txt").read_text()
    # Other labels are another run, unless it is said.
    other = ("--resume", cut, "--labeled-target", "1/3")
    refuses("uda", *other, words=["data.labeled_target: 1/4 -> 1/3", "--allow-changes"])
    done = launch.ok("train_uda", *other, "--iterations", 5, "--allow-changes")
    assert "accepted: labeled target images: 1 are new" in done.out
    assert len((cut / "target.txt").read_text().splitlines()) == 4


def test_labels_of_the_target_that_changed(
    uda: Path, own: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    crop = ("--data.crop", "[32,64]", "--validation.every", 0)
    few = ("--source-only", "--labeled-target", 2, *crop)
    launch.ok("train_uda", *real(uda, own, "gta5", *few))
    run = tmp_path / "out/run"
    chosen = (run / "target.txt").read_text().splitlines()
    labels = {path.name: path for path in (own["cityscapes"] / "gtFine/train").rglob("*labelIds*")}
    name = f"{Path(chosen[0]).name.removesuffix('_leftImg8bit')}_gtFine_labelIds.png"
    write_label(labels[name], np.zeros((48, 96), dtype=np.uint8))
    words = [f"labeled target images: files of 1 have changed ({chosen[0]}", "--allow-changes"]
    refuses("uda", "--resume", run, words=words)
    # An image more is another draw; the lists of the run, which are named, give it its own.
    for path in (own["cityscapes"] / "leftImg8bit/train").rglob("*.png"), labels.values():
        first = min(path)
        shutil.copy(first, first.with_name(f"aa_{first.name}"))
    lists = f"--labeled-target {run}/target.txt,{run}/unlabeled.txt"
    refuses("uda", "--resume", run, words=["its split is", lists], code=1)
    shares = f"--resume {run} --set source_domain.labeled={run}/labeled.txt {lists}".split()
    launch.ok("train_uda", *shares, "--allow-changes", "--iterations", 2)
    assert (run / "target.txt").read_text().splitlines() == chosen


def test_refused_arguments(uda: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("rood: 1\n")
    cases = {
        "--source gta": "'gta'",
        "--source cityscapes_": "'cityscapes'",
        "--alignment unifrom": "'unifrom'",
        "--source folder": "--source-root",
        "--set source_domain.class_map=no.yaml": "no.yaml",
        "--method semi_supervised": "semi_supervised",
        "--set source_domain.dataset=null": "source_domain.dataset",
        "--domains outer": "outer",
        "--mixer none": "mixing.mixer none",
        "--labeled 1/8": "source_domain.labeled=1/8 --labeled-target",
        "--labeled-target 1/8 --method supervised --set source_domain.dataset=null": "--labeled",
        "--data.batch_target 4": "--labeled-target",
        "--supervised_loss.target_weight 2 --source-only": "--labeled-target",
        "--set source_domain.scale=[0.5,1.5]": "source_domain.scale",
    }
    refuses_each("uda", cases, "--config", uda)
    of_one_domain = {"--labeled-target 1/8": "mixseg uda --source NAME --labeled"}
    refuses_each("ssl", of_one_domain)
    refuses_each("supervised", of_one_domain)
    bad = {"--alignment bad.yaml": "bad.yaml, line 1: 'rood'"}
    bad |= {"--labeled-target 13": "data.labeled_target: 1 to 12"}
    refuses_each("uda", bad, "--config", uda, code=1)


def test_refused_data(
    uda: Path, roots: dict[str, Path], own: dict[str, Path], tmp_path: Path
) -> None:
    source, images = own["gta5"], tmp_path / "folder"
    shutil.copytree(source / "images", images / "images/train")
    (images / "dataset.yaml").write_text("names: [c0, c1, c2]\n")
    (tmp_path / "map.yaml").write_text("c0: road\nc1: sky\nc2: ignore\n")
    (tmp_path / "empty").mkdir()
    write_label(source / "labels/00001.png", np.full((64, 128), 77, dtype=np.uint8))
    swapped = {"gta5": roots["cityscapes"], "cityscapes": roots["gta5"]}

    def refused_data(given: list[object], *words: str) -> None:
        refuses("uda", *given, words=words, code=1)

    crop = ("--set", "data.crop=[32,64]")
    refused_data(real(uda, roots, "gta5"), "64x128", "48x96", "data.crop")
    refused_data(real(uda, own, "gta5", *crop), "00001.png", "77")
    mapped = (*crop, "source_domain.class_map=map.yaml")
    refused_data(real(uda, own | {"folder": images}, "folder", *mapped), "5 of the labeled images")
    refused_data(real(uda, swapped, "gta5"), "GTA5", "leftImg8bit/")
    refused_data(real(uda, own | {"cityscapes": tmp_path / "empty"}, "gta5"), "is empty")
    refused_data(real(uda, roots, "gta5", "--unlabeled", "empty"), "no unlabeled")
    shutil.rmtree(source / "labels")
    refused_data(real(uda, own, "gta5"), "5 of 5 images have no label", "labels")
