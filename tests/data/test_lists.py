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


def test_forms(tmp_path: Path) -> None:
    city_label = "gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png"
    for content, ids, expected in (
        ("2008_000002\n2007_000032\n", VOC_IDS, [2, 0]),
        ("2008_000002", VOC_IDS, [2]),  # no final line end
        ("\ufeff2008_000002\n\n", VOC_IDS, [2]),  # byte order mark
        # UniMatch, U2PL, CPS
        ("JPEGImages/2007_000039.jpg SegmentationClass/2007_000039.png\n", VOC_IDS, [1]),
        (f"{CITY} {city_label}\n", CITY_IDS, [1]),
        (f"{CITY}\n", CITY_IDS, [1]),
        (f"{CITY}\t{city_label}\r\n", CITY_IDS, [1]),
        (f"{CITY_IDS[2]}\r\n", CITY_IDS, [2]),
        ("ulm_000001_000019_leftImg8bit\n", CITY_IDS, [1]),
        (".\\ulm\\ulm_000001_000019_leftImg8bit.PNG\n", CITY_IDS, [1]),
        ("a b/c d\n", ["a", "a b/c d"], [1]),
        ("a b/c d.png\n", ["a", "a b/c d"], [1]),
        ("v1.2\n", ["v1", "v1.2"], [1]),
        ("y/1.png\nx/y/1\n", ["x/y/1", "y/1"], [1, 0]),  # exact before longer
        ("x/a.jpg\nd/x/a.png\n", ["x/a.jpg", "x/a.png"], [0, 1]),
        ("x/a\n", ["x/a.jpg", "y/a.png"], [0]),  # without an ending that the id kept
        ("data/x/1.png\n", ["x/1", "y/1"], [0]),  # longest tail
    ):
        assert matched(tmp_path, content, ids) == expected, content


def test_entries_that_escape(tmp_path: Path) -> None:
    for entry in (
        *("../a", "x/../../a", "..\\a", "/etc/passwd", "C:\\a.png", "a\0b"),
        *("a ../../label.png", "a\t/label.png"),
    ):
        with pytest.raises(DataError, match=r"list\.txt, line 2: .*escapes the root"):
            matched(tmp_path, f"a\n{entry}\n", ["a"])
    path = tmp_path / "list.txt"
    path.write_text("/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png\n")
    (entry,) = read_list(path, rebase=("/SegNet/CamVid/",))
    assert (entry.line, entry.image, entry.label) == (1, "train/a.png", "trainannot/a.png")
    path.write_text("/SegNet/CamVid//etc/passwd\n")
    with pytest.raises(DataError, match="escapes the root"):
        read_list(path, rebase=("/SegNet/CamVid/",))


def test_entries_that_fit_none_or_several(tmp_path: Path) -> None:
    for content, ids, problem in (
        ("2007_000039\n2007_00032\n", VOC_IDS, "line 2: '2007_00032' .*'2007_000032'"),
        ("z/1.png\n", ["x/1", "y/1"], r"line 1: 'z/1\.png' .*'x/1', 'y/1'"),
        ("x/a\n", ["x/a.jpg", "x/a.png"], r"line 1: 'x/a' .*'x/a\.jpg', 'x/a\.png'"),
        ("2007_000032\nJPEGImages/2007_000032.jpg\n", VOC_IDS, "line 2: .* line 1"),
    ):
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
