from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

from mixseg.data.images import (
    MAX_PIXELS,
    encode_jpeg,
    encode_png,
    read_image,
    read_index_png,
    read_palette_png,
    write_png,
)
from mixseg.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
IDS = np.arange(9 * 14, dtype=np.uint8).reshape(9, 14)


def header_only_png(width: int, height: int) -> bytes:
    """A PNG that claims a size; refusing it must not need its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


class TestReadImage:
    def test_png_is_exact(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png")
        np.testing.assert_array_equal(image, RGB)
        assert image.dtype == np.uint8
        assert image.flags.writeable

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
    def test_every_8_bit_png_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        source = Image.fromarray(RGB).convert(mode)
        source.save(tmp_path / "a.png")
        expected = source.convert("RGB")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.asarray(expected))

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_every_jpeg_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        Image.fromarray(RGB).convert(mode).save(tmp_path / "a.jpg")
        assert read_image(tmp_path / "a.jpg").shape == RGB.shape

    @pytest.mark.filterwarnings("error")
    def test_palette_with_transparency(self, tmp_path: Path) -> None:
        source = Image.fromarray(RGB).quantize(8)
        source.save(tmp_path / "a.png", transparency=bytes(8))
        expected = np.asarray(source.convert("RGB"))
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)

    @pytest.mark.parametrize(
        ("target", "size"),
        [
            ((18, 28), (36, 56)),
            ((19, 28), (72, 112)),
            ((18, 29), (72, 112)),
            ((15, 20), (36, 56)),
            ((9, 10), (18, 28)),
            ((4, 7), (9, 14)),
            ((1, 1), (9, 14)),
            ((500, 500), (72, 112)),
        ],
    )
    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_a_jpeg_is_reduced_where_twice_the_target_is_left(
        self, tmp_path: Path, mode: str, target: tuple[int, int], size: tuple[int, int]
    ) -> None:
        # Without chroma subsampling, and with a picture that a mean of blocks keeps.
        tile = Image.fromarray(RGB).resize((112, 72), Image.Resampling.BICUBIC).convert(mode)
        tile.save(tmp_path / "a.jpg", quality=95, subsampling=0)
        whole = read_image(tmp_path / "a.jpg").astype(float)
        reduced = read_image(tmp_path / "a.jpg", target)
        assert reduced.shape[:2] == size
        block = 72 // size[0]
        mean = whole.reshape(size[0], block, size[1], block, 3).mean((1, 3))
        assert np.abs(reduced - mean).max() <= 4

    def test_a_photograph_with_further_pictures_is_reduced(self, tmp_path: Path) -> None:
        """Phones write MPO files with the ending of a JPEG."""
        tile = Image.fromarray(RGB).resize((112, 72), Image.Resampling.BICUBIC)
        depth = Image.new("L", (40, 20), 7).convert("RGB")
        plain, several = tmp_path / "a.jpg", tmp_path / "b.jpg"
        tile.save(plain, quality=95, subsampling=0)
        tile.save(
            several, format="MPO", save_all=True, append_images=[depth], quality=95, subsampling=0
        )
        with Image.open(several, formats=("PNG", "JPEG")) as image:
            assert image.format == "MPO"
        for target in (None, (18, 28), (4, 7)):
            np.testing.assert_array_equal(read_image(several, target), read_image(plain, target))
        assert read_image(several, (18, 28)).shape == (36, 56, 3)

    def test_sizes_that_are_no_multiple(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.jpg")
        assert read_image(tmp_path / "a.jpg", (2, 3)).shape == (5, 7, 3)

    def test_a_png_is_never_reduced(self, tmp_path: Path) -> None:
        Image.fromarray(RGB).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_image(tmp_path / "a.png", (1, 1)), RGB)

    def test_orientation_tag_is_ignored(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg").shape == RGB.shape

    def test_16_bit_grey_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a\.png: .*16 bits"):
            read_image(tmp_path / "a.png")

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_truncated(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        Image.fromarray(RGB).save(path)
        content = path.read_bytes()
        for length in range(0, len(content) - 20, 7):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=name):
                read_image(path)

    def test_flipped_bytes_never_escape_as_another_error(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        Image.fromarray(RGB).save(path)
        content = path.read_bytes()
        rng = np.random.default_rng(0)
        refused = 0
        for _ in range(300):
            damaged = bytearray(content)
            damaged[rng.integers(len(content))] ^= int(rng.integers(1, 256))
            path.write_bytes(damaged)
            try:
                read_image(path)
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
        assert refused > 250

    @pytest.mark.parametrize("ending", [".gif", ".bmp", ".tiff", ".webp"])
    def test_other_formats_are_refused_whatever_their_name(
        self, tmp_path: Path, ending: str
    ) -> None:
        Image.fromarray(RGB).save(tmp_path / f"a{ending}")
        path = (tmp_path / f"a{ending}").rename(tmp_path / "a.png")
        with pytest.raises(DataError, match="PNG or JPEG"):
            read_image(path)

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    @pytest.mark.parametrize("pillow_limit", [None, 10, 178956970])
    def test_limit_does_not_depend_on_pillows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pillow_limit: int | None
    ) -> None:
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
        path = tmp_path / "a.png"
        path.write_bytes(header_only_png(15000, 15000))
        for read in (read_image, read_index_png):
            with pytest.raises(DataError, match=rf"a\.png: too large.*{MAX_PIXELS}"):
                read(path)

    def test_missing_file_and_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no such file"):
            read_image(tmp_path / "a.png")
        with pytest.raises(DataError, match="cannot be read"):
            read_image(tmp_path)


class TestReadIndexPng:
    def test_grey(self, tmp_path: Path) -> None:
        Image.fromarray(IDS).save(tmp_path / "a.png")
        np.testing.assert_array_equal(read_index_png(tmp_path / "a.png"), IDS)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    def test_palette_gives_indices_not_colours(self, tmp_path: Path, bits: int) -> None:
        ids = IDS & ((1 << bits) - 1)
        image = Image.fromarray(ids)
        image.putpalette([255 - value for value in range(256) for _ in range(3)])
        image.save(tmp_path / "a.png", bits=bits)
        np.testing.assert_array_equal(read_index_png(tmp_path / "a.png"), ids)

    @pytest.mark.parametrize(
        ("mode", "found"), [("RGB", "colour"), ("RGBA", "colour"), ("1", "1 bit")]
    )
    def test_other_modes(self, tmp_path: Path, mode: str, found: str) -> None:
        Image.fromarray(RGB).convert(mode).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=f"{found}.*expected a label PNG"):
            read_index_png(tmp_path / "a.png")

    def test_16_bits(self, tmp_path: Path) -> None:
        Image.fromarray(IDS.astype(np.uint16)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match="16 bits"):
            read_index_png(tmp_path / "a.png")

    @pytest.mark.parametrize("bits", [2, 4])
    def test_low_bit_grey_whose_values_pillow_would_stretch(
        self, tmp_path: Path, bits: int
    ) -> None:
        content = header_only_png(8, 4)
        header = struct.pack(">IIBBBBB", 8, 4, bits, 0, 0, 0, 0)
        chunk = b"IHDR" + header
        path = tmp_path / "a.png"
        path.write_bytes(content[:12] + chunk + struct.pack(">I", zlib.crc32(chunk)) + content[33:])
        with pytest.raises(DataError, match=rf"{bits} bit\(s\) per pixel"):
            read_index_png(path)

    def test_jpeg_label_is_refused(self, tmp_path: Path) -> None:
        Image.fromarray(IDS).save(tmp_path / "a.jpg")
        path = (tmp_path / "a.jpg").rename(tmp_path / "a.png")
        with pytest.raises(DataError, match="not a readable PNG"):
            read_index_png(path)


class TestWritePng:
    def test_round_trips(self, tmp_path: Path) -> None:
        write_png(tmp_path / "rgb.png", RGB)
        np.testing.assert_array_equal(read_image(tmp_path / "rgb.png"), RGB)
        write_png(tmp_path / "ids.png", IDS)
        np.testing.assert_array_equal(read_index_png(tmp_path / "ids.png"), IDS)
        write_png(tmp_path / "palette.png", IDS % 3, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
        np.testing.assert_array_equal(read_index_png(tmp_path / "palette.png"), IDS % 3)
        assert read_image(tmp_path / "palette.png")[0, 1].tolist() == [4, 5, 6]
        assert len(list(tmp_path.iterdir())) == 3

    def test_ids_beyond_the_palette_stay(self, tmp_path: Path) -> None:
        write_png(tmp_path / "a.png", np.full((2, 2), 255, dtype=np.uint8), [(1, 2, 3)])
        assert read_index_png(tmp_path / "a.png").tolist() == [[255, 255], [255, 255]]

    def test_failure_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.png"
        write_png(path, IDS)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DataError, match=r"a\.png: cannot be written: No space left"):
            write_png(path, RGB)
        assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
        np.testing.assert_array_equal(read_index_png(path), IDS)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="cannot be written"):
            write_png(tmp_path / "no" / "a.png", IDS)

    @pytest.mark.parametrize("array", [IDS.astype(np.int64), RGB[None], RGB[..., :2]])
    def test_wrong_arrays(self, tmp_path: Path, array: np.ndarray) -> None:
        with pytest.raises(DataError, match="uint8 of shape"):
            write_png(tmp_path / "a.png", array)

    def test_palette_of_a_colour_picture(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="palette"):
            write_png(tmp_path / "a.png", RGB, [(0, 0, 0)])


class TestEncoding:
    @pytest.mark.parametrize("compression", [0, 1, 9])
    @pytest.mark.parametrize("size", [(1, 1), (5, 3), (40, 61)])
    def test_pngs_lose_nothing(
        self, size: tuple[int, int], compression: int, tmp_path: Path
    ) -> None:
        pixels = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
        path = tmp_path / "a.png"
        path.write_bytes(encode_png(pixels, compression=compression))
        np.testing.assert_array_equal(read_image(path), pixels)
        width, height, rows, info = png.Reader(filename=str(path)).read()
        assert (height, width, info["bitdepth"], info["greyscale"]) == (*size, 8, False)
        np.testing.assert_array_equal(np.vstack(list(rows)).reshape(pixels.shape), pixels)

    def test_nothing_is_packed_at_0(self) -> None:
        blank = np.zeros((64, 64, 3), dtype=np.uint8)
        assert len(encode_png(blank, compression=0)) > blank.size > len(encode_png(blank))

    def test_a_palette_comes_back(self, tmp_path: Path) -> None:
        ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
        palette = [(i, 255 - i, i // 2) for i in range(256)]
        path = tmp_path / "a.png"
        for written, expected in ((palette, tuple(palette)), (None, None)):
            path.write_bytes(encode_png(ids, written))
            found, colours = read_palette_png(path)
            np.testing.assert_array_equal(found, ids)
            assert colours == expected

    def test_a_jpeg_is_close(self, tmp_path: Path) -> None:
        rows, columns = np.mgrid[:48, :64]
        pixels = np.stack([4 * rows, 3 * columns, rows + columns], axis=2).astype(np.uint8)
        path = tmp_path / "a.jpg"
        path.write_bytes(encode_jpeg(pixels))
        assert np.abs(read_image(path).astype(int) - pixels).max() <= 4
