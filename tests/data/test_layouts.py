"""Every layout meets the contract, and every trap of its files is an error that says so."""

from __future__ import annotations

import contextlib
import pickle
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.helpers.labels import labels as official
from PIL import Image

from mixseg.data.check import check_samples
from mixseg.data.cityscapes import CITYSCAPES, RAW_TO_TRAIN, VOID_COLORS
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet, SegmentationDataset, train_id_lookup
from mixseg.data.images import is_png16, read_index_png
from mixseg.data.layout import Files, Layout, classes_of, layout_of, open_dataset
from mixseg.data.pairing import Folder, pair_labeled
from mixseg.data.unlabeled import open_unlabeled
from mixseg.data.voc import VOC
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE
from mixseg.registry import LAYOUTS
from mixseg.scenes import LAYOUTS as SCENES
from mixseg.scenes import render_scene, write_demo
from mixseg.terminal import printable
from tests.data.layouts import (
    EXAMPLES,
    FOLDER_DESCRIPTION,
    SBD_EXTRA,
    SIZE,
    VOC_TRAIN,
    VOC_VAL,
    cycle_ids,
    write_bdd100k,
    write_camvid,
    write_camvid_list,
    write_cityscapes,
    write_folder,
    write_image,
    write_instances,
    write_label,
    write_sbd,
    write_voc,
)
from tests.data.png_encoder import encode

CAMVID_ROOT = Path(__file__).parents[2].parent / "shared/camvid"


def every(kind: str, root: Path) -> Iterator[SegmentationDataset]:
    """Every split of an example, or photographs in a folder and in a list."""
    if kind != "unlabeled":
        write, name, *_ = EXAMPLES[kind]
        write(root)
        for split in layout_of(name).splits(root):
            with contextlib.suppress(DataError):  # a copy need not have it
                yield open_dataset(name, root, split)
        return
    for path in ("b/2.JPG", "a b.png", "c.jpeg"):
        write_image(root / path)
    (root / "list.txt").write_text("b/2.JPG\na b.png\nc.jpeg labels/c.png\n")
    yield open_unlabeled(root, VOC)
    yield open_unlabeled(root / "list.txt", VOC)


@pytest.mark.parametrize("kind", [*EXAMPLES, "unlabeled"])
class TestContract:
    def test_samples_images_and_labels(self, tmp_path: Path, kind: str) -> None:
        elsewhere = every(kind, tmp_path / "else/where")
        datasets = [*every(kind, tmp_path / "here")]
        assert datasets
        for dataset, other in zip(datasets, elsewhere, strict=True):
            ids = [sample.id for sample in dataset.samples]
            assert ids == sorted(set(ids)) == [sample.id for sample in other.samples]
            check_samples(dataset, range(len(dataset)))
            # Loader workers can have it.
            copy = pickle.loads(pickle.dumps(dataset))
            for index, sample in enumerate(dataset.samples):
                relative = sample.image.relative_to(dataset.root)
                assert relative.with_name(relative.stem).as_posix() == sample.id
                image = dataset.image(index)
                assert (image.shape, image.dtype) == ((*SIZE, 3), np.uint8)
                assert image.flags.writeable and image.flags.c_contiguous
                np.testing.assert_array_equal(copy.image(index), image)
                if sample.label is None:
                    with pytest.raises(DataError, match="has no label file"):
                        dataset.label(index)
                    continue
                label = dataset.label(index)
                assert (label.shape, label.dtype) == (SIZE, np.uint8)
                found = set(np.unique(label).tolist())
                assert {*range(len(dataset.classes))} <= found
                assert found <= {*range(len(dataset.classes)), IGNORE}

    def test_an_unknown_label_id_is_named(self, tmp_path: Path, kind: str) -> None:
        dataset, *_ = every(kind, tmp_path)
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
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
    ) -> None:
        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("a file was read")

        monkeypatch.setattr(Image, "open", forbidden)
        monkeypatch.setattr("scipy.io.loadmat", forbidden)
        for dataset in every(kind, tmp_path):
            with pytest.raises(AssertionError, match="a file was read"):
                dataset.image(0)


def test_what_a_reader_shares_with_pillow(tmp_path: Path) -> None:
    dataset = EXAMPLES["camvid"].opened(tmp_path)
    whole = dataset.image(0)
    shared = np.asarray(Image.fromarray(whole))
    shared.flags.writeable = False
    again = replace(dataset, read_raw_image=lambda path, target: shared)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(torch.from_numpy(again.image(0)).numpy(), whole)


class TestRegistry:
    @pytest.mark.parametrize("name", list(LAYOUTS))
    def test_what_is_not_there(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(DataError, match=r"nowhere is not a folder"):
            open_dataset(name, tmp_path / "nowhere", "train")
        (tmp_path / "something.zip").touch()
        with pytest.raises(DataError, match=r"something\.zip"):
            open_dataset(name, tmp_path, "train")
        write_folder(tmp_path)
        for split in ("trian", "../train", ""):
            with pytest.raises(DataError, match=r"unknown .*split .*Choices: .*train"):
                open_dataset(name, tmp_path, split)

    def test_unknown_name_lists_choices(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"'cityscape'\. Did you mean 'cityscapes'\? Choices: "):
            open_dataset("cityscape", tmp_path, "train")
        assert classes_of("demo") is CITYSCAPES
        assert classes_of("folder") is classes_of("cityscape") is None

    def test_a_layout_of_ones_own(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Everything that is known of it stands in one class."""
        leaves = ClassSet.of(["ground", "leaf"])

        class Leaves(Layout):
            title = "Leaves"
            classes = leaves
            split_names = ("train", "val")
            maps_to = {"camvid": {"ground": "ignore", "leaf": "tree"}}  # noqa: RUF012
            maps_from = {"voc": dict.fromkeys(VOC.names, "ground")}  # noqa: RUF012

            def files(self, root: Path, split: str) -> Files:
                folder = Folder(root / split)
                return Files(
                    folder=folder,
                    images=folder.by_id(".jpg"),
                    images_at=f"{folder.path}/*.jpg",
                    labels=folder.by_id(".png"),
                    labels_at=f"{folder.path}/*.png",
                    lookup=train_id_lookup(leaves),
                    read_label=read_index_png,
                )

        monkeypatch.setattr(LAYOUTS, "_entries", dict(LAYOUTS._known()))  # to forget it again
        LAYOUTS.register("leaves")(Leaves)
        for name in ("a", "b"):
            write_image(tmp_path / f"train/{name}.jpg")
            write_label(tmp_path / f"train/{name}.png", cycle_ids([0, 1, 255]))
        (tmp_path / "train/c.tif").touch()
        dataset = open_dataset("leaves", tmp_path, "train")
        assert [sample.id for sample in dataset.samples] == ["a", "b"]
        np.testing.assert_array_equal(dataset.label(0), cycle_ids([0, 1, 255]))
        assert "1 .tif" in dataset.passed_over
        assert layout_of("leaves").splits(tmp_path) == ("train", "val")
        camvid = classes_of("camvid")
        assert class_map(leaves, camvid).targets == ("ignore", "tree")
        assert class_map(VOC, leaves).targets[3] == "ground"
        with pytest.raises(DataError, match=r"Leaves split 'val' is empty: looked for .*\.jpg"):
            open_dataset("leaves", tmp_path, "val")


class TestCityscapes:
    def test_tables_are_those_of_the_benchmark(self) -> None:
        for one in official:
            if one.id >= 0:
                assert RAW_TO_TRAIN[one.id] == (one.trainId if one.trainId >= 0 else IGNORE)
            if 0 <= one.trainId < 255:
                assert CITYSCAPES.names[one.trainId] == one.name
                assert CITYSCAPES.palette[one.trainId] == one.color
        assert (RAW_TO_TRAIN[34:255] == -1).all()
        void = {one.id % 256: one.color for one in official if one.ignoreInEval}
        assert void == VOID_COLORS

    def test_instances_of_things(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, cities={"ulm": 2})
        bare = open_dataset("cityscapes", tmp_path, "train")
        with pytest.raises(DataError, match="no file of instances"):
            bare.instances(0, bare.label(0))
        write_instances(tmp_path)
        found = open_dataset("cityscapes", tmp_path, "train")
        label = found.label(0)
        instances = found.instances(0, label)
        assert instances.dtype == np.int32
        things = np.isin(label, [CITYSCAPES.names.index(name) for name in ("rider", "car")])
        rows = np.broadcast_to(np.arange(len(label))[:, None], label.shape)
        raw = np.array([*CITYSCAPES.label_ids])[label[things]]
        np.testing.assert_array_equal(instances[things], 1000 * raw + rows[things])
        assert things.any() and not instances[label == CITYSCAPES.names.index("road")].any()
        with pytest.raises(
            DataError, match=r"instanceIds.*20x12 pixels but the label .* has 20x11"
        ):
            found.instances(0, label[1:])
        path = next(tmp_path.rglob("*ulm_000000*_instanceIds.png"))
        Image.new("RGB", (20, 12)).save(path)
        with pytest.raises(DataError, match="a color picture"):
            found.instances(0, label)

    def test_both_kinds_of_labels_give_the_same(self, tmp_path: Path) -> None:
        write_cityscapes(tmp_path, cities={"ulm": 1})
        raw_ids = open_dataset("cityscapes", tmp_path, "train").label(0)
        label = next(tmp_path.rglob("*_labelIds.png"))
        label.unlink()
        path = label.with_name(label.name.replace("labelIds", "labelTrainIds"))
        write_label(path, raw_ids)
        again = open_dataset("cityscapes", tmp_path, "train")
        np.testing.assert_array_equal(again.label(0), raw_ids)
        write_label(path, np.full(SIZE, 33, dtype=np.uint8))  # would be a raw id
        with pytest.raises(DataError, match="train id 33"):
            again.label(0)
        write_cityscapes(tmp_path, "test")  # its labels are placeholders
        samples = open_dataset("cityscapes", tmp_path, "test").samples
        assert all(sample.label is None for sample in samples)

    def test_linked_folders_and_hidden_copies(self, tmp_path: Path) -> None:
        ids = write_cityscapes(tmp_path / "disk")
        (tmp_path / "data").mkdir()
        for name in ("leftImg8bit", "gtFine"):
            (tmp_path / "data" / name).symlink_to(tmp_path / "disk" / name)
        (tmp_path / "disk/leftImg8bit/train/loop").symlink_to(tmp_path / "disk/leftImg8bit/train")
        image = next((tmp_path / "disk/leftImg8bit").rglob("*.png"))
        image.with_name(f"._{image.name}").write_bytes(b"resource fork")
        found = open_dataset("cityscapes", tmp_path / "data", "train")
        assert [sample.id for sample in found.samples] == ids


class TestVoc:
    def test_every_root_finds_images_and_sbd(self, tmp_path: Path) -> None:
        write_voc(tmp_path / "VOCdevkit" / "VOC2012")
        write_sbd(tmp_path / "sbd" / "cls")
        for given in ("", "VOCdevkit", "VOCdevkit/VOC2012"):
            found = open_dataset("voc", tmp_path / given, "train_aug").samples
            # VOC's own labels come before those of SBD, and images of val are left out.
            endings = {sample.id: sample.label.suffix for sample in found if sample.label}
            assert endings == dict.fromkeys(VOC_TRAIN, ".png") | dict.fromkeys(SBD_EXTRA, ".mat")

    def test_lists(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        for split, names in (("train", VOC_TRAIN), ("val", VOC_VAL)):
            found = open_dataset("voc", tmp_path, split)
            assert tuple(sample.id for sample in found.samples) == names
        (tmp_path / "ImageSets/Segmentation/val.txt").unlink()
        with pytest.raises(DataError, match=r"val\.txt: no such file"):
            open_dataset("voc", tmp_path, "val")
        with pytest.raises(DataError, match=r"SegmentationClassAug.*benchmark_RELEASE"):
            open_dataset("voc", tmp_path, "train_aug")

    @pytest.mark.parametrize(
        "line", [None, "{0}\n", "/JPEGImages/{0}.jpg /SegmentationClassAug/{0}.png\r\n"]
    )
    def test_the_augmented_set(self, tmp_path: Path, line: str | None) -> None:
        listed = None if line is None else line.format(SBD_EXTRA[1])
        write_voc(tmp_path, augmented=True, augmented_list=listed)
        found = open_dataset("voc", tmp_path, "train_aug").samples
        expected = sorted((*VOC_TRAIN, *SBD_EXTRA)) if line is None else [SBD_EXTRA[1]]
        assert [sample.id for sample in found] == expected
        assert {sample.label.parent.name for sample in found if sample.label} == {
            "SegmentationClassAug"
        }

    def test_indices_of_palettes_and_of_sbd_are_read(self, tmp_path: Path) -> None:
        write_voc(tmp_path / "voc")
        found = open_dataset("voc", tmp_path / "voc", "train").label(0)
        np.testing.assert_array_equal(found, cycle_ids([*range(21), 255]))
        sbd = EXAMPLES["voc sbd"].opened(tmp_path / "sbd")
        index = [sample.id for sample in sbd.samples].index(SBD_EXTRA[2])
        np.testing.assert_array_equal(sbd.label(index), cycle_ids(range(21), 2))
        path = sbd.samples[index].label
        content = path.read_bytes()
        for length in range(0, len(content), 97):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=path.name):
                sbd.label(index)

    def test_missing_and_ambiguous_images(self, tmp_path: Path) -> None:
        write_voc(tmp_path)
        write_image(tmp_path / f"JPEGImages/{VOC_TRAIN[0]}.png")
        with pytest.raises(DataError) as raised:
            open_dataset("voc", tmp_path, "train")
        assert all(f"{VOC_TRAIN[0]}.{one}" in str(raised.value) for one in ("jpg", "png"))
        assert len(open_dataset("voc", tmp_path, "val")) == 2  # which it does not concern
        (tmp_path / "JPEGImages" / f"{VOC_VAL[1]}.jpg").unlink()
        with pytest.raises(DataError, match=rf"1 of 2 images .*{VOC_VAL[1]}\.jpg"):
            open_dataset("voc", tmp_path, "val")


class TestCamvid:
    def test_list_is_rebased_and_endings_may_differ(self, tmp_path: Path) -> None:
        ids = write_camvid(tmp_path, ending=".jpg")
        write_camvid_list(tmp_path, "train", ids[:3])
        found = open_dataset("camvid", tmp_path, "train")
        assert [sample.id for sample in found.samples] == ids[:3] and not found.unpaired
        for entry, problem in (
            ("/SegNet/CamVid/../../secret.png", "escapes the root"),
            ("/SegNet/CamVid/train/other.png", "not an image below train/"),
        ):
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
        found = open_dataset("camvid", tmp_path, "train")
        endings = sorted(f"{name}.{ending}" for name in ids for ending in ("jpg", "png"))
        assert [one.id for one in found.samples] == endings
        for one in found.samples:
            assert one.label is not None and one.label.name == f"{one.image.name}.png"

    @pytest.mark.skipif(not CAMVID_ROOT.is_dir(), reason=f"{CAMVID_ROOT} is not there")
    @pytest.mark.parametrize(("split", "count"), [("train", 367), ("val", 101)])
    def test_real_files(self, split: str, count: int) -> None:
        found = open_dataset("camvid", CAMVID_ROOT, split)
        assert len(found) == count
        seen = {int(i) for index in range(0, count, 10) for i in np.unique(found.label(index))}
        assert seen == {*range(11), IGNORE}
        assert found.pair(0)[0].shape == (360, 480, 3)
        check_samples(found, range(count))


class TestBdd100k:
    def test_the_current_release_comes_first(self, tmp_path: Path) -> None:
        ids = write_bdd100k(tmp_path)
        write_bdd100k(tmp_path, count=5, older=True)
        found = open_dataset("bdd100k", tmp_path, "train")
        assert [sample.id for sample in found.samples] == ids
        np.testing.assert_array_equal(found.pair(1)[1], cycle_ids([*range(19), 255], 1))
        assert found.classes.names == CITYSCAPES.names and found.classes.label_ids == ()
        assert found.lookup[[0, 18, 19, 254, 255]].tolist() == [0, 18, -1, -1, IGNORE]

    def test_images_without_labels(self, tmp_path: Path) -> None:
        ids = write_bdd100k(tmp_path)
        for name in (ids[1], ids[3]):
            next(tmp_path.rglob(f"{name}*.png")).unlink()
        with pytest.raises(
            DataError, match=rf"2 of 4 images have no label, the first is .*{ids[1]}\.jpg"
        ):
            open_dataset("bdd100k", tmp_path, "train")
        found = open_dataset("bdd100k", tmp_path, "train", pair_labeled)
        assert [sample.id for sample in found.samples] == [ids[0], ids[2]]
        assert [path.stem for path in found.unpaired] == [ids[1], ids[3]]
        for path in tmp_path.rglob("*.png"):
            path.unlink()
        with pytest.raises(DataError, match="4 of 4 images have no label"):
            open_dataset("bdd100k", tmp_path, "train", pair_labeled)

    def test_a_label_of_another_size(self, tmp_path: Path) -> None:
        found = EXAMPLES["bdd100k"].opened(tmp_path)
        path = found.samples[2].label
        for size, message in (
            ((6, 10), rf"20x12 pixels but its label .*{path.name} has 10x6$"),
            ((20, 12), r"has 12x20\. .* EXIF orientation is not applied"),
        ):
            write_label(path, cycle_ids([0, 1], size=size))
            with pytest.raises(DataError, match=message):
                found.pair(2)


class TestRenderings:
    def test_gta5(self, tmp_path: Path) -> None:
        found = EXAMPLES["gta5"].opened(tmp_path)
        np.testing.assert_array_equal(found.lookup[:34], RAW_TO_TRAIN[:34])
        assert found.lookup[34] == found.lookup[255] == IGNORE
        expected = found.lookup[cycle_ids(range(35), 1)].astype(np.uint8)
        np.testing.assert_array_equal(found.label(1), expected)

    def test_synthia(self, tmp_path: Path) -> None:
        # The data set's own table of ids, from 1 on; 13 and 14 are no classes of Cityscapes.
        table = (
            "sky,building,road,sidewalk,fence,vegetation,pole,car,traffic sign,person,bicycle,"
            "motorcycle,,,traffic light,terrain,rider,truck,bus,train,wall"
        )
        names = {raw: name for raw, name in enumerate(table.split(","), start=1) if name}
        found = EXAMPLES["synthia"].opened(tmp_path / "own")
        for raw in range(23):
            train = found.lookup[raw]
            assert names.get(raw) == (None if train == IGNORE else found.classes.names[train])
        # The class is in the red channel.
        expected = found.lookup[cycle_ids(range(23), 2)].astype(np.uint8)
        np.testing.assert_array_equal(found.label(2), expected)
        mapped = EXAMPLES["synthia mapped"].opened(tmp_path / "mapped")
        expected = RAW_TO_TRAIN[cycle_ids(range(34), 2)].astype(np.uint8)
        np.testing.assert_array_equal(mapped.label(2), expected)

    def test_labels_of_synthia_that_lost_their_ids(self, tmp_path: Path) -> None:
        found = EXAMPLES["synthia"].opened(tmp_path)
        path = found.samples[0].label
        for ids, message in ((0, "every pixel has the id 0"), (259, "label id 259")):
            path.write_bytes(encode(np.full((*SIZE, 3), ids, dtype=np.uint16)))
            with pytest.raises(DataError, match=message):
                found.label(0)
        # What an 8-bit library makes of it.
        write_label(path, np.zeros((*SIZE, 3), dtype=np.uint8))
        with pytest.raises(DataError, match=path.name):
            found.label(0)


@pytest.mark.parametrize("name", SCENES)
def test_demo_scenes_in_every_layout(tmp_path: Path, name: str) -> None:
    write_demo(tmp_path / name, look="render", counts={"train": 3}, size=(48, 96), layout=name)
    found = open_dataset(name, tmp_path / name, "train")
    assert len(found) == 3
    mapped = class_map(CITYSCAPES, found.classes)
    for index in range(3):
        scene, raw = render_scene(0, index, (48, 96), "render")
        image, label = found.pair(index)
        lossy = found.samples[index].image.suffix == ".jpg"
        assert np.abs(image.astype(int) - scene).mean() < (4 if lossy else 0.01)
        for old, new in zip(CITYSCAPES.names, mapped.targets, strict=True):
            there = raw == CITYSCAPES.label_ids[CITYSCAPES.names.index(old)]
            lost = new == "ignore" or (name == "synthia" and old in found.absent)
            expected = IGNORE if lost else found.classes.names.index(new)
            assert (label[there] == expected).all()


class TestFolder:
    def test_descriptions(self, tmp_path: Path) -> None:
        ids = write_folder(tmp_path)
        (tmp_path / "dataset.yaml").unlink()
        description = tmp_path / "roads.yml"
        for text, label_ids, lookup in (
            (FOLDER_DESCRIPTION, (0, 7, 11), {0: 0, 7: 1, 11: 2, 255: IGNORE, 1: -1}),
            ("names: [a, b]\nignore: [9, 255]\n", (), {0: 0, 1: 1, 2: -1, 9: IGNORE, 255: IGNORE}),
            ("names: [a]\nid_map: {5: 0, 3: 0}\n", (3,), {3: 0, 5: 0}),
        ):
            description.write_text(text)
            found = open_dataset("folder", description, "train")
            assert [sample.id for sample in found.samples] == ids
            assert found.classes.label_ids == label_ids
            assert {raw: found.lookup[raw] for raw in lookup} == lookup
            assert layout_of("folder").splits(description) == ("train",)
        description.write_text('names: ["<b>=cmd()"]\n')
        assert open_dataset("folder", description, "train").classes.names == ("<b>=cmd()",)
        description.write_text("names: !!python/name:os.system []\n")
        with pytest.raises(ConfigError, match=r"roads\.yml"):
            open_dataset("folder", description, "train")

    def test_bad_descriptions(self, tmp_path: Path) -> None:
        write_folder(tmp_path)
        every_id = ", ".join(f"{raw}: 0" for raw in range(256))
        for description, line, named in (
            ("palette: []\n", 1, "'names'"),
            ("names: [a, a]\n", 1, "'names'"),
            ("names: [a,\n 3]\n", 2, "'3'"),
            ("names: [a,\n " + 100_000 * "b" + "]\n", 2, "'b+'"),
            ("names: [a]\nignor: 255\n", 2, "'ignor'.*'ignore'"),
            ("names: [a]\nignore: -1\n", 2, "-1 is neither"),
            ("names: [a]\nignore: true\n", 2, "True is neither"),
            ("names: [a]\nignore: [[0, 0]]\n", 2, r"\[0, 0\] is neither"),
            ("names: [a]\nignore: 0\n", 2, "id 0 .*class 'a'"),
            ("names: [a, b]\nid_map: {0: 0, 255: 1}\n", 2, r"id 255 .*class 'b'.*'ignore: \[\]'"),
            ("names: [a]\nignore: [3, 0]\n", 2, "id 0 .*take 0 out of 'ignore'"),
            ("names: [a]\nignore: [0, 0, 0]\n", 2, r"id 0 .*'ignore: \[\[0, 0, 0\]\]'"),
            ("names: [a]\nignore: [[0, 0, 0]]\n", 2, "'palette'"),
            ("names: [a]\npalette: [[0, 9, 0]]\nignore: [[0, 9, 0]]\n", 3, "9, .* class 'a'"),
            ("names: [a]\nid_map: [0]\n", 2, "'id_map'"),
            ("names: [a]\nid_map: {300: 0}\n", 2, "300 is not an id"),
            ("names: [a]\nid_map:\n  0: 0\n  7: 1\n", 4, "1 is not a class index"),
            ("names: [a, b]\nid_map: {7: 1}\n", 2, "class 'a'"),
            ("names: [a, b]\npalette: [[0, 0, 0]]\n", 2, "2 colors, .*found 1"),
            ("names: [a]\npalette:\n - [0, 0, 256]\n", 3, "not a color"),
            ("names: [a]\npalette: [[1, 1, 1]]\nignore: [[0, 0, 0]]\nid_map: {" + every_id + "}\n",
             4, "every id is mapped"),
        ):  # fmt: skip
            (tmp_path / "dataset.yaml").write_text(description)
            with pytest.raises(DataError, match=rf"dataset\.yaml, line {line}: .*{named}"):
                open_dataset("folder", tmp_path, "train")

    def test_masks_of_0_and_255(self, tmp_path: Path) -> None:
        description = "names: [rest, thing]\nid_map: {0: 0, 255: 1}\nignore: []\n"
        (name,) = write_folder(tmp_path, count=1, description=description)
        write_label(tmp_path / f"labels/train/{name}.png", cycle_ids([0, 255]))
        label = open_dataset("folder", tmp_path, "train").label(0)
        np.testing.assert_array_equal(label, cycle_ids([0, 1]))

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
    def test_forms_of_masks(self, tmp_path: Path, mode: str) -> None:
        palette = [[0, 0, 0], [0, 160, 0]]
        colors = f"palette: {palette}\nid_map: {{5: 1, 7: 0, 9: 0, 0: 0, 1: 1}}\n"
        description = "names: [rest, leaf]\n" + (colors if mode.startswith("RGB") else "")
        (name,) = write_folder(tmp_path, count=1, description=description)
        path = tmp_path / f"labels/train/{name}.png"
        ids = cycle_ids([0, 1, 1])
        if mode.startswith("RGB"):
            Image.fromarray(np.array(palette, dtype=np.uint8)[ids]).convert(mode).save(path)
        elif mode == "LA":
            Image.fromarray(ids).convert(mode).save(path)
        else:
            Image.fromarray(ids.astype(bool)).save(path)
        found = open_dataset("folder", tmp_path, "train")
        np.testing.assert_array_equal(found.label(0), ids)
        write_label(path, ids)  # ids stay ids, as prepared copies have them
        np.testing.assert_array_equal(found.label(0), ids)
        if mode in ("LA", "RGBA"):
            Image.new(mode, (4, 4), (0, 9) if mode == "LA" else (0, 0, 0, 9)).save(path)
            with pytest.raises(DataError, match="transparent"):
                found.label(0)

    def test_colors_that_mean_nothing(self, tmp_path: Path) -> None:
        for palette, problem in (
            ("palette: [[0, 0, 0], [0, 161, 0]]\n", r"\[0, 160, 0\] \(row 0, column 1\)"),
            ("palette: [[0, 0, 0], [0, 0, 0]]\n", r"two classes .*\[0, 0, 0\]"),
            ("", r"'palette' in .*dataset\.yaml"),
        ):
            description = "names: [rest, leaf]\n" + palette
            (name,) = write_folder(tmp_path, count=1, description=description)
            pixels = np.array([[0, 0, 0], [0, 160, 0]], dtype=np.uint8)[cycle_ids([0, 1])]
            Image.fromarray(pixels).save(tmp_path / f"labels/train/{name}.png")
            with pytest.raises(DataError, match=rf"frame\.0\.png: .*{problem}"):
                open_dataset("folder", tmp_path, "train").label(0)

    @pytest.mark.parametrize(
        ("form", "ignore"),
        [("RGB", ""), ("palette", "ignore: []\n"), ("RGB", "ignore: [3, 255]\n")],
    )
    def test_a_color_of_no_class(self, tmp_path: Path, form: str, ignore: str) -> None:
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
        found = open_dataset("folder", tmp_path, "train")
        np.testing.assert_array_equal(found.label(0), cycle_ids([1, 0, 255, 255]))
        assert found.lookup[255] == IGNORE  # which was ignored before
        assert (found.lookup[3] == IGNORE) == ("3" in ignore)


def test_layouts_need_no_torch() -> None:
    """Importing it takes seconds, and a mistyped name is to be refused at once."""
    code = (
        "import sys; from mixseg.data.layout import layout_of, LAYOUTS; "
        "[layout_of(name) for name in LAYOUTS]; "
        "sys.exit(bool({'torch', 'scipy'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
