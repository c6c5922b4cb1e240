from __future__ import annotations

from pathlib import Path

import pytest

from mixseg.data import lists
from mixseg.data.lists import match_entries, read_list
from mixseg.errors import DataError

VOC_IDS = ["2007_000032", "2007_000039", "2008_000002"]
CITY_IDS = [
    "aachen/aachen_000000_000019_leftImg8bit",
    "ulm/ulm_000001_000019_leftImg8bit",
    "zurich/zurich_000000_000019_leftImg8bit",
]
CITY = "leftImg8bit/train/ulm/ulm_000001_000019_leftImg8bit.png"


def matched(tmp_path: Path, content: str, ids: list[str]) -> list[int]:
    path = tmp_path / "list.txt"
    path.write_bytes(content.encode())
    return match_entries(path, read_list(path), ids)


@pytest.mark.parametrize(
    ("content", "ids", "expected"),
    [
        pytest.param("2008_000002\n2007_000032\n", VOC_IDS, [2, 0], id="voc"),
        pytest.param("2008_000002", VOC_IDS, [2], id="no final line end"),
        pytest.param("\ufeff2008_000002\n\n", VOC_IDS, [2], id="byte order mark"),
        pytest.param(
            "JPEGImages/2007_000039.jpg SegmentationClass/2007_000039.png\n",
            VOC_IDS,
            [1],
            id="unimatch voc",
        ),
        pytest.param(
            f"{CITY} gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png\n",
            CITY_IDS,
            [1],
            id="unimatch cityscapes",
        ),
        pytest.param(f"{CITY}\n", CITY_IDS, [1], id="u2pl"),
        pytest.param(f"{CITY}\tgtFine/train/ulm/x.png\r\n", CITY_IDS, [1], id="cps"),
        pytest.param(f"{CITY_IDS[2]}\r\n", CITY_IDS, [2], id="full id"),
        pytest.param("ulm_000001_000019_leftImg8bit\n", CITY_IDS, [1], id="stem"),
        pytest.param(".\\ulm\\ulm_000001_000019_leftImg8bit.PNG\n", CITY_IDS, [1], id="windows"),
        pytest.param("a b/c d\n", ["a", "a b/c d"], [1], id="id with spaces"),
        pytest.param("a b/c d.png\n", ["a", "a b/c d"], [1], id="path with spaces"),
        pytest.param("v1.2\n", ["v1", "v1.2"], [1], id="dots in names"),
        pytest.param("y/1.png\nx/y/1\n", ["x/y/1", "y/1"], [1, 0], id="exact before longer"),
        pytest.param("x/a.jpg\nd/x/a.png\n", ["x/a.jpg", "x/a.png"], [0, 1], id="kept endings"),
        pytest.param("x/a\n", ["x/a.jpg", "y/a.png"], [0], id="left out endings"),
        pytest.param("data/x/1.png\n", ["x/1", "y/1"], [0], id="longest tail"),
    ],
)
def test_forms(tmp_path: Path, content: str, ids: list[str], expected: list[int]) -> None:
    assert matched(tmp_path, content, ids) == expected


@pytest.mark.parametrize(
    "entry",
    [
        "../a",
        "x/../../a",
        "/etc/passwd",
        "C:\\a.png",
        "a\0b",
        "a ../../label.png",
        "a\t/label.png",
        "..\\a",
    ],
)
def test_entries_that_escape(tmp_path: Path, entry: str) -> None:
    with pytest.raises(DataError, match=r"list\.txt, line 2: .*escapes the root"):
        matched(tmp_path, f"a\n{entry}\n", ["a"])


def test_only_the_given_prefix_is_rebased(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n")
    (entry,) = read_list(path, rebase=("/SegNet/CamVid/",))
    assert (entry.line, entry.image, entry.label) == (1, "train/a.png", "trainannot/a.png")
    path.write_text("/SegNet/CamVid//etc/passwd\n")
    with pytest.raises(DataError, match="escapes the root"):
        read_list(path, rebase=("/SegNet/CamVid/",))


@pytest.mark.parametrize(
    ("content", "ids", "problem"),
    [
        (
            "2007_000039\n2007_00032\n",
            VOC_IDS,
            r"line 2: '2007_00032' is not in the data set\. .*'2007_000032'",
        ),
        ("z/1.png\n", ["x/1", "y/1"], r"line 1: 'z/1\.png' fits 2 images: 'x/1', 'y/1'"),
        ("x/a\n", ["x/a.jpg", "x/a.png"], r"line 1: 'x/a' fits 2 images: 'x/a\.jpg', 'x/a\.png'"),
        (
            "2007_000032\n2007_000039\nJPEGImages/2007_000032.jpg\n",
            VOC_IDS,
            r"line 3: '2007_000032' is already listed in line 1",
        ),
    ],
)
def test_entries_that_fit_none_or_several(
    tmp_path: Path, content: str, ids: list[str], problem: str
) -> None:
    with pytest.raises(DataError, match=problem):
        matched(tmp_path, content, ids)


def test_unreadable_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "list.txt"
    for missing in (path, tmp_path, tmp_path / ("x" * 300)):
        with pytest.raises(DataError, match="list file"):
            read_list(missing)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not UTF-8 text"):
        read_list(path)
    monkeypatch.setattr(lists, "MAX_LIST", 2)
    with pytest.raises(DataError, match="3 bytes; at most 2"):
        read_list(path)
