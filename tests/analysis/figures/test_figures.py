"""What figures show, against plain counts and the equations."""

from __future__ import annotations

import csv
import dataclasses
import inspect
import io
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mixseg.analysis.figures import FIGURES
from mixseg.analysis.figures.cow_masks import cow_mask, edges
from mixseg.analysis.figures.figure import OPENING, Drawn, Given, ShownDataset, chosen, short_names
from mixseg.analysis.figures.mixing import DOMAINS, mixtures
from mixseg.analysis.figures.temperatures import EXAMPLE
from mixseg.data.class_maps import class_map
from mixseg.errors import ConfigError, DataError
from mixseg.ignore import IGNORE
from tests.analysis.figures.scenes import SIZE, given, scenes

HEIGHT, WIDTH = SIZE


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> ShownDataset:
    return scenes(tmp_path_factory.mktemp("camera") / "scenes")


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> ShownDataset:
    return scenes(tmp_path_factory.mktemp("camvid") / "scenes", layout="camvid")


def rows(drawn: Drawn) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(str(drawn.files()["csv"]))))


def picture(drawn: Drawn) -> np.ndarray:
    content = drawn.files()["png"]
    assert isinstance(content, bytes)
    return np.array(Image.open(io.BytesIO(content)).convert("RGB"))


def labels(shown: ShownDataset) -> np.ndarray:
    return np.stack([shown.dataset.label(index) for index in range(len(shown.dataset))])


def standing_in(sheet: np.ndarray, part: np.ndarray) -> bool:
    """Whether a picture stands in a sheet, pixel by pixel."""
    height, width = part.shape[:2]
    first = (sheet == part[0, 0]).all(axis=-1)[: 1 - height, : 1 - width]
    return any(
        np.array_equal(sheet[top : top + height, left : left + width], part)
        for top, left in np.argwhere(first)
    )


def test_mixed_is_a_where_the_mask_is_and_b_elsewhere(
    camera: ShownDataset, camvid: ShownDataset
) -> None:
    source = class_map(camera.dataset.classes, camvid.dataset.classes).apply(camera.dataset)
    found = list(mixtures(given(camvid, seed=3), source))
    assert [one.name for one in found] == ["classmix", "cutmix", "cowmix", DOMAINS]
    for one in found:
        own, partner = (part.image.permute(1, 2, 0).numpy() for part in (one.own, one.partner))
        assert 0 < one.mask.mean() < 1
        np.testing.assert_array_equal(one.image[one.mask], own[one.mask])
        np.testing.assert_array_equal(one.image[~one.mask], partner[~one.mask])
        np.testing.assert_array_equal(one.label[one.mask], one.own.label.numpy()[one.mask])
        np.testing.assert_array_equal(one.label[~one.mask], one.partner.label.numpy()[~one.mask])
    classmix, domains = found[0], found[-1]
    for one in (classmix, domains):
        own_label = one.own.label.numpy()
        kept = set(np.unique(own_label[one.mask]).tolist())
        present = set(np.unique(own_label).tolist()) - {IGNORE}
        assert len(kept) == math.ceil(len(present) / 2)
        assert not kept & set(np.unique(own_label[~one.mask]).tolist())
    # What is pasted from the source has the classes of the target.
    assert set(np.unique(domains.label).tolist()) <= {*range(11), IGNORE}


def test_the_sheet_of_mixers_holds_each_picture_and_its_counts(camera: ShownDataset) -> None:
    root = str(camera.dataset.root.parents[1])  # so that no further scenes are drawn
    drawn = FIGURES["mixing"].draw(given(camera, seed=1), "cityscapes", root)
    found = list(mixtures(given(camera, seed=1)))
    sheet = picture(drawn)
    for one in found:
        assert standing_in(sheet, one.image)
        mask = np.repeat(np.where(one.mask, 255, 0)[..., None], 3, axis=2)
        assert standing_in(sheet, mask)
    table = rows(drawn)
    for one in found:
        mine = [row for row in table if row["mixer"] == one.name]
        for column in ("A", "B", "mixed"):
            assert sum(int(row[column]) for row in mine) == HEIGHT * WIDTH
        assert sum(int(row["kept of A"]) for row in mine) == one.mask.sum()


def test_the_seed_decides_and_ids_choose(camera: ShownDataset) -> None:
    first, same, other = (list(mixtures(given(camera, seed=seed))) for seed in (4, 4, 5))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, same, strict=True))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))
    ids = tuple(sample.id for sample in camera.dataset.samples)
    assert chosen(camera.dataset, 2, 0, (ids[4], ids[1])) == [4, 1]
    with pytest.raises(ConfigError, match="'x'"):
        chosen(camera.dataset, 2, 0, ("x", ids[0]))
    with pytest.raises(DataError, match="6 images"):
        chosen(camera.dataset, 7, 0)
    with pytest.raises(ConfigError, match="--ids"):
        next(mixtures(dataclasses.replace(given(camera), shown=[1])))


def test_smoother_masks_have_fewer_edges(camera: ShownDataset) -> None:
    found = [edges(cow_mask((96, 128), sigma, seed=2)) for sigma in (4.0, 16.0, 64.0)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 3 * found[-1]
    drawn = FIGURES["cow-masks"].draw(given(camera, seed=2), sigmas=(6.0, 48.0))
    table = rows(drawn)
    assert [float(row["sigma"]) for row in table] == [6.0, 48.0]
    scale = math.sqrt(HEIGHT * WIDTH / (512 * 1024))
    for row in table:
        assert float(row["sigma in pixels"]) == pytest.approx(float(row["sigma"]) * scale)
        mask = cow_mask(SIZE, float(row["sigma"]), seed=2)
        assert float(row["kept"]) == pytest.approx(mask.mean())
        white = np.repeat(np.where(mask, 255, 0)[..., None], 3, axis=2)
        assert standing_in(picture(drawn), white)


def test_frequencies_are_those_of_the_files(
    camera: ShownDataset, camvid: ShownDataset, tmp_path: Path
) -> None:
    table = rows(FIGURES["class-frequencies"].draw(given(camera)))
    truth = labels(camera)
    assert [int(row["pixels"]) for row in table] == [int((truth == i).sum()) for i in range(19)]
    assert sum(float(row["share"]) for row in table) == pytest.approx(1)
    # In the classes of the first: cars, trucks and buses are cars there.
    both = rows(FIGURES["class-frequencies"].draw(given(camvid, camera)))
    assert len(both) == 2 * 11
    second = {row["class"]: int(row["pixels"]) for row in both[11:]}
    names = camera.dataset.classes.names
    cars = [names.index(name) for name in ("car", "truck", "bus")]
    assert second["car"] == np.isin(truth, cars).sum()
    assert second["sky"] == (truth == names.index("sky")).sum()
    voc = scenes(tmp_path / "voc", layout="voc")
    with pytest.raises(DataError, match=r"voc .* cityscapes"):
        FIGURES["class-frequencies"].draw(given(camera, voc))


def test_positions_are_means_of_the_labels(camera: ShownDataset) -> None:
    drawn = FIGURES["class-positions"].draw(given(camera))
    truth = labels(camera)
    names = camera.dataset.classes.names
    table = rows(drawn)
    assert [row["class"] for row in table[::32]] == list(names)
    for name in ("sky", "road"):
        found = np.array(
            [[float(row[str(c)]) for c in range(64)] for row in table if row["class"] == name]
        )
        here = (truth == names.index(name)).mean(axis=0)
        # Halves of the picture: cells do not depend on how it is divided.
        for part, whole in ((found[:16], here[: HEIGHT // 2]), (found[16:], here[HEIGHT // 2 :])):
            assert part.mean() == pytest.approx(whole.mean(), abs=0.02)
    assert picture(drawn).shape[1] > 1000


def test_labels_that_cannot_be_counted(tmp_path: Path) -> None:
    shown = scenes(tmp_path / "scenes")
    label = shown.dataset.samples[1].label
    assert label is not None
    label.write_bytes(label.read_bytes()[:60])
    bare = tuple(dataclasses.replace(one, label=None) for one in shown.dataset.samples)
    unlabeled = ShownDataset("bare", dataclasses.replace(shown.dataset, samples=bare))
    for name in ("class-frequencies", "class-positions"):
        with pytest.raises(DataError, match=label.name):
            FIGURES[name].draw(given(shown))
        with pytest.raises(DataError, match=r"no (label|pixel)"):
            FIGURES[name].draw(given(unlabeled))


def test_softmax_of_the_example_and_of_given_logits() -> None:
    drawn = FIGURES["temperatures"].draw(Given())
    table = rows(drawn)
    columns = {t: [float(row[f"T={t}"]) for row in table] for t in ("0.5", "1", "2")}
    for temperature, column in columns.items():
        powers = [math.exp(logit / float(temperature)) for logit in EXAMPLE]
        assert column == pytest.approx([power / sum(powers) for power in powers])
    # Kim gives the cross-entropies of class 2 in Figure 2-13.
    losses = {t: -math.log(column[1]) for t, column in columns.items()}
    assert losses == pytest.approx({"1": 0.693, "0.5": 0.405, "2": 0.903}, abs=0.005)
    first, again = (FIGURES["temperatures"].draw(Given()).files() for _ in range(2))
    assert first == again and b"<svg" in bytes(again["svg"])
    own = rows(FIGURES["temperatures"].draw(Given(), (4.0,), (1.0, -3.0)))
    assert [float(row["logit"]) for row in own] == [1.0, -3.0]
    assert float(own[0]["T=4"]) == pytest.approx(1 / (1 + math.exp(-1)))
    for wrong in ({"temperatures": (1, 1)}, {"logits": (1,)}, {"pixel": (1,)}):
        with pytest.raises(ConfigError, match=f"--{next(iter(wrong))}"):
            FIGURES["temperatures"].draw(Given(), **wrong)


def test_any_class_name_can_be_drawn(camera: ShownDataset) -> None:
    names = ("$x_1$", "_hidden", "\x1b[2J", "=1+1", "<script>", "a\nb", "n" * 300, "$", "-1")
    classes = camera.dataset.classes
    renamed = dataclasses.replace(classes, names=(*names, *classes.names[len(names) :]))
    dataset = dataclasses.replace(camera.dataset, classes=renamed)
    for figure in ("cow-masks", "class-frequencies", "class-positions"):
        drawn = FIGURES[figure].draw(given(ShownDataset("$\x1b" + "t" * 200, dataset)))
        assert not any(cell.startswith(("=", "-")) for row in rows(drawn) for cell in row.values())
        files = drawn.files()
        assert "\x1b" not in str(files["csv"])
        assert b"<script" not in bytes(files.get("svg", b""))
        assert picture(drawn).shape[1] < 2000


def test_names_lose_what_they_share_and_numbers_keep_their_digits() -> None:
    ids = ["bonn/bonn_000003_000019_leftImg8bit", "bonn/bonn_000041_000019_leftImg8bit"]
    assert short_names(ids) == ["bonn_000003", "bonn_000041"]
    for kept in (["a/x", "b/x"], ["a_b"], ["a_b", "b"]):
        assert short_names(kept) == kept
    table = Drawn(np.zeros((1, 1, 3), np.uint8), ("=a", "b"), [("-x", 1 / 3), (2, np.float64(0.1))])
    assert table.files()["csv"] == "'=a,b\n'-x,0.333333333\n2,0.1\n"


def test_every_figure_says_what_it_takes() -> None:
    for name, kind in FIGURES.items():
        assert kind.datasets or kind.runs[1], name
        assert len(f"{name:18} {kind.about}") <= 110, name
        own = {flag.replace("-", "_") for flag in kind.flags if flag not in OPENING}
        assert own == {*inspect.signature(kind.draw).parameters} - {"given"}, name
        assert all(flag.help for flag in kind.flags.values()), name
