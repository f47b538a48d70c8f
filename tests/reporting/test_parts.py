"""Thumbnails and the map of pictures."""

import base64
import io

import numpy as np
from PIL import Image

from jaxcaps.reporting.embedding import embed
from jaxcaps.reporting.pictures import picture_uri, sprite


def decoded(uri):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")).astype(int)


def test_thumbnails_lie_where_the_sprite_says():
    levels = [0, 60, 120, 180, 240]
    found = sprite(np.stack([np.full((16, 16, 3), level, np.uint8) for level in levels]))
    sheet = decoded(found.uri)
    assert sheet.shape == (32, 48, 3)
    for number, level in enumerate(levels):
        left, upper = found.place(number)
        assert abs(sheet[upper + 8, left + 8] - level).max() < 8


def test_pictures_keep_their_shape():
    assert decoded(picture_uri(np.zeros((16, 64, 3), np.uint8), 32)).shape == (32, 128, 3)


def test_pictures_that_look_alike_lie_side_by_side():
    """Three kinds of features, each with noise."""
    kinds = np.repeat(np.arange(3), 20)
    features = 10 * np.eye(8)[kinds] + np.random.default_rng(0).normal(size=(60, 8))
    places, method = embed(features)
    assert "t-SNE" in method
    distances = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e9 * np.eye(60)
    assert (kinds[distances.argmin(axis=1)] == kinds).mean() > 0.95


def test_few_or_equal_features_have_places_too():
    places, method = embed(np.random.default_rng(0).normal(size=(5, 1)))
    assert places.shape == (5, 2)
    assert "principal components" in method
    places, method = embed(np.ones((40, 4), np.float32))
    assert not places.any()
    assert "do not differ" in method
    for features, words in ((np.eye(2), "too few"), (np.diag([np.nan] * 5), "not finite")):
        places, method = embed(features)
        assert not places.any()
        assert words in method
