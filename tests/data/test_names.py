"""Names that look the same are the same, whatever form of Unicode a system keeps them in."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest

from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet
from mixseg.data.layout import open_dataset
from mixseg.data.pairing import Folder
from mixseg.data.splits import hold_out, split_labeled
from mixseg.data.statistics import frequencies_of, read_frequencies
from mixseg.data.unlabeled import ANY_CLASS, open_unlabeled
from mixseg.errors import DataError
from tests.data.layouts import write_folder, write_image

COMPOSED = unicodedata.normalize("NFC", "für é")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)


@pytest.fixture(autouse=True)
def _two_forms(tmp_path: Path) -> None:
    (tmp_path / f"{COMPOSED}.probe").touch()
    if (tmp_path / f"{DECOMPOSED}.probe").exists():
        pytest.skip("this file system has one form of each name")


def test_pairs_ids_and_splits(tmp_path: Path) -> None:
    opened = []
    for name, forms in {"a": (COMPOSED, DECOMPOSED), "b": (DECOMPOSED, COMPOSED)}.items():
        write_folder(tmp_path / name)
        for part, form in zip(("images", "labels"), forms, strict=True):
            for path in [*(tmp_path / name / part).rglob("*.*")]:
                if path.is_file():
                    path.rename(path.with_name(form + path.name))
        opened.append(open_dataset("folder", tmp_path / name, "train"))
    assert all(sample.label for dataset in opened for sample in dataset.samples)
    ids, others = ([sample.id for sample in dataset.samples] for dataset in opened)
    assert ids == others and all(COMPOSED in key for key in ids)
    assert split_labeled(ids, "1/2", 0) == split_labeled(others, "1/2", 0)
    for form in ("NFC", "NFD"):
        listed = tmp_path / f"{form}.txt"
        listed.write_text(unicodedata.normalize(form, "".join(f"{key}\n" for key in ids[:2])))
        assert split_labeled(ids, str(listed), 0).labeled == (0, 1)
        assert len(hold_out(opened[0], str(listed), 0)) == 2


def test_lists_of_photographs(tmp_path: Path) -> None:
    for form in (COMPOSED, DECOMPOSED):
        write_image(tmp_path / form.split()[0] / f"{form}.png")
    for form in ("NFC", "NFD"):
        listed = tmp_path / "list.txt"
        names = f"{COMPOSED.split()[0]}/{COMPOSED}.png\n"
        listed.write_text(unicodedata.normalize(form, names))
        with pytest.raises(DataError, match=r"two forms of Unicode"):
            open_unlabeled(listed, ANY_CLASS)
    (tmp_path / COMPOSED.split()[0]).rename(tmp_path / "other")
    found = open_unlabeled(listed, ANY_CLASS)
    (sample,) = found.samples
    assert sample.image.is_file() and sample.image.name == f"{DECOMPOSED}.png"
    listed.write_text(f"{COMPOSED.split()[0]}/{COMPOSED}2.png\n")
    with pytest.raises(DataError, match=r"line 1.*is not a file"):
        open_unlabeled(listed, ANY_CLASS)


def test_two_files_of_a_name(tmp_path: Path) -> None:
    for form in (COMPOSED, DECOMPOSED):
        write_image(tmp_path / f"{form}.png")
    with pytest.raises(DataError) as caught:
        Folder(tmp_path).by_id(".png")
    assert r"\xfc" in str(caught.value) and r"u\u0308" in str(caught.value)


def test_class_names(tmp_path: Path) -> None:
    classes = ClassSet((DECOMPOSED, "b"), ((0, 0, 0), (1, 1, 1)))
    assert classes == ClassSet((COMPOSED, "b"), ((0, 0, 0), (1, 1, 1)))
    with pytest.raises(DataError, match="must differ"):
        ClassSet((COMPOSED, DECOMPOSED), ((0, 0, 0), (1, 1, 1)))
    target = ClassSet(("x", COMPOSED), ((0, 0, 0), (1, 1, 1)))
    file = tmp_path / "names.yaml"
    file.write_text(f"{DECOMPOSED}: {DECOMPOSED}\nb: x\n")
    assert class_map(classes, target, file).targets == (COMPOSED, "x")
    file.write_text(f"{DECOMPOSED}: 1\nb: 3\n")
    np.testing.assert_array_equal(read_frequencies(file, classes), [0.25, 0.75])
    given = {DECOMPOSED: 1.0, "b": 1.0}
    np.testing.assert_array_equal(frequencies_of(given, classes, "here"), [0.5, 0.5])
    with pytest.raises(DataError, match="twice"):
        frequencies_of(given | {COMPOSED: 1.0}, classes, "here")
    write_folder(tmp_path / "data", description=f"names: [{COMPOSED}, {DECOMPOSED}]\n")
    with pytest.raises(DataError, match="names"):
        open_dataset("folder", tmp_path / "data", "train")
