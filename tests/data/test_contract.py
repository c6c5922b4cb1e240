"""Every layout meets the contract, and every trap of its files is an error that says so."""

from __future__ import annotations

import pickle
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.helpers.labels import labels
from PIL import Image

from mixseg.data.check import (
    check_samples,
    ids_in_labels,
    unseen_classes,
    unseen_note,
    without_unequal_pairs,
)
from mixseg.data.cityscapes import CITYSCAPES, RAW_TO_TRAIN, VOID_COLORS
from mixseg.data.class_maps import class_map
from mixseg.data.contract import SegmentationDataset
from mixseg.data.pairing import pair_labeled
from mixseg.data.png16 import is_png16
from mixseg.data.registry import DATASETS, open_dataset
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from mixseg.errors import ConfigError, DataError
from mixseg.escaping import printable
from mixseg.ignore import IGNORE
from mixseg.scenes import LAYOUTS, render_scene, write_demo
from tests.data.layouts import (
    FOLDER_DESCRIPTION,
    SBD_EXTRA,
    SIZE,
    VOC_TRAIN,
    VOC_VAL,
    cycle_ids,
    write_bdd100k,
    write_camvid,
    write_cityscapes,
    write_folder,
    write_gta5,
    write_image,
    write_label,
    write_sbd,
    write_synthia,
    write_voc,
)
from tests.data.png_encoder import encode

CAMVID_ROOT = Path(__file__).parents[2].parent / "shared/camvid"


def cityscapes(root: Path) -> SegmentationDataset:
    write_cityscapes(root)
    return open_dataset("cityscapes", root, "train")


def cityscapes_archive(root: Path) -> SegmentationDataset:
    write_cityscapes(root, "val", archive_folders=True, label_kind="labelTrainIds")
    return open_dataset("cityscapes", root, "val")


def cityscapes_test(root: Path) -> SegmentationDataset:
    write_cityscapes(root, "test", label_kind=None)
    return open_dataset("cityscapes", root, "test")


def voc(root: Path) -> SegmentationDataset:
    write_voc(root / "VOCdevkit" / "VOC2012")
    return open_dataset("voc", root, "trainval")


def voc_augmented(root: Path) -> SegmentationDataset:
    write_voc(root, augmented=True)
    return open_dataset("voc", root, "train_aug")


def voc_sbd(root: Path) -> SegmentationDataset:
    write_voc(root / "VOCdevkit" / "VOC2012")
    write_sbd(root / "benchmark_RELEASE" / "dataset" / "cls")
    return open_dataset("voc", root, "train_aug")


def camvid_png(root: Path) -> SegmentationDataset:
    write_camvid(root)
    return open_dataset("camvid", root, "train")


def camvid_jpeg(root: Path) -> SegmentationDataset:
    write_camvid(root, "val", ending=".jpg")
    return open_dataset("camvid", root, "val")


def camvid_test(root: Path) -> SegmentationDataset:
    write_camvid(root, "test")
    return open_dataset("camvid", root, "test")


def bdd100k(root: Path) -> SegmentationDataset:
    write_bdd100k(root)
    return open_dataset("bdd100k", root, "train")


def bdd100k_older(root: Path) -> SegmentationDataset:
    write_bdd100k(root / "bdd100k", "val", older=True)
    return open_dataset("bdd100k", root, "val")


def bdd100k_test(root: Path) -> SegmentationDataset:
    write_bdd100k(root / "bdd100k", "test", labels=False)
    return open_dataset("bdd100k", root, "test")


def gta5(root: Path) -> SegmentationDataset:
    write_gta5(root)
    return open_dataset("gta5", root, "train")


def synthia(root: Path) -> SegmentationDataset:
    write_synthia(root / "RAND_CITYSCAPES")
    return open_dataset("synthia", root, "train")


def synthia_mapped(root: Path) -> SegmentationDataset:
    write_synthia(root, mapped=True)
    return open_dataset("synthia", root, "train")


def folder(root: Path) -> SegmentationDataset:
    write_folder(root)
    return open_dataset("folder", root, "train")


def folder_without_labels(root: Path) -> SegmentationDataset:
    write_folder(root, "extra", labels=False)
    return open_dataset("folder", root, "extra")


def unlabeled_folder(root: Path) -> SegmentationDataset:
    for name in ("b/2.JPG", "a.png", "c.jpeg"):
        write_image(root / name)
    return open_unlabeled(root, VOC)


def unlabeled_list(root: Path) -> SegmentationDataset:
    for name in ("b/2.JPG", "a b.png", "c.jpeg"):
        write_image(root / name)
    (root / "list.txt").write_text("b/2.JPG\na b.png\nc.jpeg labels/c.png\n")
    return open_unlabeled(root / "list.txt", VOC)


BUILDERS: list[Callable[[Path], SegmentationDataset]] = [
    cityscapes,
    cityscapes_archive,
    cityscapes_test,
    voc,
    voc_augmented,
    voc_sbd,
    camvid_png,
    camvid_jpeg,
    camvid_test,
    bdd100k,
    bdd100k_older,
    bdd100k_test,
    gta5,
    synthia,
    synthia_mapped,
    folder,
    folder_without_labels,
    unlabeled_folder,
    unlabeled_list,
]


@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
class TestContract:
    def test_samples_are_sorted_unique_and_relative(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        ids = [sample.id for sample in dataset.samples]
        assert len(dataset) >= 3
        assert ids == sorted(set(ids))
        for sample in dataset.samples:
            relative = sample.image.relative_to(dataset.root)
            assert relative.with_name(relative.stem).as_posix() == sample.id

    def test_ids_do_not_depend_on_the_place(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        here, there = build(tmp_path / "here"), build(tmp_path / "else/where")
        assert [s.id for s in here.samples] == [s.id for s in there.samples]

    def test_images_are_rgb_and_labels_are_train_ids(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        for index, sample in enumerate(dataset.samples):
            image = dataset.image(index)
            assert image.shape == (*SIZE, 3)
            assert image.dtype == np.uint8
            assert image.flags.writeable and image.flags.c_contiguous
            if sample.label is None:
                with pytest.raises(DataError, match="has no label file"):
                    dataset.label(index)
                continue
            label = dataset.label(index)
            assert label.shape == SIZE
            assert label.dtype == np.uint8
            assert set(range(len(dataset.classes))) <= set(np.unique(label).tolist())
            assert set(np.unique(label).tolist()) <= {*range(len(dataset.classes)), IGNORE}

    def test_what_a_reader_shares_with_pillow(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        whole = dataset.image(0)
        shared = np.asarray(Image.fromarray(whole))
        shared.flags.writeable = False
        again = replace(dataset, read_raw_image=lambda path, target: shared)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert np.array_equal(torch.from_numpy(again.image(0)).numpy(), whole)

    def test_unknown_label_id_names_path_and_value(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        path = dataset.samples[0].label
        if path is None or path.suffix != ".png":
            pytest.skip("no label PNG in this layout")
        if is_png16(path):
            label16 = np.zeros((*SIZE, 3), dtype=np.uint16)
            label16[3, 4, 0] = 200
            path.write_bytes(encode(label16))
        else:
            label = np.array(Image.open(path))
            label[3, 4] = 200
            write_label(path, label)
        with pytest.raises(DataError, match=rf"{path.name}.* 200 "):
            dataset.label(0)

    def test_opening_reads_no_image_and_no_label(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        build: Callable[[Path], SegmentationDataset],
    ) -> None:
        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("a file was read")

        monkeypatch.setattr(Image, "open", forbidden)
        monkeypatch.setattr("mixseg.data.voc.loadmat", forbidden)
        dataset = build(tmp_path)
        with pytest.raises(AssertionError, match="a file was read"):
            dataset.image(0)

    def test_damaged_image_is_named(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        path = dataset.samples[-1].image
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match=path.name):
            dataset.image(len(dataset) - 1)

    def test_loader_workers_can_have_it(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        copy = pickle.loads(pickle.dumps(dataset))
        np.testing.assert_array_equal(copy.image(0), dataset.image(0))

    def test_check_passes(
        self, tmp_path: Path, build: Callable[[Path], SegmentationDataset]
    ) -> None:
        dataset = build(tmp_path)
        check_samples(dataset, range(len(dataset)))


class TestRegistry:
    def test_unknown_name_lists_choices(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"'cityscape'\. Did you mean 'cityscapes'\? Choices: "):
            open_dataset("cityscape", tmp_path, "train")

    @pytest.mark.parametrize("name", DATASETS)
    def test_missing_root(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match=r"nowhere is not a folder"):
            open_dataset(name, tmp_path / "nowhere", "train")

    @pytest.mark.parametrize("name", DATASETS)
    def test_empty_root_says_what_it_found(self, tmp_path: Path, name: str) -> None:
        (tmp_path / "something.zip").touch()
        with pytest.raises(DataError, match=r"something\.zip"):
            open_dataset(name, tmp_path, "train")

    @pytest.mark.parametrize("name", DATASETS)
    @pytest.mark.parametrize("split", ["trian", "../train", ""])
    def test_unknown_split(self, tmp_path: Path, name: str, split: str) -> None:
        write_folder(tmp_path)
        with pytest.raises(DataError, match=r"unknown .*split .*Choices: .*train"):
            open_dataset(name, tmp_path, split)


class TestCityscapes:
    def test_table(self) -> None:
        expected = dict(
            zip((7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33), range(19), strict=True)
        )
        for raw in range(34):
            assert RAW_TO_TRAIN[raw] == expected.get(raw, IGNORE)
        assert (RAW_TO_TRAIN[34:255] == -1).all()
        assert CITYSCAPES.palette[CITYSCAPES.names.index("sky")] == (70, 130, 180)

    def test_colors_of_no_class_are_those_of_the_benchmark(self) -> None:
        void = {one.id % 256: one.color for one in labels if one.ignoreInEval}
        assert {raw: color for raw, color in void.items() if raw != IGNORE} == {
            raw: color for raw, color in VOID_COLORS.items() if raw != IGNORE
        }
        assert VOID_COLORS[IGNORE] == void[IGNORE]

    def test_both_kinds_of_labels_give_the_same(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, cities={"ulm": 1})
        raw_ids = open_dataset("cityscapes", tmp_path, "train").label(0)
        label = next(tmp_path.rglob("*_labelIds.png"))
        label.unlink()
        write_label(label.with_name(label.name.replace("labelIds", "labelTrainIds")), raw_ids)
        again = open_dataset("cityscapes", tmp_path, "train").label(0)
        np.testing.assert_array_equal(again, raw_ids)

    def test_train_id_that_would_be_a_raw_id(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, label_kind="labelTrainIds")
        path = sorted(tmp_path.rglob("*_labelTrainIds.png"))[0]
        write_label(path, np.full(SIZE, 33, dtype=np.uint8))
        with pytest.raises(DataError, match="train id 33"):
            open_dataset("cityscapes", tmp_path, "train").label(0)

    def test_archive_folders_give_the_same_ids(self, tmp_path: Path) -> None:
        ids = write_cityscapes(tmp_path / "a")
        assert write_cityscapes(tmp_path / "b", archive_folders=True) == ids
        opened = open_dataset("cityscapes", tmp_path / "b", "train")
        assert [sample.id for sample in opened.samples] == ids

    def test_image_without_label(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path)
        for path in (tmp_path / "gtFine").rglob("zurich*.png"):
            path.unlink()
        with pytest.raises(
            DataError, match=r"2 of 5 images have no label.*zurich_000000_000019_leftImg8bit\.png"
        ):
            open_dataset("cityscapes", tmp_path, "train")

    def test_test_split_ignores_placeholder_labels(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, "test")
        samples = open_dataset("cityscapes", tmp_path, "test").samples
        assert all(sample.label is None for sample in samples)

    def test_hidden_copies_are_no_images(self, tmp_path: Path) -> None:
        ids = write_cityscapes(tmp_path)
        image = next((tmp_path / "leftImg8bit").rglob("*.png"))
        image.with_name(f"._{image.name}").write_bytes(b"resource fork")
        assert len(open_dataset("cityscapes", tmp_path, "train")) == len(ids)

    def test_linked_folders(self, tmp_path: Path) -> None:
        ids = write_cityscapes(tmp_path / "disk")
        (tmp_path / "data").mkdir()
        for name in ("leftImg8bit", "gtFine"):
            (tmp_path / "data" / name).symlink_to(tmp_path / "disk" / name)
        (tmp_path / "disk/leftImg8bit/train/loop").symlink_to(tmp_path / "disk/leftImg8bit/train")
        assert len(open_dataset("cityscapes", tmp_path / "data", "train")) == len(ids)


class TestVoc:
    @pytest.mark.parametrize("given", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
    def test_every_root_finds_images_and_sbd(self, tmp_path: Path, given: str) -> None:
        write_voc(tmp_path / "VOCdevkit" / "VOC2012")
        write_sbd(tmp_path / "sbd" / "cls")
        opened = open_dataset("voc", tmp_path / given, "train_aug")
        assert [sample.id for sample in opened.samples] == sorted((*VOC_TRAIN, *SBD_EXTRA))

    @pytest.mark.parametrize(("split", "names"), [("train", VOC_TRAIN), ("val", VOC_VAL)])
    def test_lists(self, tmp_path: Path, split: str, names: tuple[str, ...]) -> None:
        write_voc(tmp_path)
        opened = open_dataset("voc", tmp_path, split)
        assert tuple(sample.id for sample in opened.samples) == names

    def test_augmented_set_leaves_out_val(self, tmp_path: Path) -> None:
        opened = voc_augmented(tmp_path)
        assert [sample.id for sample in opened.samples] == sorted((*VOC_TRAIN, *SBD_EXTRA))
        assert all(sample.label.parent.name == "SegmentationClassAug" for sample in opened.samples)

    def test_voc_labels_come_before_those_of_sbd(self, tmp_path: Path) -> None:
        endings = {sample.id: sample.label.suffix for sample in voc_sbd(tmp_path).samples}
        assert endings == dict.fromkeys(VOC_TRAIN, ".png") | dict.fromkeys(SBD_EXTRA, ".mat")

    @pytest.mark.parametrize(
        "line", ["{0}\n", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\r\n"]
    )
    def test_own_list_of_the_augmented_set(self, tmp_path: Path, line: str) -> None:
        write_voc(tmp_path, augmented=True, augmented_list=line.format(SBD_EXTRA[1]))
        opened = open_dataset("voc", tmp_path, "train_aug")
        assert [sample.id for sample in opened.samples] == [SBD_EXTRA[1]]

    def test_palette_indices_are_read(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        expected = cycle_ids([*range(21), 255])
        np.testing.assert_array_equal(open_dataset("voc", tmp_path, "train").label(0), expected)

    def test_sbd_indices_are_read(self, tmp_path: Path) -> None:
        opened = voc_sbd(tmp_path)
        index = [sample.id for sample in opened.samples].index(SBD_EXTRA[2])
        np.testing.assert_array_equal(opened.label(index), cycle_ids(range(21), 2))

    def test_augmented_set_without_its_labels(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        with pytest.raises(DataError, match=r"SegmentationClassAug.*benchmark_RELEASE"):
            open_dataset("voc", tmp_path, "train_aug")

    def test_missing_image(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        (tmp_path / "JPEGImages" / f"{VOC_TRAIN[1]}.jpg").unlink()
        with pytest.raises(DataError, match=rf"1 of 2 images .*{VOC_TRAIN[1]}\.jpg"):
            open_dataset("voc", tmp_path, "train")

    def test_two_images_of_one_id(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        write_image(tmp_path / f"JPEGImages/{VOC_TRAIN[0]}.png")
        with pytest.raises(DataError) as raised:
            open_dataset("voc", tmp_path, "train")
        assert all(f"{VOC_TRAIN[0]}.{one}" in str(raised.value) for one in ("jpg", "png"))
        assert len(open_dataset("voc", tmp_path, "val")) == 2  # which it does not concern

    def test_missing_list(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        (tmp_path / "ImageSets/Segmentation/val.txt").unlink()
        with pytest.raises(DataError, match=r"val\.txt: no such file"):
            open_dataset("voc", tmp_path, "val")

    def test_damaged_sbd_files(self, tmp_path: Path) -> None:
        opened = voc_sbd(tmp_path)
        index = [sample.id for sample in opened.samples].index(SBD_EXTRA[0])
        path = opened.samples[index].label
        assert path is not None
        content = path.read_bytes()
        for length in range(0, len(content), 29):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=path.name):
                opened.label(index)


class TestCamvid:
    def test_list_is_rebased_and_endings_may_differ(self, tmp_path: Path) -> None:
        ids = write_camvid(tmp_path, ending=".jpg")
        lines = (
            f"/SegNet/CamVid/train/{name}.png /SegNet/CamVid/trainannot/{name}.png\n"
            for name in ids[:3]
        )
        (tmp_path / "train.txt").write_text("".join(lines))
        opened = open_dataset("camvid", tmp_path, "train")
        assert [sample.id for sample in opened.samples] == ids[:3]

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("/etc/passwd", "escapes the root"),
            ("/SegNet/CamVid/../../secret.png", "escapes the root"),
            ("/SegNet/CamVid/train/other.png", "not an image below train/"),
        ],
    )
    def test_bad_list_entries(self, tmp_path: Path, entry: str, problem: str) -> None:
        write_camvid(tmp_path)
        (tmp_path / "train.txt").write_text(f"train/0001TP_006690.png\n{entry}\n")
        with pytest.raises(DataError, match=rf"train\.txt, line 2: .*{problem}"):
            open_dataset("camvid", tmp_path, "train")

    def test_two_images_and_one_label(self, tmp_path: Path) -> None:
        ids = write_camvid(tmp_path)
        write_camvid(tmp_path, ending=".jpg")
        with pytest.raises(DataError) as raised:
            open_dataset("camvid", tmp_path, "train")
        first = "0001TP_006690"
        assert all(
            name in str(raised.value)
            for name in (f"annot/{first}.png", f"train/{first}.jpg", f"train/{first}.png")
        )
        # As it says: a label of its own for each.
        for name in ids:
            label = tmp_path / f"trainannot/{name}.png"
            write_label(tmp_path / f"trainannot/{name}.jpg.png", cycle_ids([3]))
            label.rename(tmp_path / f"trainannot/{name}.png.png")
        opened = open_dataset("camvid", tmp_path, "train")
        assert [one.id for one in opened.samples] == sorted(
            f"{name}.{ending}" for name in ids for ending in ("jpg", "png")
        )
        for one in opened.samples:
            assert one.label is not None and one.label.name == f"{one.image.name}.png"
        # A list chooses by the ending.
        (tmp_path / "train.txt").write_text(f"train/{first}.jpg\n")
        (chosen,) = open_dataset("camvid", tmp_path, "train").samples
        assert chosen.image.name == f"{first}.jpg"
        # Or one has none: in a folder of its own.
        (tmp_path / "train.txt").unlink()
        for name in ids:
            (tmp_path / f"trainannot/{name}.jpg.png").unlink()
            (tmp_path / f"trainannot/{name}.png.png").rename(tmp_path / f"trainannot/{name}.png")
        (tmp_path / "photographs").mkdir()
        for path in (tmp_path / "train").glob("*.jpg"):
            path.rename(tmp_path / "photographs" / path.name)
        assert [one.id for one in open_dataset("camvid", tmp_path, "train").samples] == ids

    @pytest.mark.skipif(not CAMVID_ROOT.is_dir(), reason=f"{CAMVID_ROOT} is not there")
    @pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
    def test_real_files(self, split: str, count: int) -> None:
        opened = open_dataset("camvid", CAMVID_ROOT, split)
        assert len(opened) == count
        seen = {int(i) for index in range(0, count, 10) for i in np.unique(opened.label(index))}
        assert seen == {*range(11), IGNORE}
        assert opened.pair(0)[0].shape == (360, 480, 3)
        check_samples(opened, range(count))


class TestBdd100k:
    @pytest.mark.parametrize("inside", ["", "bdd100k"])
    @pytest.mark.parametrize("older", [False, True])
    def test_every_form_gives_the_same(self, tmp_path: Path, older: bool, inside: str) -> None:
        ids = write_bdd100k(tmp_path / inside, older=older)
        opened = open_dataset("bdd100k", tmp_path, "train")
        assert [sample.id for sample in opened.samples] == ids
        for index in range(len(ids)):
            expected = cycle_ids([*range(19), 255], index)
            np.testing.assert_array_equal(opened.pair(index)[1], expected)

    def test_classes_are_those_of_cityscapes_and_ids_its_train_ids(self, tmp_path: Path) -> None:
        opened = bdd100k(tmp_path)
        for label in labels:
            if 0 <= label.trainId < 255:
                assert opened.classes.names[label.trainId] == label.name
                assert opened.classes.palette[label.trainId] == label.color
        assert opened.classes.label_ids == ()
        assert opened.lookup[[0, 18, 19, 254, 255]].tolist() == [0, 18, -1, -1, IGNORE]

    def test_the_newer_release_comes_first(self, tmp_path: Path) -> None:
        ids = write_bdd100k(tmp_path, count=3)
        write_bdd100k(tmp_path, older=True)
        opened = open_dataset("bdd100k", tmp_path, "train")
        assert [sample.id for sample in opened.samples] == ids

    @pytest.mark.parametrize("older", [False, True])
    def test_images_without_labels(self, tmp_path: Path, older: bool) -> None:
        ids = write_bdd100k(tmp_path, older=older)
        for name in (ids[1], ids[3]):
            next(tmp_path.rglob(f"{name}*.png")).unlink()
        with pytest.raises(
            DataError, match=rf"2 of 4 images have no label, the first is .*{ids[1]}\.jpg"
        ):
            open_dataset("bdd100k", tmp_path, "train")
        opened = open_dataset("bdd100k", tmp_path, "train", pair_labeled)
        assert [sample.id for sample in opened.samples] == [ids[0], ids[2]]
        assert [path.stem for path in opened.unpaired] == [ids[1], ids[3]]
        assert all(opened.samples[index].label for index in range(2))
        for path in tmp_path.rglob("*.png"):
            path.unlink()
        with pytest.raises(DataError, match="4 of 4 images have no label"):
            open_dataset("bdd100k", tmp_path, "train", pair_labeled)

    def test_colours_instead_of_masks(self, tmp_path: Path) -> None:
        write_bdd100k(tmp_path)
        folder = tmp_path / "labels/sem_seg"
        (folder / "masks").rename(folder / "colormaps")
        with pytest.raises(
            DataError, match=r"4 of 4 images have no label.*sem_seg holds colormaps/"
        ):
            open_dataset("bdd100k", tmp_path, "train")

    def test_the_test_split_has_no_labels(self, tmp_path: Path) -> None:
        write_bdd100k(tmp_path, "test")
        samples = open_dataset("bdd100k", tmp_path, "test").samples
        assert len(samples) == 4
        assert all(sample.label is None for sample in samples)

    def test_empty_split(self, tmp_path: Path) -> None:
        write_bdd100k(tmp_path / "newer")
        (tmp_path / "newer/images/10k/val").mkdir()
        with pytest.raises(DataError, match=r"'val' is empty: looked for .*/10k/val holds nothing"):
            open_dataset("bdd100k", tmp_path / "newer", "val")
        write_bdd100k(tmp_path / "older", older=True)
        with pytest.raises(DataError, match=r"'val' is empty: .*seg/images holds train/"):
            open_dataset("bdd100k", tmp_path / "older", "val")
        with pytest.raises(DataError, match=r"'train' is empty: .*seg/images/train/\*\.jpg"):
            open_dataset("bdd100k", tmp_path, "train")

    @pytest.mark.parametrize(
        ("size", "message"),
        [
            ((6, 10), r"20x12 pixels but its label .*{name} has 10x6$"),
            ((20, 12), r"has 12x20\. .* EXIF orientation is not applied"),
        ],
    )
    def test_a_label_of_another_size(
        self, tmp_path: Path, size: tuple[int, int], message: str
    ) -> None:
        opened = bdd100k(tmp_path)
        path = opened.samples[2].label
        assert path is not None
        write_label(path, cycle_ids([0, 1], size=size))
        with pytest.raises(DataError, match=message.format(name=path.name)):
            opened.pair(2)


def scripts_table() -> dict[int, int]:
    """Raw id -> train id as the benchmark's own scripts have it."""
    return {label.id: label.trainId for label in labels if label.id >= 0}


class TestGta5:
    def test_ids_are_those_of_the_benchmark(self, tmp_path: Path) -> None:
        opened = gta5(tmp_path)
        for raw, train in scripts_table().items():
            assert opened.lookup[raw] == (train if train != -1 else IGNORE), raw
        assert opened.lookup[34] == opened.lookup[255] == IGNORE
        np.testing.assert_array_equal(
            opened.label(1), opened.lookup[cycle_ids(range(35), 1)].astype(np.uint8)
        )

    def test_unequal_pairs_are_left_out(self, tmp_path: Path) -> None:
        ids = write_gta5(tmp_path)
        write_label(tmp_path / f"labels/{ids[2]}.png", cycle_ids([7], size=(6, 10)))
        opened, left_out = without_unequal_pairs(open_dataset("gta5", tmp_path, "train"))
        assert [sample.id for sample in opened.samples] == [ids[0], ids[1], ids[3]]
        assert left_out == (f"{ids[2]}: 20x12 and 10x6 pixels",)
        for name in ids:
            write_label(tmp_path / f"labels/{name}.png", cycle_ids([7], size=(6, 10)))
        with pytest.raises(DataError, match="in every pair"):
            without_unequal_pairs(open_dataset("gta5", tmp_path, "train"))

    def test_missing_labels_and_another_data_set(self, tmp_path: Path) -> None:
        write_gta5(tmp_path / "gta5")
        shutil.rmtree(tmp_path / "gta5/labels")
        with pytest.raises(DataError, match=r"4 of 4 images have no label.*labels is not a folder"):
            open_dataset("gta5", tmp_path / "gta5", "train")
        write_cityscapes(tmp_path / "cityscapes")
        with pytest.raises(DataError, match=r"GTA5 is empty.*leftImg8bit/"):
            open_dataset("gta5", tmp_path / "cityscapes", "train")
        with pytest.raises(DataError, match=r"unknown GTA5 split 'val'"):
            open_dataset("gta5", tmp_path / "gta5", "val")


class TestSynthia:
    def test_every_class_has_the_name_that_synthia_gives_it(self, tmp_path: Path) -> None:
        # The data set's own table of ids.
        names = {
            1: "sky",
            2: "building",
            3: "road",
            4: "sidewalk",
            5: "fence",
            6: "vegetation",
            7: "pole",
            8: "car",
            9: "traffic sign",
            10: "person",
            11: "bicycle",
            12: "motorcycle",
            15: "traffic light",
            16: "terrain",
            17: "rider",
            18: "truck",
            19: "bus",
            20: "train",
            21: "wall",
        }
        opened = synthia(tmp_path)
        for raw in range(23):
            train = opened.lookup[raw]
            assert names.get(raw) == (None if train == IGNORE else opened.classes.names[train])

    def test_the_class_is_in_the_red_channel(self, tmp_path: Path) -> None:
        opened = synthia(tmp_path)
        expected = opened.lookup[cycle_ids(range(23), 2)].astype(np.uint8)
        np.testing.assert_array_equal(opened.label(2), expected)

    def test_maps_with_cityscapes_ids(self, tmp_path: Path) -> None:
        opened = synthia_mapped(tmp_path)
        expected = RAW_TO_TRAIN[cycle_ids(range(34), 2)].astype(np.uint8)
        np.testing.assert_array_equal(opened.label(2), expected)

    def test_a_map_that_lost_its_ids(self, tmp_path: Path) -> None:
        opened = synthia(tmp_path)
        path = opened.samples[0].label
        assert path is not None
        path.write_bytes(encode(np.zeros((*SIZE, 3), dtype=np.uint16)))
        with pytest.raises(DataError, match=r"every pixel has the id 0"):
            opened.label(0)
        # What an 8-bit library makes of it.
        write_label(path, np.zeros((*SIZE, 3), dtype=np.uint8))
        with pytest.raises(DataError, match=r"a colou?r picture"):
            opened.label(0)

    def test_ids_of_16_bits_are_not_cut(self, tmp_path: Path) -> None:
        opened = synthia(tmp_path)
        path = opened.samples[0].label
        assert path is not None
        path.write_bytes(encode(np.full((*SIZE, 3), 259, dtype=np.uint16)))
        with pytest.raises(DataError, match="label id 259"):
            opened.label(0)


@pytest.mark.parametrize("name", LAYOUTS)
def test_demo_scenes_in_every_layout(tmp_path: Path, name: str) -> None:
    write_demo(tmp_path / name, look="render", counts={"train": 3}, size=(48, 96), layout=name)
    opened = open_dataset(name, tmp_path / name, "train")
    assert len(opened) == 3
    mapped = class_map(CITYSCAPES, opened.classes)
    for index in range(3):
        scene, raw = render_scene(0, index, (48, 96), "render")
        image, label = opened.pair(index)
        lossy = opened.samples[index].image.suffix == ".jpg"
        assert np.abs(image.astype(int) - scene).mean() < (4 if lossy else 0.01)
        for old, new in zip(CITYSCAPES.names, mapped.targets, strict=True):
            there = raw == CITYSCAPES.label_ids[CITYSCAPES.names.index(old)]
            lost = new == "ignore" or (name == "synthia" and old in opened.absent)
            expected = IGNORE if lost else opened.classes.names.index(new)
            assert (label[there] == expected).all()


class TestFolder:
    def test_description_of_another_name(self, tmp_path: Path) -> None:
        ids = write_folder(tmp_path)
        (tmp_path / "dataset.yaml").rename(tmp_path / "roads.yml")
        opened = open_dataset("folder", tmp_path / "roads.yml", "train")
        assert [sample.id for sample in opened.samples] == ids
        assert opened.classes.label_ids == (0, 7, 11)

    def test_without_id_map_ids_are_classes(self, tmp_path: Path) -> None:
        description = "names: [a, b]\npalette: [[1, 2, 3], [4, 5, 6]]\nignore: [9, 255]\n"
        write_folder(tmp_path, labels=False, description=description)
        opened = open_dataset("folder", tmp_path, "train")
        assert opened.classes.palette == ((1, 2, 3), (4, 5, 6))
        assert opened.classes.label_ids == ()
        assert opened.lookup[[0, 1, 2, 9, 255]].tolist() == [0, 1, -1, IGNORE, IGNORE]

    def test_several_ids_of_one_class(self, tmp_path: Path) -> None:
        write_folder(tmp_path, labels=False, description="names: [a]\nid_map: {5: 0, 3: 0}\n")
        opened = open_dataset("folder", tmp_path, "train")
        assert opened.classes.label_ids == (3,)
        assert opened.lookup[[3, 5]].tolist() == [0, 0]

    @pytest.mark.parametrize(
        ("description", "problem"),
        [
            ("palette: []\n", "'names' should be"),
            ("names: 3\n", "line 1: 'names' should be"),
            ("names: [a, a]\n", "different"),
            ("names: [a,\n 3]\n", "line 2: '3' is not a class name"),
            ("names: [a,\n " + 100_000 * "b" + "]\n", "line 2: 'b+' is not a class name"),
            ("names: []\n", "1 to 254"),
            ("names: [a]\nignor: 255\n", "line 2: unknown key 'ignor'.*'ignore'"),
            ("names: [a]\nignore: -1\n", "line 2: -1 is neither an id"),
            ("names: [a]\nignore: true\n", "line 2: True is neither an id"),
            ("names: [a]\nignore: 0\n", "line 2: id 0 is ignored and class 'a'"),
            (
                "names: [a, b]\nid_map: {0: 0, 255: 1}\n",
                r"line 2: id 255 is ignored and class 'b'.*'ignore: \[\]'",
            ),
            (
                "names: [a]\nignore: [3, 0]\n",
                r"line 2: id 0 is ignored and class 'a'.*take 0 out of 'ignore'",
            ),
            ("names: [a]\nid_map: [0]\n", "line 2: 'id_map' should hold"),
            ("names: [a]\nid_map: {300: 0}\n", "line 2: 300 is not an id"),
            ("names: [a]\nid_map:\n  0: 0\n  7: 1\n", "line 4: 1 is not a class index"),
            ("names: [a, b]\nid_map: {7: 1}\n", "line 2: no id is mapped to class 'a'"),
            ("names: [a, b]\npalette: [[0, 0, 0]]\n", "line 2: .*2 colors, .*found 1"),
            ("names: [a]\npalette:\n - [0, 0, 256]\n", "line 3: .*not a colour"),
        ],
    )
    def test_bad_descriptions(self, tmp_path: Path, description: str, problem: str) -> None:
        write_folder(tmp_path, description=description)
        with pytest.raises(DataError, match=rf"dataset\.yaml, {problem}|{problem}"):
            open_dataset("folder", tmp_path, "train")

    def test_masks_of_0_and_255(self, tmp_path: Path) -> None:
        description = "names: [rest, thing]\nid_map: {0: 0, 255: 1}\nignore: []\n"
        (name,) = write_folder(tmp_path, count=1, description=description)
        write_label(tmp_path / f"labels/train/{name}.png", cycle_ids([0, 255]))
        label = open_dataset("folder", tmp_path, "train").label(0)
        np.testing.assert_array_equal(label, cycle_ids([0, 1]))

    @pytest.mark.parametrize("mode", ["RGB", "RGBA"])
    @pytest.mark.parametrize("id_map", ["", "id_map: {5: 1, 7: 0, 9: 0}\n"])
    def test_masks_of_colours(self, tmp_path: Path, id_map: str, mode: str) -> None:
        palette = [[0, 0, 0], [0, 160, 0]]
        description = f"names: [rest, leaf]\npalette: {palette}\n{id_map}"
        (name,) = write_folder(tmp_path, count=1, description=description)
        path = tmp_path / f"labels/train/{name}.png"
        ids = cycle_ids([0, 1, 1])
        Image.fromarray(np.array(palette, dtype=np.uint8)[ids]).convert(mode).save(path)
        opened = open_dataset("folder", tmp_path, "train")
        np.testing.assert_array_equal(opened.label(0), ids)
        # Ids stay ids, as prepared copies have them.
        write_label(path, cycle_ids([7, 5, 5] if id_map else [0, 1, 1]))
        np.testing.assert_array_equal(opened.label(0), ids)

    @pytest.mark.parametrize(
        ("palette", "mode", "problem"),
        [
            (
                "[[0, 0, 0], [0, 161, 0]]",
                "RGB",
                r"color \[0, 160, 0\] \(row 0, column 1\) is none",
            ),
            ("[[0, 0, 0], [0, 0, 0]]", "RGB", r"two classes the color \[0, 0, 0\]"),
            ("", "RGB", r"a color picture.*'palette' in .*dataset\.yaml"),
        ],
    )
    def test_colours_that_mean_nothing(
        self, tmp_path: Path, palette: str, mode: str, problem: str
    ) -> None:
        description = "names: [rest, leaf]\n" + (f"palette: {palette}\n" if palette else "")
        (name,) = write_folder(tmp_path, count=1, description=description)
        path = tmp_path / f"labels/train/{name}.png"
        pixels = np.array([[0, 0, 0], [0, 160, 0]], dtype=np.uint8)[cycle_ids([0, 1])]
        Image.fromarray(pixels).convert(mode).save(path)
        with pytest.raises(DataError, match=rf"frame\.0\.png: .*{problem}"):
            open_dataset("folder", tmp_path, "train").label(0)

    @pytest.mark.parametrize("ignore", ["", "ignore: 9\n", "ignore: []\n", "ignore: [3, 255]\n"])
    @pytest.mark.parametrize("form", ["RGB", "palette"])
    def test_a_color_of_no_class(self, tmp_path: Path, ignore: str, form: str) -> None:
        """What the message says can be copied into the description."""
        shown = np.array([[0, 0, 0], [0, 160, 0], [255, 255, 255], [9, 9, 9]], dtype=np.uint8)
        description = f"names: [leaf, rest]\npalette: [[0, 160, 0], [0, 0, 0]]\n{ignore}"
        (name,) = write_folder(tmp_path, count=1, description=description)
        path = tmp_path / f"labels/train/{name}.png"
        ids = cycle_ids([0, 1, 2, 3])
        if form == "RGB":
            Image.fromarray(shown[ids]).save(path)
        else:
            write_label(path, ids, [tuple(color) for color in shown.tolist()])
        for _ in range(2):
            with pytest.raises(DataError) as raised:
                open_dataset("folder", tmp_path, "train").label(0)
            (line,) = re.findall(r"'(ignore: [^']*)'", printable(str(raised.value)))
            lines = (tmp_path / "dataset.yaml").read_text().splitlines()
            lines = [one for one in lines if not one.startswith("ignore")]
            (tmp_path / "dataset.yaml").write_text("\n".join([*lines, line]))
        opened = open_dataset("folder", tmp_path, "train")
        np.testing.assert_array_equal(opened.label(0), cycle_ids([1, 0, 255, 255]))
        # Ids that were ignored before still are.
        for raw in {"ignore: 9\n": [9], "ignore: [3, 255]\n": [3, 255]}.get(ignore, [255]):
            assert opened.lookup[raw] == IGNORE

    @pytest.mark.parametrize(
        ("more", "problem"),
        [
            ("ignore: [0, 0, 0]\n", r"line 3: id 0 is ignored.*'ignore: \[\[0, 0, 0\]\]'"),
            ("ignore: black\n", r"line 3: 'black' is neither an id.*\[\[0, 0, 0\], 255\]"),
            ("ignore: [[0, 0]]\n", r"line 3: \[0, 0\] is neither an id"),
            ("ignore: [[0, 0, 256]]\n", r"line 3: \[0, 0, 256\] is neither an id"),
            ("ignore: [[0, 160, 0], 255]\n", r"line 3: \[0, 160, 0\] is the color of class 'leaf'"),
        ],
    )
    def test_bad_colors_of_no_class(self, tmp_path: Path, more: str, problem: str) -> None:
        description = "names: [leaf, stem]\npalette: [[0, 160, 0], [9, 9, 9]]\n" + more
        write_folder(tmp_path, description=description)
        with pytest.raises(DataError, match=rf"dataset\.yaml, {problem}"):
            open_dataset("folder", tmp_path, "train")

    def test_colors_of_no_class_need_a_palette_and_an_id(self, tmp_path: Path) -> None:
        write_folder(tmp_path, description="names: [leaf]\nignore: [[0, 0, 0]]\n")
        with pytest.raises(DataError, match=r"line 2: .*'palette'"):
            open_dataset("folder", tmp_path, "train")
        all_ids = ", ".join(f"{raw}: 0" for raw in range(256))
        (tmp_path / "dataset.yaml").write_text(
            f"names: [a]\npalette: [[1, 1, 1]]\nignore: [[0, 0, 0]]\nid_map: {{{all_ids}}}\n"
        )
        with pytest.raises(DataError, match="line 4: "):
            open_dataset("folder", tmp_path, "train")

    def test_grey_with_alpha(self, tmp_path: Path) -> None:
        (name,) = write_folder(tmp_path, count=1)
        path = tmp_path / f"labels/train/{name}.png"
        Image.fromarray(cycle_ids([0, 7, 11, 255])).convert("LA").save(path)
        label = open_dataset("folder", tmp_path, "train").label(0)
        np.testing.assert_array_equal(label, cycle_ids([0, 1, 2, 255]))
        Image.new("LA", (4, 4), (7, 9)).save(path)
        with pytest.raises(DataError, match="transparent"):
            open_dataset("folder", tmp_path, "train").label(0)

    def test_masks_with_transparent_pixels(self, tmp_path: Path) -> None:
        (name,) = write_folder(tmp_path, count=1)
        Image.new("RGBA", (4, 4), (0, 0, 0, 9)).save(tmp_path / f"labels/train/{name}.png")
        with pytest.raises(DataError, match="transparent"):
            open_dataset("folder", tmp_path, "train").label(0)

    def test_masks_of_one_bit(self, tmp_path: Path) -> None:
        (name,) = write_folder(tmp_path, count=1, description="names: [rest, thing]\n")
        ids = cycle_ids([0, 1, 1])
        Image.fromarray(ids.astype(bool)).save(tmp_path / f"labels/train/{name}.png")
        np.testing.assert_array_equal(open_dataset("folder", tmp_path, "train").label(0), ids)

    def test_yaml_is_strict(self, tmp_path: Path) -> None:
        write_folder(tmp_path, description="names: !!python/name:os.system []\n")
        with pytest.raises(ConfigError, match=r"dataset\.yaml"):
            open_dataset("folder", tmp_path, "train")

    def test_empty_split(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        (tmp_path / "images/val").mkdir()
        (tmp_path / "images/val/a.tif").touch()
        with pytest.raises(DataError, match=r"'val' is empty: looked for .*\*\.png.*a\.tif"):
            open_dataset("folder", tmp_path, "val")

    def test_image_without_label(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        (tmp_path / "labels/train/day 1/frame.3.png").unlink()
        with pytest.raises(DataError, match=r"1 of 4 images have no label.*frame\.3\.JPG"):
            open_dataset("folder", tmp_path, "train")

    def test_names_are_kept_as_text(self, tmp_path: Path) -> None:
        description = FOLDER_DESCRIPTION.replace("road", '"<b>=cmd()"')
        write_folder(tmp_path, description=description)
        assert open_dataset("folder", tmp_path, "train").classes.names[1] == "<b>=cmd()"


class TestUnlabeled:
    def test_names_that_differ_in_their_ending_alone(self, tmp_path: Path) -> None:
        names = ["a.jpg", "a.png", "b.png", "d/a.JPEG", "d/a.jpg", "a.jpg.png"]
        for name in names:
            write_image(tmp_path / name)
        opened = open_unlabeled(tmp_path, VOC)
        expected = {"a.jpg", "a.png", "b", "d/a.JPEG", "d/a.jpg", "a.jpg.png"}
        assert {one.id for one in opened.samples} == expected
        assert {one.image.relative_to(tmp_path).as_posix() for one in opened.samples} == {*names}
        (tmp_path / "list.txt").write_text("\n".join(names))
        listed = open_unlabeled(tmp_path / "list.txt", VOC)
        assert [(one.id, one.image) for one in listed.samples] == [
            (one.id, one.image) for one in opened.samples
        ]

    def test_hidden_and_other_files_are_left_out(self, tmp_path: Path) -> None:
        for name in (".hidden/a.png", ".b.png", "c.png", "d/e.jpeg"):
            write_image(tmp_path / name)
        (tmp_path / "notes.txt").write_text("c.png")
        assert [s.id for s in open_unlabeled(tmp_path, VOC).samples] == ["c", "d/e"]

    def test_empty_and_missing(self, tmp_path: Path) -> None:
        (tmp_path / "movie.mp4").touch()
        with pytest.raises(DataError, match=r"no unlabelled images.*movie\.mp4"):
            open_unlabeled(tmp_path, VOC)
        with pytest.raises(DataError, match=r"nowhere is not a folder"):
            open_unlabeled(tmp_path / "nowhere", VOC)
        (tmp_path / "list.txt").write_text("\n\n")
        with pytest.raises(DataError, match=r"list\.txt names no image"):
            open_unlabeled(tmp_path / "list.txt", VOC)

    @pytest.mark.parametrize(
        ("entry", "problem"),
        [
            ("../a.png", "escapes the root"),
            ("/a.png", "escapes the root"),
            ("a\0.png", "escapes the root"),
            ("b.png", "is not a file"),
            ("list.txt", "neither a PNG nor a JPEG"),
            ("a.png", "listed twice"),
        ],
    )
    def test_bad_list_entries(self, tmp_path: Path, entry: str, problem: str) -> None:
        write_image(tmp_path / "a.png")
        (tmp_path / "list.txt").write_text(f"a.png\n{entry}\n")
        with pytest.raises(DataError, match=rf"list\.txt, line 2: .*{problem}"):
            open_unlabeled(tmp_path / "list.txt", VOC)


class TestCheckSamples:
    def test_first_and_last_are_read(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=7)
        opened = open_dataset("camvid", tmp_path, "train")
        for index in (0, 6):
            content = opened.samples[index].image.read_bytes()
            opened.samples[index].image.write_bytes(content[:60])
            with pytest.raises(DataError, match=opened.samples[index].image.name):
                check_samples(opened, range(7), limit=2)
            opened.samples[index].image.write_bytes(content)

    def test_limit_and_empty(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=7)
        opened = open_dataset("camvid", tmp_path, "train")
        opened.samples[3].image.write_bytes(b"")
        check_samples(opened, range(7), limit=2)
        check_samples(opened, [], limit=2)
        with pytest.raises(DataError, match=opened.samples[3].image.name):
            check_samples(opened, range(7))

    def test_all_void(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=3)
        for path in (tmp_path / "trainannot").iterdir():
            write_label(path, np.full(SIZE, 11, dtype=np.uint8))
        opened = open_dataset("camvid", tmp_path, "train")
        with pytest.raises(DataError, match=r"all 3 labels .* ignored pixels: .* ids \[11\]"):
            check_samples(opened, range(3))
        write_label(tmp_path / "trainannot/0001TP_006720.png", np.zeros(SIZE, dtype=np.uint8))
        check_samples(opened, range(3))

    def test_classes_without_a_pixel(self, tmp_path: Path) -> None:
        """The masks that people have: black and white, two names, and nothing else said."""
        (name, *rest) = write_folder(tmp_path, description="names: [rest, vessel]\n")
        for key in (name, *rest):
            write_label(tmp_path / f"labels/train/{key}.png", cycle_ids([0, 255]))
        opened = open_dataset("folder", tmp_path, "train")
        note = unseen_note(opened, *ids_in_labels(opened, range(4)), 4)
        assert "'train': none of the 4 labels has a pixel of: vessel" in note
        # What it says can be copied.
        advice = re.search(r"(id_map: .*) and (ignore: .*)$", note)
        assert advice is not None
        with (tmp_path / "dataset.yaml").open("a") as file:
            file.write("\n".join(advice.groups()))
        opened = open_dataset("folder", tmp_path, "train")
        assert unseen_note(opened, *ids_in_labels(opened, range(4)), 4) == ""
        np.testing.assert_array_equal(opened.label(0), cycle_ids([0, 1]))

    def test_few_labels_are_looked_at(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=5)
        opened = open_dataset("camvid", tmp_path, "train")
        assert ids_in_labels(opened, range(5))[1] == 1  # all classes are in the first
        for path in (tmp_path / "trainannot").iterdir():
            write_label(path, cycle_ids([0, 3, 11]))
        ids, read = ids_in_labels(opened, range(5), limit=2)
        assert (ids, read) == ({0, 3, 11}, 2)
        assert "none of the 2 labels looked at (of 5)" in unseen_note(opened, ids, read, 5)
        # A label that cannot be read is said where it is used; none read, nothing known.
        for path in (tmp_path / "trainannot").iterdir():
            path.write_bytes(b"")
        assert unseen_note(opened, *ids_in_labels(opened, range(5)), 5) == ""

    def test_classes_that_no_id_means_are_not_missed(self, tmp_path: Path) -> None:
        write_synthia(tmp_path)
        opened = open_dataset("synthia", tmp_path, "train")
        present = [i for i in range(23) if opened.lookup[i] in (0, 1, 2)]
        unseen = unseen_classes(opened, present)
        assert "road" not in unseen and "wall" in unseen
        assert not {"terrain", "truck", "train"} & {*unseen}  # SYNTHIA has none of them
        write_camvid(tmp_path / "camvid")
        camvid = open_dataset("camvid", tmp_path / "camvid", "train")
        mapped = class_map(camvid.classes, CITYSCAPES).apply(camvid)
        assert unseen_classes(mapped, range(11)) == []  # though 9 classes never occur

    def test_sizes_differ(self, tmp_path: Path) -> None:
        write_camvid(tmp_path, count=3)
        write_image(tmp_path / "train/0001TP_006720.png", size=(6, 10))
        opened = open_dataset("camvid", tmp_path, "train")
        with pytest.raises(DataError, match=r"006720\.png has 10x6 pixels .* 20x12"):
            check_samples(opened, range(3))
