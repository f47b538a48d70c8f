"""Every stem in the table, with the stages of every preset: maps and grid have the computed sizes."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from jaxcaps.models import STEMS, Encoder, geometry
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import PRESETS, preset


@pytest.mark.parametrize("name", STEMS)
@pytest.mark.parametrize(
    ("of", "extra_convs", "channels"), [(name, 5, 3) for name in PRESETS] + [("tiny", 3, 1), ("paper224", 7, 3)]
)
def test_maps_and_capsules_have_the_sizes_of_the_geometry(name, of, extra_convs, channels):
    config = preset(of, "ssl")
    model = dataclasses.replace(config.model, stem=name, extra_convs=extra_convs, channels=channels)
    size = config.data.image_size
    expected = geometry(model, size)
    picture = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    encoded = jax.eval_shape(lambda x: Encoder(model, size, nnx.Rngs(0))(x), picture)
    assert [each.shape[1:] for each in encoded.maps] == [(side, side, width) for side, width in expected.maps]
    assert encoded.poses.shape == (2, expected.grid**2 * model.primary_types, model.primary_dim)
    assert expected.grid == geometry(dataclasses.replace(model, stem="plain", extra_convs=5), size).grid


@pytest.mark.parametrize("name", STEMS)
def test_a_stem_is_chosen_by_its_name(name):
    assert parse_config(["--preset=tiny", f"--stem={name}"]).model.stem == name
