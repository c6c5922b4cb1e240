"""From one class set to another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixseg.data.camvid import CAMVID, CAMVID_TO_CITYSCAPES
from mixseg.data.cityscapes import CITYSCAPES, CITYSCAPES_TO_CAMVID, CITYSCAPES_TO_VOC
from mixseg.data.class_maps import class_map
from mixseg.data.contract import ClassSet
from mixseg.data.layout import IGNORED, classes_of, open_dataset
from mixseg.data.voc import VOC
from mixseg.errors import DataError
from mixseg.ignore import IGNORE
from tests.data.layouts import (
    cycle_ids,
    write_cityscapes,
    write_folder,
    write_label,
)

TWO = ClassSet(("ground", "thing"), ((0, 0, 0), (9, 9, 9)))
BUILT_IN = (
    (CITYSCAPES, CAMVID, CITYSCAPES_TO_CAMVID),
    (CITYSCAPES, VOC, CITYSCAPES_TO_VOC),
    (CAMVID, CITYSCAPES, CAMVID_TO_CITYSCAPES),
)


@pytest.mark.parametrize(("source", "target", "pairs"), BUILT_IN)
def test_built_in_maps(source: ClassSet, target: ClassSet, pairs: dict[str, str]) -> None:
    assert set(pairs) == set(source.names)
    assert set(pairs.values()) <= {*target.names, IGNORED}
    assert class_map(source, target).targets == tuple(pairs[name] for name in source.names)
    # The documentation lists them.
    text = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text()
    titles = {CAMVID: "CamVid", VOC: "VOC", CITYSCAPES: "Cityscapes"}
    (table,) = (part for part in text.split("\n\n") if part.startswith(f"| {titles[source]} |"))
    head, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()
    ]
    column = head.index(titles[target])
    assert {row[0]: row[column] for row in rows} == pairs


def test_classes_of_the_same_names() -> None:
    for name in ("bdd100k", "cityscapes", "demo", "gta5", "synthia"):
        classes = classes_of(name)
        assert class_map(CITYSCAPES, classes).targets == CITYSCAPES.names
        assert class_map(CITYSCAPES, classes).target is classes
        assert class_map(CAMVID, classes).targets == class_map(CAMVID, CITYSCAPES).targets
        assert class_map(classes, CAMVID).targets == class_map(CITYSCAPES, CAMVID).targets
    # Classes of CamVid that have one in Cityscapes come back as themselves.
    kept = {old: new for old, new in CAMVID_TO_CITYSCAPES.items() if new != IGNORED}
    assert len(kept) == 10
    assert {old: CITYSCAPES_TO_CAMVID[new] for old, new in kept.items()} == {
        one: one for one in kept
    }


def write_map(path: Path, **changes: str | None) -> Path:
    targets = dict.fromkeys(CITYSCAPES.names, "thing") | {"road": "ground", "sky": "ignore"}
    lines = {name.replace(" ", "_"): target for name, target in targets.items()} | changes
    text = "".join(f"{n.replace('_', ' ')}: {t}\n" for n, t in lines.items() if t is not None)
    path.write_text(text)
    return path


def test_labels_go_where_a_file_says(tmp_path: Path) -> None:
    write_cityscapes(tmp_path)
    opened = open_dataset("cityscapes", tmp_path, "train")
    mapped = class_map(CITYSCAPES, TWO, write_map(tmp_path / "map.yaml")).apply(opened)
    before, after = opened.label(0), mapped.label(0)
    assert mapped.classes is TWO
    road, sky = CITYSCAPES.names.index("road"), CITYSCAPES.names.index("sky")
    assert set(after[before == road].tolist()) == {0}
    assert set(after[(before == sky) | (before == IGNORE)].tolist()) == {IGNORE}
    others = (before != road) & (before != sky) & (before != IGNORE)
    assert set(after[others].tolist()) == {1}
    with pytest.raises(DataError, match="the map begins at"):
        class_map(CITYSCAPES, CAMVID).apply(mapped)
    # Ids that the data set does not know stay unknown.
    path = opened.samples[0].label
    write_label(path, cycle_ids([7, 99]))
    with pytest.raises(DataError, match="label id 99"):
        mapped.label(0)


def test_what_is_joined_and_dropped_is_said() -> None:
    lines = class_map(CITYSCAPES, CAMVID).describe()
    assert "traffic light + traffic sign -> sign symbol" in lines
    assert "ignored: train" in lines and not any("never" in line for line in lines)
    assert "ignored: sign symbol" in class_map(CAMVID, CITYSCAPES).describe()
    lines = class_map(CITYSCAPES, CITYSCAPES).describe(("truck", "train"))
    assert lines == ["never labeled: truck, train"]
    assert class_map(CITYSCAPES, CITYSCAPES).describe() == []


def test_bad_files(tmp_path: Path) -> None:
    all_ignored = dict.fromkeys((name.replace(" ", "_") for name in CITYSCAPES.names), "ignore")
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"roda": "ground"}, r"line 20: .*'roda'.*'road'"),
        ({"road": "grond"}, r"line 1: .*'grond'.*'ground'"),
        ({"road": None, "car": None}, "road, car"),
        (all_ignored, "every class"),
    )
    for changes, problem in cases:
        with pytest.raises(DataError, match=rf"map\.yaml.*{problem}"):
            class_map(CITYSCAPES, TWO, write_map(tmp_path / "map.yaml", **changes))


def test_a_class_that_is_called_ignore(tmp_path: Path) -> None:
    write_folder(tmp_path, description="names: [ignore, road]\nid_map: {0: 0, 7: 1, 11: 1}\n")
    opened = open_dataset("folder", tmp_path, "train")
    mapped = class_map(opened.classes, opened.classes)
    assert mapped.describe() == []
    assert np.array_equal(mapped.apply(opened).label(0), opened.label(0))


def test_a_map_is_a_file_that_gives_it_again(tmp_path: Path) -> None:
    first = class_map(CITYSCAPES, CAMVID)
    (tmp_path / "map.yaml").write_text(first.to_yaml())
    assert class_map(CITYSCAPES, CAMVID, tmp_path / "map.yaml") == first
    with pytest.raises(DataError, match="no class map is built in"):
        class_map(VOC, CAMVID)
