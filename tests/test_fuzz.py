"""Hostile files in large numbers: each reader gives what it promises, or its own kind of error."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixseg.config.resolve import resolve_settings
from mixseg.config.sections import Settings
from mixseg.data.images import read_first_channel, read_image, read_index_png, write_png
from mixseg.data.lists import match_entries, read_list
from mixseg.errors import CheckpointError, ConfigError, DataError
from mixseg.training.checkpoint import read_checkpoint, write_checkpoint
from tests.end_to_end.processes import REPOSITORY

pytestmark = pytest.mark.slow

EXAMPLES = settings(
    max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PRESET = (REPOSITORY / "configs" / "demo" / "ssl.yaml").read_text(encoding="utf-8")
YAML_PIECES = (
    *("!!python/object/apply:os.system ['x']", "&a", "*a", "<<: ", ": ", "[", "{", "\t", "\0"),
    *("1e999", ".nan", "-1", "null", "true", "- ", "\n", "99999999999999999999", "'", "? "),
)
LINES = (
    *(b"../a", b"/etc/passwd", b"a/../b", b"C:\\a", b"a\\..\\b", b"a\0b", b"s1 s1", b"s2"),
    *(b"s1\ts2\r", b"\xef\xbb\xbfs1", b"city/s1.png", b"s\xc3\xa9", b"\xff"),
)
PIECES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(YAML_PIECES),
)


def mutate(content: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Replace stretches: place (of 10000), length, what comes there."""
    changed = bytearray(content)
    for place, length, piece in edits:
        start = place * len(changed) // 10_000
        changed[start : start + length] = piece
    return bytes(changed)


EDITS = st.lists(
    st.tuples(st.integers(0, 9999), st.integers(0, 6), st.binary(max_size=6)),
    min_size=1,
    max_size=4,
)


@EXAMPLES
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 9999), st.integers(0, 30), PIECES), min_size=1, max_size=4
    ),
    noise=st.one_of(st.none(), st.text(max_size=60), st.binary(max_size=60)),
)
def test_configurations(
    edits: list[tuple[int, int, str]], noise: str | bytes | None, tmp_path: Path
) -> None:
    content = mutate(
        PRESET.encode(), [(a, b, c.encode(errors="surrogatepass")) for a, b, c in edits]
    )
    if noise is not None:
        content = noise if isinstance(noise, bytes) else noise.encode(errors="surrogatepass")
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        assert isinstance(resolve_settings([path], {}), Settings)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.yaml"]


@EXAMPLES
@given(
    lines=st.lists(
        st.one_of(
            st.binary(max_size=30),
            st.sampled_from(LINES),
        ),
        max_size=6,
    )
)
def test_list_files(lines: list[bytes], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\n".join(lines))
    with contextlib.suppress(DataError):
        entries = read_list(path)
        for entry in entries:
            for name in (entry.image, entry.label or ""):
                assert not PurePosixPath(name).is_absolute()
                assert ".." not in name.split("/")
                assert "\0" not in name
        found = match_entries(path, entries, ["city/s1", "s2", "sé"])
        assert len(set(found)) == len(entries)


def png(fields: tuple[int, ...], pixels: bytes, more: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG whose checksums are right, whatever it says."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", *fields)),
        *more,
        (b"IDAT", zlib.compress(pixels)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


CRAFTED = st.builds(
    png,
    st.tuples(
        st.one_of(st.integers(0, 9), st.sampled_from([15000, 2**31 - 1, 2**32 - 1])),
        st.one_of(st.integers(0, 9), st.sampled_from([15000, 2**31 - 1, 2**32 - 1])),
        st.sampled_from([0, 1, 2, 4, 8, 16, 32]),
        st.sampled_from([0, 2, 3, 4, 6, 1, 7]),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 1]),
        st.sampled_from([0, 0, 0, 1, 2]),
    ),
    st.binary(max_size=300),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"tEXt", b"eXIf", b"acTL", b"fcTL", b"gAMA"]
            ),
            st.binary(max_size=40),
        ),
        max_size=3,
    ),
)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    write_png(folder / "rgb.png", random.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    write_png(
        folder / "ids.png", random.integers(0, 3, (7, 9), dtype=np.uint8), [(0, 0, 0), (1, 1, 1)]
    )
    return [path.read_bytes() for path in sorted(folder.iterdir())]


@EXAMPLES
@given(crafted=CRAFTED, chosen=st.integers(0, 2), edits=st.one_of(st.just([]), EDITS))
def test_png_readers(
    crafted: bytes,
    chosen: int,
    edits: list[tuple[int, int, bytes]],
    pictures: list[bytes],
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(mutate([crafted, *pictures][chosen], edits))
    readers: dict[Callable[[Path], np.ndarray], tuple[type, int]] = {
        read_image: (np.uint8, 3),
        read_index_png: (np.uint8, 2),
        read_first_channel: (np.uint16, 2),
    }
    for read, (dtype, dimensions) in readers.items():
        try:
            found = read(path)
        except DataError as error:
            assert str(path) in str(error)
        else:
            assert (found.dtype, found.ndim) == (dtype, dimensions)


FILES = ("manifest.json", "state.json", "student.safetensors")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "step-00000001"
    tensors = {"student": {"weight": torch.arange(6.0).view(2, 3), "bias": torch.zeros(2)}}
    write_checkpoint(path, tensors, {"step": 1, "best": {}, "text": "ü"})
    return path


@EXAMPLES
@given(name=st.sampled_from(FILES), edits=EDITS, signed=st.booleans(), data=st.data())
def test_checkpoints(
    name: str,
    edits: list[tuple[int, int, bytes]],
    signed: bool,
    data: st.DataObject,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / "step-00000001"
    shutil.copytree(checkpoint, path, dirs_exist_ok=True)
    whole = (path / name).read_bytes()
    noise = data.draw(st.one_of(st.none(), st.binary(max_size=80)))
    content = mutate(whole, edits) if noise is None else noise
    (path / name).write_bytes(content)
    if signed and name != "manifest.json":  # by somebody who knows how the manifest is made
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["sha256"][name] = hashlib.sha256(content).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest))
    try:
        found = read_checkpoint(path)
    except CheckpointError as error:
        assert "step-00000001" in str(error)
        return
    assert isinstance(found.state, dict)
    assert all(isinstance(one, torch.Tensor) for one in found.tensors["student"].values())
    assert signed or name == "manifest.json" or content == whole


@pytest.mark.parametrize("listed", ["../student", "a/b", "a\0b", "", "..", "/etc/passwd"], ids=repr)
def test_a_manifest_that_leads_elsewhere(listed: str, checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "step-00000001"
    shutil.copytree(checkpoint, path)
    shutil.copy(path / "student.safetensors", tmp_path)
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"][f"{listed}.safetensors"] = manifest["sha256"]["student.safetensors"]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CheckpointError, match=r"manifest\.json: damaged"):
        read_checkpoint(path)
