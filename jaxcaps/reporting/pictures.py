"""Pictures as data URIs, and many thumbnails in one picture."""

import base64
import io
import math
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

QUALITY = 70


class Sprite(NamedTuple):
    """Thumbnails in one picture, row by row.

    Attributes:
        uri: the picture as data URI.
        side: side of a thumbnail in pixels.
        columns: thumbnails in a row.
    """

    uri: str
    side: int
    columns: int

    def place(self, number: int) -> tuple[int, int]:
        """The left and the upper edge of a thumbnail, in pixels."""
        return number % self.columns * self.side, number // self.columns * self.side


def data_uri(encoded: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(encoded).decode()}"


def picture_uri(picture: np.ndarray, side: int) -> str:
    """A picture, uint8 [height, width, 1 or 3] or [height, width], as WebP of this height."""
    return webp_uri(resized(picture, side))


def sprite(pictures: np.ndarray) -> Sprite:
    """Joins thumbnails, uint8 [n, side, side, 3]."""
    side = pictures.shape[1]
    columns = max(1, math.ceil(math.sqrt(len(pictures))))
    sheet = np.zeros((max(1, math.ceil(len(pictures) / columns)) * side, columns * side, 3), np.uint8)
    result = Sprite("", side, columns)
    for number, picture in enumerate(pictures):
        left, upper = result.place(number)
        sheet[upper : upper + side, left : left + side] = picture
    return result._replace(uri=webp_uri(sheet))


def resized(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture, uint8 [height, width, 1 or 3] or [height, width], in this height and three channels."""
    height, width = picture.shape[:2]
    colour = np.broadcast_to(picture.reshape(height, width, -1), (height, width, 3))
    # Enlarged pixels stay pixels, as the network sees them.
    how = cv2.INTER_AREA if height >= side else cv2.INTER_NEAREST
    return np.asarray(cv2.resize(np.ascontiguousarray(colour), (round(width * side / height), side), interpolation=how))


def webp_uri(pixels: np.ndarray) -> str:
    """Pixels, uint8 [height, width, 3], as WebP."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "WEBP", quality=QUALITY)
    return data_uri(stream.getvalue(), "webp")
