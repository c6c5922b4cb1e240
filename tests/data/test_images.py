from __future__ import annotations

from pathlib import Path

import numpy as np
import png
import pytest
from PIL import Image

from mixseg.data.images import (
    MAX_PIXELS,
    encode_jpeg,
    encode_png,
    image_size,
    pack_png,
    read_image,
    read_index_png,
    read_palette_png,
    write_png,
)
from mixseg.errors import DataError
from tests.data.png_encoder import png_file

RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
IDS = np.arange(9 * 14, dtype=np.uint8).reshape(9, 14)


class TestReadImage:
    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "transparent"])
    def test_every_8_bit_png_becomes_rgb(self, tmp_path: Path, mode: str) -> None:
        if mode == "transparent":
            source = Image.fromarray(RGB).quantize(8)
            source.save(tmp_path / "a.png", transparency=bytes(8))
        else:
            source = Image.fromarray(RGB).convert(mode)
            source.save(tmp_path / "a.png")
        image = read_image(tmp_path / "a.png", (1, 1))  # a PNG is never reduced
        np.testing.assert_array_equal(image, np.asarray(source.convert("RGB")))
        assert image.dtype == np.uint8 and image.flags.writeable
        assert image_size(tmp_path / "a.png") == (9, 14)

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    def test_a_jpeg_is_reduced_where_twice_the_target_is_left(
        self, tmp_path: Path, mode: str
    ) -> None:
        # Without chroma subsampling, and with a picture that a mean of blocks keeps.
        tile = Image.fromarray(RGB).resize((112, 72), Image.Resampling.BICUBIC).convert(mode)
        tile.save(tmp_path / "a.jpg", quality=95, subsampling=0)
        whole = read_image(tmp_path / "a.jpg").astype(float)
        for target, block in (
            ((18, 28), 2),
            ((19, 28), 1),
            ((18, 29), 1),
            ((15, 20), 2),
            ((9, 10), 4),
            ((1, 1), 8),
            ((500, 500), 1),
        ):
            reduced = read_image(tmp_path / "a.jpg", target)
            assert reduced.shape[:2] == (72 // block, 112 // block)
            mean = whole.reshape(72 // block, block, 112 // block, block, 3).mean((1, 3))
            assert np.abs(reduced - mean).max() <= 4

    def test_a_photograph_with_further_pictures_is_reduced(self, tmp_path: Path) -> None:
        """Phones write MPO files with the ending of a JPEG."""
        tile = Image.fromarray(RGB).resize((112, 72), Image.Resampling.BICUBIC)
        depth = Image.new("L", (40, 20), 7).convert("RGB")
        options = {"quality": 95, "subsampling": 0}
        plain, several = tmp_path / "a.jpg", tmp_path / "b.jpg"
        tile.save(plain, **options)
        tile.save(several, format="MPO", save_all=True, append_images=[depth], **options)
        with Image.open(several, formats=("PNG", "JPEG")) as image:
            assert image.format == "MPO"
        for target in (None, (18, 28), (4, 7)):
            np.testing.assert_array_equal(read_image(several, target), read_image(plain, target))
        assert read_image(several, (18, 28)).shape == (36, 56, 3)

    def test_sizes_that_are_no_multiple_and_orientation(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # is not applied
        Image.fromarray(RGB).save(tmp_path / "a.jpg", exif=exif)
        assert read_image(tmp_path / "a.jpg").shape == RGB.shape
        assert read_image(tmp_path / "a.jpg", (2, 3)).shape == (5, 7, 3)

    @pytest.mark.parametrize("name", ["a.png", "a.jpg"])
    def test_damage_is_refused_and_never_escapes(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        Image.fromarray(RGB).save(path)
        content = path.read_bytes()
        for length in range(0, len(content) - 20, 7):
            path.write_bytes(content[:length])
            with pytest.raises(DataError, match=name):
                read_image(path)
        random = np.random.default_rng(0)
        refused = 0
        for _ in range(300):
            damaged = bytearray(content)
            damaged[random.integers(len(content))] ^= int(random.integers(1, 256))
            path.write_bytes(damaged)
            try:
                read_image(path)
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
        assert refused > 250 or name == "a.jpg"

    def test_what_is_no_8_bit_png_or_jpeg(self, tmp_path: Path) -> None:
        for ending in (".gif", ".bmp", ".tiff", ".webp"):
            Image.fromarray(RGB).save(tmp_path / f"a{ending}")
            (tmp_path / f"a{ending}").rename(tmp_path / f"{ending[1:]}.png")
        Image.fromarray(np.full((4, 4), 3000, dtype=np.uint16)).save(tmp_path / "16 bits.png")
        (tmp_path / "folder.png").mkdir()
        for name in ("gif", "bmp", "tiff", "webp", "16 bits", "folder", "missing"):
            with pytest.raises(DataError, match=rf"{name}\.png"):
                read_image(tmp_path / f"{name}.png")

    @pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
    def test_limit_does_not_depend_on_pillows(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(png_file(15000, 15000, 8, 0, bytes(100)))
        for pillow_limit in (None, 10, 178956970):
            monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow_limit)
            for read in (read_image, read_index_png):
                with pytest.raises(DataError, match=rf"a\.png: too large.*{MAX_PIXELS}"):
                    read(path)


class TestReadIndexPng:
    def test_palette_gives_indices_not_colors(self, tmp_path: Path) -> None:
        for bits in (1, 2, 4, 8):
            ids = IDS & ((1 << bits) - 1)
            image = Image.fromarray(ids)
            image.putpalette([255 - value for value in range(256) for _ in range(3)])
            image.save(tmp_path / "a.png", bits=bits)
            np.testing.assert_array_equal(read_index_png(tmp_path / "a.png"), ids)

    def test_other_files(self, tmp_path: Path) -> None:
        for mode in ("RGB", "RGBA", "1"):
            Image.fromarray(RGB).convert(mode).save(tmp_path / f"{mode}.png")
        Image.fromarray(IDS.astype(np.uint16)).save(tmp_path / "16.png")
        for bits in (2, 4):  # Pillow would stretch their values
            (tmp_path / f"{bits}.png").write_bytes(png_file(8, 4, bits, 0, bytes(100)))
        Image.fromarray(IDS).save(tmp_path / "a.jpg")
        (tmp_path / "a.jpg").rename(tmp_path / "jpeg.png")
        for name in ("RGB", "RGBA", "1", "16", "2", "4", "jpeg"):
            with pytest.raises(DataError, match=rf"{name}\.png.* PNG"):
                read_index_png(tmp_path / f"{name}.png")


class TestWriting:
    def test_round_trips(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        write_png(path, RGB)
        np.testing.assert_array_equal(read_image(path), RGB)
        write_png(path, IDS % 3, [(1, 2, 3), (4, 5, 6), (7, 8, 9)])
        assert read_image(path)[0, 1].tolist() == [4, 5, 6]
        ids = np.arange(256, dtype=np.uint8).reshape(8, 32)
        palette = [(i, 255 - i, i // 2) for i in range(256)]
        for written, expected in ((palette, tuple(palette)), (None, None)):
            write_png(path, ids, written)
            found, colors = read_palette_png(path)
            np.testing.assert_array_equal(found, ids)
            assert colors == expected
        write_png(path, ids, palette[:1])  # ids beyond the palette stay
        np.testing.assert_array_equal(read_index_png(path), ids)
        assert [*tmp_path.iterdir()] == [path]

    def test_pngs_lose_nothing(self) -> None:
        random = np.random.default_rng(1)
        for size in ((1, 1, 3), (40, 61, 3)):
            pixels = random.integers(0, 256, size, dtype=np.uint8)
            deep = random.integers(0, 65536, size, dtype=np.uint16)
            encoded = [(encode_png(pixels, compression=level), pixels) for level in (0, 1, 9)]
            for file, expected in (
                *encoded,
                (pack_png(pixels, 3), pixels),
                (pack_png(deep, 3), deep),
            ):
                width, height, rows, info = png.Reader(bytes=file).read()
                assert (height, width) == size[:2] and info["bitdepth"] == 8 * expected.itemsize
                np.testing.assert_array_equal(np.vstack(list(rows)).reshape(size), expected)
        blank = np.zeros((64, 64, 3), dtype=np.uint8)  # is not compressed at 0
        assert len(encode_png(blank, compression=0)) > blank.size > len(encode_png(blank))

    def test_a_jpeg_is_close(self, tmp_path: Path) -> None:
        rows, columns = np.mgrid[:48, :64]
        pixels = np.stack([4 * rows, 3 * columns, rows + columns], axis=2).astype(np.uint8)
        (tmp_path / "a.jpg").write_bytes(encode_jpeg(pixels))
        assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - pixels).max() <= 4

    def test_failure_keeps_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "a.png"
        write_png(path, IDS)
        with pytest.raises(DataError, match="cannot be written"):
            write_png(tmp_path / "no" / "a.png", IDS)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(DataError, match=r"a\.png: cannot be written: No space left"):
            write_png(path, RGB)
        assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
        np.testing.assert_array_equal(read_index_png(path), IDS)

    def test_wrong_arrays(self, tmp_path: Path) -> None:
        for array in (IDS.astype(np.int64), RGB[None], RGB[..., :2]):
            with pytest.raises(DataError, match=r"a\.png"):
                write_png(tmp_path / "a.png", array)
        with pytest.raises(DataError, match="palette"):
            write_png(tmp_path / "a.png", RGB, [(0, 0, 0)])
