"""``tools/train_uda.py`` as a person runs it, on data sets in the real layouts."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import yaml

from mixseg.data.layout import open_dataset
from tests.data.layouts import write_label
from tests.end_to_end.conftest import TINY
from tests.end_to_end.processes import (
    TOOLS,
    Finished,
    Launcher,
    assert_same_run,
    assert_same_tensors,
    metrics,
    refused,
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
        done = launch("make_demo", *own, "--images", 5, cwd=folder)
        assert done.code == 0, done.text
    return {name: folder / name for name in ("gta5", "synthia", "cityscapes")}


def real(config: Path, roots: dict[str, Path], source: str, *more: object) -> list[object]:
    return [
        *("--config", config, "--source", source, "--source-root", roots[source]),
        *("--dataset", "cityscapes", "--data-root", roots["cityscapes"]),
        *("--output", "out", "--name", "run", *more),
    ]


def test_on_the_built_in_scenes(uda: Path, launch: Launcher, tmp_path: Path) -> None:
    flags = ("--config", uda, "--source", "gta5", "--output", "out", "--name", "run")
    done = launch("train_uda", *flags, cwd=tmp_path)
    assert done.code == 0, done.text
    run = tmp_path / "out/run"
    for counted in ("12 labeled", "12 unlabeled", "3 validation"):
        assert f": {counted} images" in done.out
    assert "last step" in done.out
    assert "chosen on this very split" in done.out
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
    crop = "data.crop=[32,64]"
    done = launch("train_uda", *real(uda, roots, "synthia", "--set", crop), cwd=tmp_path)
    assert done.code == 0, done.text
    assert "classes of synthia: never labeled: terrain, truck, train" in done.out
    for name in ("mIoU", "mIoU-16", "mIoU-13"):
        assert f"│ {name} " in done.out
    heads = (tmp_path / "out/run/table.md").read_text().splitlines()[0]
    assert "mIoU-19 | mIoU* (13) | mIoU (16)" in heads
    # A checkpoint knows where it was trained.
    done = launch("evaluate", "out/run", "--json", "scores.json", cwd=tmp_path)
    assert "mIoU-13" in done.out
    scores = json.loads((tmp_path / "scores.json").read_text())["scores"]["teacher"]
    assert scores["mIoU-16"] >= scores["miou"] - 1e-9


def test_without_a_crop_sizes_must_agree(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    done = launch("train_uda", *real(uda, roots, "gta5"), cwd=tmp_path)
    refused(done, "64x128", "48x96", "set data.crop", code=1)
    more = ("--set", "data.resize=[64,128]", "--iterations", 2)
    done = launch("train_uda", *real(uda, roots, "gta5", *more), cwd=tmp_path)
    assert done.code == 0, done.text


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
    done = launch("train_uda", *arguments, cwd=tmp_path)
    assert done.code == 0, done.text
    for flag in mixed[0], "--augmentation.blur", "--domains":
        assert f"note: {flag} has no effect in a supervised run\n" in done.out
    assert ": 5 labeled images" in done.out
    assert "unlabeled images" not in done.out
    assert not (tmp_path / "out/run/pseudo_labels.png").exists()
    config = yaml.safe_load((tmp_path / "out/run/config.yaml").read_text())
    assert config["method"] == "supervised"


def test_a_target_needs_no_labels(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    photographs = tmp_path / "photographs"
    shutil.copytree(roots["cityscapes"] / "leftImg8bit/train", photographs)
    target = tmp_path / "cityscapes"
    shutil.copytree(roots["cityscapes"], target)
    shutil.rmtree(target / "gtFine/train")
    arguments = real(uda, roots | {"cityscapes": target}, "gta5", "--unlabeled", photographs)
    done = launch("train_uda", *arguments, "--set", "data.crop=[32,64]", cwd=tmp_path)
    assert done.code == 0, done.text


def test_unequal_pairs_are_reported_and_left_out(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    source = tmp_path / "gta5"
    shutil.copytree(roots["gta5"], source)
    write_label(source / "labels/00003.png", np.full((10, 20), 7, dtype=np.uint8))
    arguments = real(uda, roots | {"gta5": source}, "gta5", "--set", "data.crop=[32,64]")
    done = launch("train_uda", *arguments, cwd=tmp_path)
    assert done.code == 0, done.text
    assert "left out 1 pairs of gta5" in done.out
    assert "00003: 128x64 and 20x10 pixels" in done.out
    assert "4 labeled" in done.out


def test_alignment_survives_a_kill(uda: Path, launch: Launcher, tmp_path: Path) -> None:
    (tmp_path / "shares.yaml").write_text(shares())
    arguments = ("--config", uda, "--domains", "intra", "--alignment", "shares.yaml")
    done = launch("train_uda", *arguments, *("--output", "a", "--name", "run"), cwd=tmp_path)
    assert done.code == 0, done.text
    run = tmp_path / "b/run"
    process = launch.start(
        "train_uda", *arguments, *("--output", "b", "--name", "run"), cwd=tmp_path
    )
    process.until(lambda: (run / "checkpoints" / "step-00000004").is_dir())
    process.kill(signal.SIGKILL)
    process.wait()
    done = launch("train_uda", "--resume", "b/run", cwd=tmp_path)
    assert done.code == 0, done.text
    assert_same_run(tmp_path / "a/run", run, settings=False)


def shares(**changes: object) -> str:
    from mixseg.data.cityscapes import CITYSCAPES

    values = dict.fromkeys(CITYSCAPES.names, 1.0) | {"road": 20} | changes
    return yaml.safe_dump(values)


@pytest.mark.parametrize("alignment", ["uniform", "labeled", "target"])
def test_other_distributions(
    alignment: str, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    more = ("--domains", "intra", "--alignment", alignment, "--iterations", 1)
    done = launch("train_uda", *real(uda, roots, "gta5", *more), cwd=tmp_path)
    assert done.code == 0, done.text
    (checkpoint,) = (tmp_path / "out/run/checkpoints").glob("step-*")
    wanted = safetensors.torch.load_file(checkpoint / "method.safetensors")["wanted"].numpy()
    if alignment == "uniform":
        expected = np.full(CLASSES, 1 / CLASSES)
    else:
        name = "gta5" if alignment == "labeled" else "cityscapes"
        opened = open_dataset(name, roots[name], "train")
        labels = np.concatenate([opened.label(index).ravel() for index in range(len(opened))])
        expected = np.bincount(labels[labels != 255], minlength=CLASSES) / (labels != 255).sum()
    np.testing.assert_allclose(wanted, expected, atol=1e-4)


def test_changed_files_do_not_change_a_resumed_run(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    (tmp_path / "shares.yaml").write_text(shares())
    arguments = ("--config", uda, "--domains", "intra", "--alignment", "shares.yaml")
    done = launch(
        "train_uda",
        *arguments,
        *("--iterations", 2, "--output", "a", "--name", "run"),
        cwd=tmp_path,
    )
    assert done.code == 0, done.text
    (tmp_path / "shares.yaml").write_text(shares(road=1000))
    more = ("--iterations", 3, "--allow-changes")
    done = launch("train_uda", "--resume", "a/run", *more, cwd=tmp_path)
    assert done.code == 0, done.text
    # Nor do files that are gone, or a start from another folder.
    (tmp_path / "shares.yaml").unlink()
    (tmp_path / "elsewhere").mkdir()
    more = ("--iterations", 4, "--allow-changes")
    done = launch("train_uda", "--resume", "../a/run", *more, cwd=tmp_path / "elsewhere")
    assert done.code == 0, done.text
    checkpoint = tmp_path / "a/run/checkpoints/step-00000004/method.safetensors"
    assert safetensors.torch.load_file(checkpoint)["wanted"][0] == pytest.approx(20 / 38, rel=1e-4)
    # The own file comes back from the checkpoint; labels that mean something else are refused.
    own = (tmp_path / "a/run/class_map.yaml").read_text()
    (tmp_path / "a/run/class_map.yaml").write_text("road: sky\n")
    done = launch("train_uda", "--resume", "a/run", cwd=tmp_path)
    assert done.code == 0, done.text
    assert "class_map.yaml: was lost or changed" in done.out
    assert (tmp_path / "a/run/class_map.yaml").read_text() == own
    (tmp_path / "other.yaml").write_text(own.replace("road: road", "road: sky"))
    other = ("--set", f"source_domain.class_map={tmp_path / 'other.yaml'}", "--allow-changes")
    done = launch("train_uda", "--resume", "a/run", *other, cwd=tmp_path)
    refused(done, "class map has changed", code=1)


def test_alignment_cannot_change_in_the_middle(uda: Path, launch: Launcher, tmp_path: Path) -> None:
    arguments = ("--config", uda, "--iterations", 2, "--output", "a", "--name", "run")
    assert launch("train_uda", *arguments, cwd=tmp_path).code == 0
    more = ("--iterations", 4, "--alignment", "uniform", "--allow-changes")
    done = launch("train_uda", "--resume", "a/run", *more, cwd=tmp_path)
    refused(done, "does not fit such a change: targets.alignment: none -> uniform")


def test_a_target_split_needs_no_labels(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    target = tmp_path / "cityscapes"
    shutil.copytree(roots["cityscapes"], target)
    shutil.rmtree(target / "gtFine/train")
    arguments = real(uda, roots | {"cityscapes": target}, "gta5", "--set", "data.crop=[48,64]")
    done = launch("train_uda", *arguments, "--alignment", "target", cwd=tmp_path)
    refused(done, "targets.alignment target counts labels", "have none", code=1)
    done = launch("train_uda", *arguments, "--iterations", 1, cwd=tmp_path)
    assert done.code == 0, done.text
    assert f"data {target / 'leftImg8bit/train'}: 5 unlabeled images" in done.out
    assert "5 images of the target have no label" in done.out
    ids = (tmp_path / "out/run/unlabeled.txt").read_text()
    labelled = open_dataset("cityscapes", roots["cityscapes"], "train")
    assert ids.splitlines() == [sample.id for sample in labelled.samples]


@pytest.mark.slow
def test_a_bad_file_in_the_middle_costs_nothing(
    uda: Path, launch: Launcher, tmp_path: Path
) -> None:
    """One image of forty; which is seen when depends on the seed."""
    command = [TOOLS / "make_demo.py", "--out", tmp_path / "own", "--images", 40]
    assert launch(command[0], *command[1:], "--size", "64x128", cwd=tmp_path).code == 0
    images = sorted((tmp_path / "own/leftImg8bit/train").rglob("*.png"))
    spoilt = images[17]  # not among those that are read before training
    content = spoilt.read_bytes()
    folder = tmp_path / "own/leftImg8bit/train"
    arguments = ("--config", uda, "--unlabeled", folder, "--iterations", 12, "--output", "a")
    schedule = ("--set", "checkpoints.every=100", "validation.every=0", "training.accumulate=2")
    spoilt.write_bytes(content[: len(content) // 2])
    done = launch("train_uda", *arguments, *schedule, "--name", "bad", cwd=tmp_path)
    refused(done, str(spoilt), "The run is saved at step", "--resume a/bad", code=1)
    (saved,) = (tmp_path / "a/bad/checkpoints").glob("step-*")
    assert 0 < int(saved.name[5:]) < 10

    # Without it the run would be another one, which has to be asked for.
    spoilt.unlink()
    done = launch("train_uda", "--resume", "a/bad", cwd=tmp_path)
    refused(done, "unlabeled images: 1 are gone", "--allow-changes")
    spoilt.write_bytes(content)
    done = launch("train_uda", "--resume", "a/bad", cwd=tmp_path)
    assert done.code == 0, done.text
    done = launch("train_uda", *arguments, *schedule, "--name", "good", cwd=tmp_path)
    assert done.code == 0, done.text
    assert_same_tensors(
        tmp_path / "a/good/checkpoints/step-00000012", tmp_path / "a/bad/checkpoints/step-00000012"
    )
    spoilt.unlink()
    more = ("--allow-changes", "--iterations", 13)
    done = launch("train_uda", "--resume", "a/bad", *more, cwd=tmp_path)
    assert done.code == 0, done.text
    assert len((tmp_path / "a/bad/unlabeled.txt").read_text().splitlines()) == 39


@pytest.mark.slow
def test_a_bad_file_of_the_validation_split(
    uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
) -> None:
    command = [TOOLS / "make_demo.py", "--out", tmp_path / "own", "--images", 4]
    more = ("--val-images", 33, "--size", "64x128")
    assert launch(command[0], *command[1:], *more, cwd=tmp_path).code == 0
    images = sorted((tmp_path / "own/leftImg8bit/val").rglob("*.png"))
    content = images[1].read_bytes()
    images[1].write_bytes(content[: len(content) // 2])
    arguments = real(uda, roots | {"cityscapes": tmp_path / "own"}, "gta5")
    more = ("--iterations", 4, "--set", "checkpoints.every=100", "validation.every=2")
    done = launch("train_uda", *arguments, *more, cwd=tmp_path)
    refused(done, str(images[1]), "The run is saved at step 2", code=1)
    images[1].write_bytes(content)
    done = launch("train_uda", "--resume", "out/run", cwd=tmp_path)
    assert done.code == 0, done.text
    # The validation that failed has been made good.
    other = ["good" if argument == "run" else argument for argument in (*arguments, *more)]
    done = launch("train_uda", *other, cwd=tmp_path)
    assert done.code == 0, done.text
    assert metrics(tmp_path / "out/run") == metrics(tmp_path / "out/good")
    assert_same_tensors(
        tmp_path / "out/run/checkpoints/step-00000004",
        tmp_path / "out/good/checkpoints/step-00000004",
    )


def test_alignment_in_semi_supervised_training(
    config: Path, launch: Launcher, tmp_path: Path
) -> None:
    arguments = ("--config", config, "--alignment", "labeled", "--iterations", 1)
    done = launch("train_ssl", *arguments, cwd=tmp_path)
    assert done.code == 0, done.text


class TestRefusals:
    def run(
        self, launch: Launcher, cwd: Path, arguments: list[object], tool: str = "train_uda"
    ) -> Finished:
        before = tree(cwd)
        done = launch(tool, *arguments, cwd=cwd)
        assert tree(cwd) == before
        return done

    def test_missing_label_folder(
        self, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
    ) -> None:
        source = tmp_path / "gta5"
        shutil.copytree(roots["gta5"], source)
        shutil.rmtree(source / "labels")
        done = self.run(launch, tmp_path, real(uda, roots | {"gta5": source}, "gta5"))
        refused(done, "5 of 5 images have no label", "labels is not a folder", code=1)

    def test_unknown_ids(
        self, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
    ) -> None:
        source = tmp_path / "gta5"
        shutil.copytree(roots["gta5"], source)
        write_label(source / "labels/00001.png", np.full((64, 128), 77, dtype=np.uint8))
        more = ("--set", "data.crop=[32,64]")
        done = self.run(launch, tmp_path, real(uda, roots | {"gta5": source}, "gta5", *more))
        refused(done, "00001.png", "label id 77", code=1)

    def test_source_without_labels(
        self, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
    ) -> None:
        source = tmp_path / "folder"
        shutil.copytree(roots["gta5"] / "images", source / "images/train")
        names = ", ".join(f"c{number}" for number in range(3))
        (source / "dataset.yaml").write_text(f"names: [{names}]\n")
        (tmp_path / "map.yaml").write_text("c0: road\nc1: sky\nc2: ignore\n")
        more = ("--set", "data.crop=[32,64]", f"source_domain.class_map={tmp_path}/map.yaml")
        arguments = real(uda, roots | {"folder": source}, "folder", *more)
        done = self.run(launch, tmp_path, arguments)
        refused(done, "5 of the labeled images of folder 'train' have no label", code=1)

    def test_swapped_roots(
        self, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
    ) -> None:
        swapped = {"gta5": roots["cityscapes"], "cityscapes": roots["gta5"]}
        done = self.run(launch, tmp_path, real(uda, swapped, "gta5"))
        refused(done, "GTA5 split 'train' is empty", "leftImg8bit/", code=1)

    def test_empty_target(
        self, uda: Path, roots: dict[str, Path], launch: Launcher, tmp_path: Path
    ) -> None:
        (tmp_path / "empty").mkdir()
        empty = roots | {"cityscapes": tmp_path / "empty"}
        refused(self.run(launch, tmp_path, real(uda, empty, "gta5")), "is empty", code=1)
        arguments = real(uda, roots, "gta5", "--unlabeled", tmp_path / "empty")
        refused(self.run(launch, tmp_path, arguments), "no unlabeled images", code=1)

    @pytest.mark.parametrize(
        ("arguments", "code", "problem"),
        [
            (["--source", "gta"], 2, "source_domain.dataset: unknown dataset 'gta'"),
            (["--source", "cityscapes_"], 2, "Did you mean 'cityscapes'?"),
            (["--alignment", "unifrom"], 2, "'unifrom' is neither one of"),
            (["--alignment", "bad.yaml"], 1, "bad.yaml, line 1: unknown class 'rood'"),
            (["--source", "folder"], 2, "where is folder? Give its folder with --source-root"),
            (["--set", "source_domain.class_map=no.yaml"], 2, "no.yaml: cannot be read"),
            (["--method", "semi_supervised"], 2, "semi_supervised has no source"),
            (["--set", "source_domain.dataset=null"], 2, "needs source_domain.dataset"),
            (["--domains", "outer"], 2, "outer"),
            (["--mixer", "none"], 2, "the target would never be seen"),
            (["--labeled", "1/8"], 2, "source_domain.labeled=1/8"),
            (["--set", "source_domain.scale=[0.5,1.5]"], 2, "source_domain.scale needs data.crop"),
        ],
    )
    def test_arguments(
        self,
        arguments: list[object],
        code: int,
        problem: str,
        uda: Path,
        launch: Launcher,
        tmp_path: Path,
    ) -> None:
        (tmp_path / "bad.yaml").write_text("rood: 1\n")
        done = self.run(launch, tmp_path, ["--config", uda, *arguments])
        refused(done, problem, code=code)
