"""Files that are not what they seem, made by another library (Pillow)."""

import hashlib
import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from data_prep.images.decoding import BadImage, prepare_opencv
from data_prep.images.reading import read_picture, read_void

RGB = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
MANY = 10**6


@pytest.fixture(autouse=True)
def quiet_opencv():
    prepare_opencv()


def save(path, pixels=RGB, file_format=None, **options):
    Image.fromarray(pixels).save(path, file_format, **options)
    return path


def test_a_picture_comes_with_its_checksum_and_without_remarks(tmp_path):
    path = save(tmp_path / "a.png")
    picture = read_picture(path, MANY)
    np.testing.assert_array_equal(picture.image, RGB)
    assert picture.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert picture.metadata == picture.notes == ()


def test_the_content_decides_and_a_wrong_name_is_noted(tmp_path):
    picture = read_picture(save(tmp_path / "a.jpg", file_format="PNG"), MANY)
    np.testing.assert_array_equal(picture.image, RGB)
    assert picture.notes == ("its content is PNG, but its name ends in .jpg: read as PNG",)
    assert "ends in nothing" in read_picture(save(tmp_path / "bare", file_format="PNG"), MANY).notes[0]


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".jp2", ".png", ".bmp", ".gif", ".tif", ".webp", ".avif", ".ppm"])
def test_every_format_is_read_without_remark(tmp_path, suffix):
    picture = read_picture(save(tmp_path / f"a{suffix}"), MANY)
    assert picture.image.shape == RGB.shape
    assert picture.notes == ()


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_are_brought_to_8_and_noted(tmp_path, suffix, channels):
    pixels = RGB[..., :channels].astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels[..., ::-1] if channels == 3 else pixels)
    picture = read_picture(tmp_path / f"a{suffix}", MANY)
    np.testing.assert_array_equal(picture.image, np.broadcast_to(RGB[..., :channels], RGB.shape))
    assert picture.notes == ("16-bit values were divided by 257",)


@pytest.mark.parametrize(
    ("factor", "note"), [(16, "below 4096 were taken as 12-bit"), (1, "below 256 were taken as 8-bit")]
)
def test_fewer_bits_in_a_16_bit_file_are_noted(tmp_path, factor, note):
    cv2.imwrite(str(tmp_path / "a.png"), RGB.astype(np.uint16) * factor)
    assert note in read_picture(tmp_path / "a.png", MANY).notes[0]


@pytest.mark.parametrize("suffix", [".tif", ".gif"])
def test_the_first_of_several_pages_is_taken_and_noted(tmp_path, suffix):
    pages = [Image.fromarray(np.full((8, 8), level, np.uint8)) for level in (200, 100, 50)]
    pages[0].save(tmp_path / f"a{suffix}", save_all=True, append_images=pages[1:])
    picture = read_picture(tmp_path / f"a{suffix}", MANY)
    assert picture.image.min() == picture.image.max() == 200
    assert picture.notes == ("it has 3 pages or frames: the first was taken",)


def test_a_dark_picture_is_noted(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 8), 63, np.uint8))
    cv2.imwrite(str(tmp_path / "b.png"), np.full((8, 8), 64, np.uint8))
    assert "at most 63 of 255" in read_picture(tmp_path / "a.png", MANY).notes[0]
    assert read_picture(tmp_path / "b.png", MANY).notes == ()


def test_cmyk_is_brought_to_rgb_and_noted(tmp_path):
    even = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    Image.fromarray(even).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    picture = read_picture(tmp_path / "a.jpg", MANY)
    np.testing.assert_allclose(picture.image.astype(int), even, atol=4)
    assert picture.notes == ("CMYK was converted to RGB",)


def test_the_kinds_of_metadata_are_told(tmp_path):
    exif = Image.Exif()
    exif[0x010E] = "Jane Doe"
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "Jane Doe")
    found = {
        name: read_picture(path, MANY).metadata
        for name, path in {
            "jpeg": save(tmp_path / "a.jpg", exif=exif, comment=b"Jane Doe"),
            "png": save(tmp_path / "a.png", pnginfo=text),
            "tiff": save(tmp_path / "a.tif", tiffinfo={270: "Jane Doe"}),
            "bare jpeg": save(tmp_path / "b.jpg", dpi=(72, 72), progressive=True),
            "bare tiff": save(tmp_path / "b.tif"),
        }.items()
    }
    assert found == {
        "jpeg": ("comment", "exif"),
        "png": ("patient",),
        "tiff": ("tags",),
        "bare jpeg": (),
        "bare tiff": (),
    }


def png_header(width, height):
    """A PNG of so many pixels whose data would unpack to all of them: a bomb, were it opened."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def packed(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"\0" * 1000), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed(*chunk) for chunk in chunks.items())


def test_a_decompression_bomb_is_told_by_its_header_and_not_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000))
    monkeypatch.setattr("data_prep.images.reading.decode_with_bits", lambda _: pytest.fail("it was unpacked"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(BadImage, match="its 60000x60000 pixels are more than --max-pixels=50000000"):
            read_picture(path, 50_000_000)


def test_the_limit_is_inclusive_and_the_callers_own_is_untouched(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = save(tmp_path / "a.png")
    assert read_picture(path, 12 * 16).image.shape == RGB.shape
    with pytest.raises(BadImage, match="16x12 pixels"):
        read_picture(path, 12 * 16 - 1)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_file_too_large_for_the_limit_is_not_even_read(tmp_path):
    path = tmp_path / "endless.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: it takes no room
    with pytest.raises(BadImage, match="1099511627776 bytes"):
        read_picture(path, MANY)


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp", ".bmp", ".gif", ".jp2", ".avif"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    whole = save(tmp_path / f"a{suffix}", noise).read_bytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(BadImage, match=r"not an image, or it is damaged|cannot be decoded"):
        read_picture(path, MANY)


def test_what_is_no_picture_is_refused_with_the_reason(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "film.png").write_bytes(b"\0\0\0\x18ftypmp42" + b"\0" * 100)
    stream = io.BytesIO()
    Image.fromarray(RGB).save(stream, "ICO")
    (tmp_path / "icon.png").write_bytes(stream.getvalue())
    for name, reason in {
        "nothing.png": "no such file",
        ".": "not a regular file",
        "empty.png": "the file is empty",
        "text.png": "not an image, or it is damaged",
        "film.png": "not an image, or it is damaged",
        "icon.png": "not an image, or it is damaged",
    }.items():
        with pytest.raises(BadImage, match=reason):
            read_picture(tmp_path / name, MANY)


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("border", [1, 255])
def test_every_nonzero_value_of_a_void_mask_is_border(tmp_path, depth, border):
    values = np.zeros((6, 8), depth)
    values[:, 5:] = border
    cv2.imwrite(str(tmp_path / "void.tif"), values)
    np.testing.assert_array_equal(read_void(tmp_path / "void.tif", MANY), values > 0)


def test_a_black_and_white_void_mask_is_read_too(tmp_path):
    values = np.zeros((6, 8), bool)
    values[2:] = True
    Image.fromarray(values).save(tmp_path / "void.tif")
    np.testing.assert_array_equal(read_void(tmp_path / "void.tif", MANY), values)


def test_transparency_is_no_border(tmp_path):
    values = np.zeros((6, 8, 4), np.uint8)
    values[..., 3] = 255
    values[:2, :, 1] = 9
    Image.fromarray(values).save(tmp_path / "void.png")
    np.testing.assert_array_equal(read_void(tmp_path / "void.png", MANY), values[..., 1] > 0)
