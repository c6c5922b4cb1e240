"""The images of a run, opened from settings in this process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixseg.analysis.noise import NoiseRun
from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.data.images import read_index_png
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE
from mixseg.training.data import RunData, TrainingData
from tests.data.layouts import (
    write_bdd100k,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_image,
    write_instances,
    write_label,
)


def settings_of(dataset: str, root: Path, **overrides: object) -> Settings:
    own = {"data.dataset": dataset, "data.root": str(root), "data.crop": [32, 32]}
    return resolve_settings([], own | overrides)


def opened(dataset: str, root: Path, **overrides: object) -> TrainingData:
    return RunData(settings_of(dataset, root, **overrides)).training()


def images(data: TrainingData) -> dict[str, set[Path]]:
    """Stream -> files, links resolved."""
    return {
        name: {dataset.samples[i].image.resolve() for i in indices}
        for name, (dataset, indices) in data.streams.items()
    } | {"val": {sample.image.resolve() for sample in data.val.samples}}


class TestHeldOut:
    def test_it_is_in_no_stream(self, tmp_path: Path) -> None:
        write_folder(tmp_path, "train", count=10)
        everything = {path.resolve() for path in tmp_path.glob("images/**/*.*")}
        data = opened("folder", tmp_path, **{"data.val": "1/5", "data.labeled": "1/4"})
        parts = images(data)
        assert [len(parts[name]) for name in ("labeled", "unlabeled", "val")] == [2, 6, 2]
        assert set().union(*parts.values()) == everything
        assert any("2 of 10 labeled images" in note for note in data.notes)

    def test_photographs_may_be_the_same_files(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "data", "train", count=10)
        (tmp_path / "photos").symlink_to(tmp_path / "data/images")
        photos = {"data.unlabeled": str(tmp_path / "photos")}
        given = {"data.val": "6", "data.labeled": "full"} | photos
        data = opened("folder", tmp_path / "data", **given)
        parts = images(data)
        assert len(parts["val"]) == 6
        assert not parts["val"] & (parts["labeled"] | parts["unlabeled"])

    def test_it_comes_before_a_validation_split(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=10)
        write_camvid(tmp_path, split="val", count=3)
        data = opened("camvid", tmp_path, **{"data.val": "2"})
        assert len(data.val) == 2 and data.val.split == "train"
        assert any("the 3 images of split 'val' are not used" in note for note in data.notes)

    def test_of_a_target(self, tmp_path: Path) -> None:
        """Those are held out that have a label; the rest is trained on without."""
        write_cityscapes(tmp_path / "source")
        names = write_camvid(tmp_path / "target", count=10)
        for name in names[::2]:
            (tmp_path / "target/trainannot" / f"{name}.png").unlink()
        settings = settings_of(
            "camvid",
            tmp_path / "target",
            **{
                "method": "domain_adaptation",
                "source_domain.dataset": "cityscapes",
                "source_domain.root": str(tmp_path / "source"),
                "data.val": "3",
            },
        )
        data = RunData(settings).training()
        held_out = {sample.id for sample in data.val.samples}
        assert held_out == set(data.split.held_out) and held_out < set(names[1::2])
        assert {sample.id for sample in data.unlabeled.samples} == set(names) - held_out
        assert len(data.split.labeled) == 5
        other = RunData(settings_with(settings, "data.val", "2")).training()
        assert other.split.labeled == data.split.labeled
        assert other.split.digest != data.split.digest

    def test_the_record_of_a_run_counts(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "data", "train", count=10)
        write_folder(tmp_path / "data", "other", count=1)
        settings = settings_of("folder", tmp_path / "data", **{"data.val": "1/5"})
        drawn, _ = RunData(settings).judged(None, tmp_path)
        recorded = sorted(s.id for s in RunData(settings).training().labeled.samples)[:2]
        assert [sample.id for sample in drawn.samples] != recorded
        (tmp_path / "val.txt").write_text("".join(f"{key}\n" for key in recorded))
        found, _ = RunData(settings).judged(None, tmp_path)
        assert [sample.id for sample in found.samples] == recorded
        assert len(RunData(settings).judged("other", tmp_path)[0]) == 1


RARE = {"mixing.rare_temperature": 0.1}
SUPERVISED = {"method": "supervised"}
COUNTED = {"class_shares", "related", "instances"}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, set()),
        ({"supervised_loss.name": "dice + 2*balanced-cross-entropy"}, {"class_shares"}),
        (RARE, {"class_shares"}),
        (RARE | {"mixing.mixer": "cutmix"}, set()),
        (RARE | SUPERVISED, set()),
        (RARE | SUPERVISED | {"mixing.labeled": "classmix"}, {"class_shares"}),
        ({"mixing.together": "auto"}, {"related"}),
        ({"mixing.together": "pole+traffic sign"}, set()),
        ({"mixing.instances": True}, set()),  # unlabeled images have none
        ({"mixing.instances": True, "mixing.labeled": "classmix"}, {"instances"}),
    ],
)
def test_labels_are_counted_only_for_parts_that_ask(
    changes: dict[str, object], expected: set[str]
) -> None:
    assert RunData(resolve_settings([], changes)).asked & COUNTED == expected


INSTANCES = {"mixing.instances": True, "mixing.labeled": "classmix", "data.labeled": "3/5"}


class TestInstances:
    def test_they_are_read_where_they_are_asked_for(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path)
        write_cityscapes(tmp_path, "val", {"ulm": 1})
        assert not opened("cityscapes", tmp_path).instances
        with pytest.raises(ConfigError, match=r"3 of 3 labeled images .* tells instances apart"):
            opened("cityscapes", tmp_path, **INSTANCES)
        # Nothing is mixed by them here.
        assert not opened(
            "cityscapes", tmp_path, **INSTANCES | {"mixing.labeled": "none"}
        ).instances
        write_instances(tmp_path)
        data = opened("cityscapes", tmp_path, **INSTANCES)
        assert data.instances
        chosen = data.labeled.samples[data.split.labeled[0]].instances
        assert chosen is not None
        chosen.write_bytes(b"damaged")
        with pytest.raises(DataError, match="instanceIds"):
            opened("cityscapes", tmp_path, **INSTANCES)
        chosen.unlink()
        with pytest.raises(ConfigError, match="1 of 3 labeled images"):
            opened("cityscapes", tmp_path, **INSTANCES)

    def test_a_layout_without_them_is_refused(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=5)
        write_camvid(tmp_path, split="val", count=1)
        with pytest.raises(ConfigError, match=r"mixing\.instances"):
            opened("camvid", tmp_path, **INSTANCES)


def settings_with(settings: Settings, path: str, value: object) -> Settings:
    return resolve_settings([], to_flat(settings) | {path: value})


class TestUnpaired:
    @pytest.mark.parametrize("accepted", [{"data.unpaired": "skip"}, {"data.skip_bad": True}])
    def test_they_are_left_out_and_counted(
        self, tmp_path: Path, accepted: dict[str, object]
    ) -> None:
        names = write_bdd100k(tmp_path, count=6)
        val = write_bdd100k(tmp_path, "val", count=3)
        without = [names[1], val[0]]
        for split, name in zip(("train", "val"), without, strict=True):
            (tmp_path / "labels/sem_seg/masks" / split / f"{name}.png").unlink()
        with pytest.raises(DataError, match="1 of 6 images have no label"):
            opened("bdd100k", tmp_path)
        data = opened("bdd100k", tmp_path, **accepted)
        assert [sample.id for sample in data.labeled.samples] == [names[0], *names[2:]]
        assert [sample.id for sample in data.val.samples] == val[1:]
        assert [path.stem for path in (*data.labeled.unpaired, *data.val.unpaired)] == without
        assert sum("1 images of bdd100k" in note for note in data.notes) == 2
        assert sum(map(len, (data.split.labeled, data.split.unlabeled))) == 5

    def test_of_a_source(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path / "source")
        next((tmp_path / "source/gtFine").rglob("*.png")).unlink()
        write_camvid(tmp_path / "target", count=3)
        write_camvid(tmp_path / "target", split="val", count=1)
        given = {
            "method": "domain_adaptation",
            "source_domain.dataset": "cityscapes",
            "source_domain.root": str(tmp_path / "source"),
        }
        with pytest.raises(DataError, match="have no label"):
            opened("camvid", tmp_path / "target", **given)
        given["data.unpaired"] = "skip"
        data = opened("camvid", tmp_path / "target", **given)
        assert len(data.split.labeled) == 4 and len(data.labeled.unpaired) == 1


@pytest.fixture
def domains(tmp_path: Path) -> Path:
    """A folder with ``source``, five frames of Cityscapes, and ``target``, ten of CamVid."""
    write_cityscapes(tmp_path / "source")
    write_camvid(tmp_path / "target", count=10)
    write_camvid(tmp_path / "target", split="val", count=2)
    return tmp_path


def across(domains: Path, **overrides: object) -> Settings:
    own = {
        "method": "domain_adaptation",
        "source_domain.dataset": "cityscapes",
        "source_domain.root": str(domains / "source"),
        "data.labeled_target": "1/4",
    }
    return settings_of("camvid", domains / "target", **own | overrides)


def ids_of(data: TrainingData, stream: str) -> list[str]:
    dataset, indices = data.streams[stream]
    return [dataset.samples[index].id for index in indices]


class TestLabeledTarget:
    def test_the_rest_of_the_target_is_unlabeled(self, domains: Path) -> None:
        data = RunData(across(domains, **{"data.val": "2"})).training()
        parts = images(data)
        assert {name: len(files) for name, files in parts.items()} == {
            "labeled": 5,
            "target": 2,
            "unlabeled": 6,
            "val": 2,
        }
        target = {path.resolve() for path in (domains / "target/train").iterdir()}
        assert parts["target"] | parts["unlabeled"] | parts["val"] == target
        assert list(data.record["target"]) == ids_of(data, "target")

    def test_a_run_on_the_target_alone_has_the_same_labels(self, domains: Path) -> None:
        """What a source gains is then not a matter of the images that were drawn."""
        for part in ("1/4", "7"):
            both = RunData(across(domains, **{"data.labeled_target": part})).training()
            alone = opened("camvid", domains / "target", **{"data.labeled": part})
            assert ids_of(both, "target") == ids_of(alone, "labeled")
            assert ids_of(both, "unlabeled") == ids_of(alone, "unlabeled")

    def test_the_split_of_a_run_tells_it(self, domains: Path) -> None:
        parts = (None, "1/4", "7")
        digests = {
            RunData(across(domains, **{"data.labeled_target": part})).training().split.digest
            for part in parts
        }
        assert len(digests) == len(parts)

    def test_lists(self, domains: Path) -> None:
        names = [path.stem for path in sorted((domains / "target/train").iterdir())]
        (domains / "a.txt").write_text("\n".join(names[:3]))
        (domains / "b.txt").write_text("\n".join(names[5:7]))
        pair = f"{domains}/a.txt,{domains}/b.txt"
        data = RunData(across(domains, **{"data.labeled_target": pair})).training()
        assert ids_of(data, "target") == names[:3]
        assert ids_of(data, "unlabeled") == names[5:7]

    def test_all_of_them(self, domains: Path) -> None:
        everything = {"data.labeled_target": "full"}
        with pytest.raises(DataError, match="labeled_target full leaves no unlabeled image"):
            RunData(across(domains, **everything)).training()
        data = RunData(across(domains, **everything, method="supervised")).training()
        assert len(ids_of(data, "target")) == 10 and not data.unlabeled_indices
        write_camvid(domains / "more", count=3)
        everything["data.unlabeled"] = str(domains / "more/train")
        data = RunData(across(domains, **everything)).training()
        assert [len(ids_of(data, name)) for name in ("target", "unlabeled")] == [10, 3]

    def test_images_without_a_label(self, domains: Path) -> None:
        labels = sorted((domains / "target/trainannot").iterdir())
        for path in labels[:6]:
            path.unlink()
        half = {"data.labeled_target": "1/2"}
        with pytest.raises(DataError, match=r"labeled target images .* have no label.*unpaired"):
            RunData(across(domains, **half)).training()
        (part,) = (one for one in RunData(across(domains, **half)).parts() if "labeled t" in one[0])
        assert part.labeled and len(part.dataset()) == 5
        data = RunData(across(domains, **half, **{"data.unpaired": "skip"})).training()
        assert set(ids_of(data, "target")) < {path.stem for path in labels[6:]}
        assert [len(ids_of(data, name)) for name in ("target", "unlabeled")] == [2, 8]

    def test_a_damaged_label(self, domains: Path) -> None:
        whole = RunData(across(domains)).training()
        (domains / "target/trainannot" / f"{ids_of(whole, 'target')[0]}.png").write_bytes(b"PNG")
        with pytest.raises(DataError, match=ids_of(whole, "target")[0]):
            RunData(across(domains)).training()
        data = RunData(across(domains, **{"data.skip_bad": True})).training()
        assert images(data) == images(whole)

    def test_other_classes_than_those_of_the_target(self, domains: Path) -> None:
        """Labels of the target are not led through the map of the source."""
        data = RunData(across(domains)).training()
        dataset, (index, *_) = data.streams["target"]
        raw = read_index_png(dataset.samples[index].label or Path())
        expected = np.where(raw == 11, IGNORE, raw)
        assert (dataset.label(index) == expected).all()

    def test_images_of_two_sizes_cannot_share_a_batch(self, domains: Path) -> None:
        settings = {"data.crop": None, "mixing.domains": "intra", "data.labeled_target": "2"}
        chosen = ids_of(RunData(across(domains, **settings)).training(), "target")
        write_image(domains / "target/train" / f"{chosen[0]}.png", size=(40, 64))
        write_label(domains / "target/trainannot" / f"{chosen[0]}.png", np.zeros((40, 64), "uint8"))
        with pytest.raises(DataError, match="differ in size"):
            RunData(across(domains, **settings)).training()

    def test_without_a_source_there_is_no_target(self, domains: Path) -> None:
        for method in ("supervised", "domain_adaptation"):
            with pytest.raises(ConfigError, match="--labeled"):
                across(domains, method=method, **{"source_domain.dataset": None})

    def test_a_step_on_noise_has_its_batch(self, domains: Path) -> None:
        """By which memory and time are told before a run."""
        own: dict[str, object] = {"model.backbone": "test_resnet", "model.weights": "none"}
        own |= {"model.batch_norm": "train", "model.output_stride": 16, "model.rates": [1, 2]}
        found = NoiseRun.of(
            across(domains, **own, method="supervised", **{"data.batch_target": 3}), None
        )
        assert found.counts == {"labeled": 2, "target": 3}
        learner, advance = found.learner()
        advance(0)
        assert learner.method.streams == ("labeled", "target")
