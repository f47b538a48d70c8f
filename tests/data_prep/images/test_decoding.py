"""Files made by another library (Pillow), with pixels known by construction."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from data_prep.images.decoding import BadImage, decode, decode_with_bits, prepare_opencv

RED, GREEN, BLUE = [255, 0, 0], [0, 255, 0], [0, 0, 255]
# Two rows of three pixels, all different.
PICTURE = np.array([[RED, GREEN, BLUE], [[10, 20, 30], [40, 50, 60], [70, 80, 90]]], np.uint8)
ORIENTATION = 0x0112


@pytest.fixture(autouse=True)
def quiet_opencv():
    prepare_opencv()


def encoded(image, file_format, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return stream.getvalue()


def oriented(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_colour_comes_out_as_rgb(file_format):
    picture = decode(encoded(Image.fromarray(PICTURE), file_format))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, PICTURE)


def test_grey_becomes_three_equal_channels():
    grey = np.array([[0, 7], [200, 255]], np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(grey), "PNG")), np.stack([grey] * 3, axis=-1))


def test_black_and_white_becomes_0_and_255():
    picture = decode(encoded(Image.fromarray(np.array([[True, False]])), "PNG"))
    np.testing.assert_array_equal(picture, [[[255] * 3, [0] * 3]])


def test_a_palette_gives_its_colours():
    palette = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    palette.putpalette(RED + GREEN + BLUE)
    np.testing.assert_array_equal(decode(encoded(palette, "PNG")), [[RED, GREEN], [BLUE, GREEN]])


def test_a_transparent_palette_entry_becomes_black():
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    palette.putpalette(RED + GREEN)
    np.testing.assert_array_equal(decode(encoded(palette, "PNG", transparency=1)), [[RED, [0, 0, 0]]])


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_composited_on_black(file_format):
    alpha = np.array([[[200, 100, 0, 255], [200, 100, 0, 51], [200, 100, 0, 0]]], np.uint8)
    options = {"lossless": True, "exact": True} if file_format == "WEBP" else {}
    picture = decode(encoded(Image.fromarray(alpha), file_format, **options))
    np.testing.assert_array_equal(picture, [[[200, 100, 0], [40, 20, 0], [0, 0, 0]]])


def test_grey_with_transparency_is_composited_on_black():
    pixels = np.array([[[200, 255], [200, 51]]], np.uint8)
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(pixels), "PNG")), [[[200] * 3, [40] * 3]])


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_16_bits_are_divided_by_257_and_rounded(file_format):
    values = np.array([[0, 128, 129, 257], [385, 386, 65406, 65535]], np.uint16)
    picture = decode(encoded(Image.fromarray(values), file_format))
    np.testing.assert_array_equal(picture[..., 0], [[0, 0, 1, 1], [1, 2, 254, 255]])
    np.testing.assert_array_equal(picture[..., 1], picture[..., 0])


@pytest.mark.parametrize(("bits", "values", "expected"), [
    (8, [0, 7, 255], [0, 7, 255]),
    # 255/4095: 8 is nearer to 0 (0.498) and 9 to 1 (0.56).
    (12, [0, 8, 9, 2048, 4095], [0, 0, 1, 128, 255]),
    (12, [0, 256], [0, 16]),
    (16, [0, 4095, 4096], [0, 16, 16]),
])  # fmt: skip
def test_16_bit_files_may_hold_8_or_12_bits(bits, values, expected):
    pixels = np.array([values], np.uint16)
    decoded = decode_with_bits(encoded(Image.fromarray(pixels), "PNG"))
    assert decoded.bits == bits
    np.testing.assert_array_equal(decoded.image[..., 0], [expected])


@pytest.mark.parametrize("opaque", [4095, 65535])
def test_transparency_does_not_tell_the_bits_of_the_colours(opaque):
    pixels = np.array([[[800, 1600, 4095, opaque], [800, 1600, 4095, 0]]], np.uint16)
    _, file = cv2.imencode(".png", pixels)
    np.testing.assert_array_equal(decode(file.tobytes()), [[[255, 100, 50], [0, 0, 0]]])


def test_16_bit_colour_comes_out_as_rgb():
    _, file = cv2.imencode(".png", PICTURE[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(file.tobytes()), PICTURE)


@pytest.mark.parametrize("file_format", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied(orientation, mode, file_format):
    # The inverse of what a viewer does for each value, from the EXIF standard's "0th row, 0th column".
    stored = {
        1: PICTURE,
        2: PICTURE[:, ::-1],
        3: PICTURE[::-1, ::-1],
        4: PICTURE[::-1],
        5: PICTURE.transpose(1, 0, 2),
        6: np.rot90(PICTURE, 1),
        7: PICTURE[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(PICTURE, -1),
    }[orientation]
    image = Image.fromarray(np.ascontiguousarray(stored)).convert(mode)
    options = {"lossless": True} if file_format == "WEBP" else {}
    picture = decode(encoded(image, file_format, exif=oriented(orientation), **options))
    np.testing.assert_array_equal(picture, PICTURE)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_of_a_jpeg_is_applied(orientation):
    blocks = np.kron(PICTURE, np.ones((16, 16, 1), np.uint8))
    upright = Image.fromarray(blocks)
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(inverse[orientation]) if orientation in inverse else upright
    picture = decode(encoded(stored, "JPEG", quality=100, subsampling=0, exif=oriented(orientation)))
    assert picture.shape == blocks.shape
    np.testing.assert_allclose(picture.astype(int), blocks, atol=4)


def test_a_cmyk_jpeg_comes_out_as_rgb():
    blocks = np.kron(PICTURE, np.ones((16, 16, 1), np.uint8))
    picture = decode(encoded(Image.fromarray(blocks).convert("CMYK"), "JPEG", quality=100, subsampling=0))
    np.testing.assert_allclose(picture.astype(int), blocks, atol=6)


LITTLE = b"II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00\x06\x00\x00\x00" + b"\x00" * 4
BIG = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + b"\x00" * 4


@pytest.mark.parametrize("block", [LITTLE, b"Exif\x00\x00" + LITTLE, BIG])
def test_exif_of_either_byte_order_is_understood(block):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(PICTURE), "PNG", exif=block)), np.rot90(PICTURE, -1))


@pytest.mark.parametrize("block", [b"II*\x00", BIG[:12], BIG[:8] + b"\xff\xff", b"rubbish, no TIFF header"])
def test_damaged_exif_means_as_stored(block):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(PICTURE), "PNG", exif=block)), PICTURE)


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        (b"", "empty"),
        (b"not an image at all", "not an image, or it is damaged"),
        (encoded(NOISE, "PNG")[:3000], "not an image, or it is damaged"),
        (encoded(NOISE, "JPEG")[:2000], "not an image, or it is damaged"),
        (encoded(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"), "pixels are float32"),
        (encoded(Image.fromarray(np.ones((2, 2), np.int32)), "TIFF"), "pixels are int32"),
    ],
    ids=["empty", "text", "cut PNG", "cut JPEG", "float", "int32"],
)
def test_what_is_no_8_or_16_bit_image_is_refused_with_a_reason(file, reason):
    with pytest.raises(BadImage, match=reason):
        decode(file)
