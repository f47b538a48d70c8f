"""Strict transfer: restored, new and unused parameters, and mismatches."""

from pathlib import Path

import jax.numpy as jnp
import pytest

from jaxcaps.errors import UserError
from jaxcaps.training.transfer import transfer

RUN = Path("runs/ssl")
KNOWN = {"known": ("latent_capsules", "projection", "decoder"), "origin": RUN}
LATENT = {"latent_capsules": "class_capsules"}


def restored():
    return {
        "encoder/stem/0/kernel": jnp.full((3, 4), 7.0),
        "encoder/primary/bias": jnp.full((4,), 8.0),
        "latent_capsules/weights": jnp.full((5, 3, 2, 2), 9.0),
        "projection/hidden/kernel": jnp.ones((2, 2)),
        "decoder/dense/kernel": jnp.ones((2, 2)),
    }


def new(classes=3):
    return {
        "encoder/stem/0/kernel": jnp.zeros((3, 4)),
        "encoder/primary/bias": jnp.zeros((4,)),
        "class_capsules/weights": jnp.zeros((5, classes, 2, 2)),
    }


def test_the_encoder_is_taken_and_every_parameter_accounted_for():
    result = transfer(restored(), new(), transfers={}, **KNOWN)
    assert float(result.parameters["encoder/stem/0/kernel"][0, 0]) == 7.0
    assert float(result.parameters["encoder/primary/bias"][0]) == 8.0
    assert float(result.parameters["class_capsules/weights"].max()) == 0.0
    signs = {line.split()[1]: line[0] for line in result.account}
    assert signs == {
        "encoder/stem/0/kernel": "+",
        "encoder/primary/bias": "+",
        "class_capsules/weights": "-",
        "latent_capsules/weights": ".",
        "projection/hidden/kernel": ".",
        "decoder/dense/kernel": ".",
    }


def test_latent_capsules_become_class_capsules_on_request_if_shapes_match():
    result = transfer(restored(), new(), transfers=LATENT, **KNOWN)
    assert float(result.parameters["class_capsules/weights"].min()) == 9.0
    with pytest.raises(UserError, match="as many --ssl-capsules as classes"):
        transfer(restored(), new(classes=4), transfers=LATENT, **KNOWN)


def test_another_architecture_is_refused_with_both_lists():
    other = new()
    del other["encoder/primary/bias"]
    other["encoder/stem/0/kernel"] = jnp.zeros((3, 9))
    other["encoder/stem/1/kernel"] = jnp.zeros((2,))
    with pytest.raises(UserError) as error:
        transfer(restored(), other, transfers={}, **KNOWN)
    text = str(error.value)
    assert "only in runs/ssl: encoder/primary/bias float32[4]" in text
    assert "only in the new network: encoder/stem/1/kernel float32[2]" in text
    assert "differs: encoder/stem/0/kernel float32[3, 4] in runs/ssl, encoder/stem/0/kernel float32[3, 9]" in text


def test_a_parameter_of_unknown_purpose_is_an_error_not_ignored():
    with pytest.raises(UserError, match="unknown in runs/ssl: mystery/kernel"):
        transfer(restored() | {"mystery/kernel": jnp.ones(2)}, new(), transfers={}, **KNOWN)


def test_a_dtype_that_differs_is_refused():
    half = restored() | {"encoder/primary/bias": jnp.zeros((4,), jnp.bfloat16)}
    with pytest.raises(UserError, match=r"encoder/primary/bias bfloat16\[4\]"):
        transfer(half, new(), transfers={}, **KNOWN)
