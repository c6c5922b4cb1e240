"""The images of a run, opened from settings in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.config.resolve import resolve_settings
from mixseg.config.schema import to_flat
from mixseg.config.sections import Settings
from mixseg.errors import ConfigError, DataError
from mixseg.training.data import RunData, TrainingData
from tests.data.layouts import (
    write_bdd100k,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_instances,
)


def settings_of(dataset: str, root: Path, **overrides: object) -> Settings:
    own = {"data.dataset": dataset, "data.root": str(root), "data.crop": [32, 32]}
    return resolve_settings([], own | overrides)


def opened(dataset: str, root: Path, **overrides: object) -> TrainingData:
    return RunData(settings_of(dataset, root, **overrides)).training()


def images(data: TrainingData) -> dict[str, set[Path]]:
    """Stream -> files, links resolved."""
    return {
        "labeled": {data.labeled.samples[i].image.resolve() for i in data.split.labeled},
        "unlabeled": {data.unlabeled.samples[i].image.resolve() for i in data.unlabeled_indices},
        "val": {sample.image.resolve() for sample in data.val.samples},
    }


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
