"""Complete networks: shapes and parameter counts by shape evaluation, and forward passes."""

import dataclasses
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcaps.errors import UserError
from jaxcaps.models import CapsNet, Decoder, Encoder, primary_capsules, routed_capsules
from jaxcaps.models.capsnet import count_parameters
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import PRESETS, preset
from tests.marks import slow


def abstract(build):
    return nnx.eval_shape(lambda: build(nnx.Rngs(0)))


def pictures(count, size):
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


@cache
def started(model, size):
    """What a new network makes of random pictures, and gradients by its parameters, as NumPy arrays."""

    def scalar(capsnet, images):
        routed = capsnet(images)
        return jnp.sum(routed.poses[:, 0]), routed

    @jax.jit
    def start(images):
        return nnx.grad(scalar, has_aux=True)(CapsNet(3, model, size, rngs=nnx.Rngs(0)), images)

    gradients, routed = jax.device_get(start(pictures(8, size)))
    return routed, jax.tree.leaves(gradients)


def test_paper224_has_the_studys_parameter_counts():
    config = preset("paper224", "finetune")
    encoder = abstract(lambda rngs: Encoder(config.model, 224, rngs))
    assert count_parameters(encoder) == 3_313_792
    capsnet = abstract(lambda rngs: CapsNet(3, config.model, 224, rngs=rngs))
    assert count_parameters(capsnet) == 10_391_680


def test_paper224_routes_18432_capsules_into_three_and_decodes_to_the_picture():
    config = preset("paper224", "finetune")

    def whole(images):
        capsnet = CapsNet(3, config.model, 224, rngs=nnx.Rngs(0))
        encoded = capsnet.encoder(images)
        routed = capsnet.class_capsules(encoded.poses)
        return encoded, routed, Decoder(3, config.model, 224, nnx.Rngs(0))(routed.poses, encoded.maps)

    encoded, routed, picture = jax.eval_shape(whole, jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32))
    assert encoded.poses.shape == (2, 18_432, 8)
    assert [each.shape[1:] for each in encoded.maps] == [
        (224, 224, 3), (216, 216, 64), (212, 212, 128), (106, 106, 128), (102, 102, 128), (50, 50, 256),
    ]  # fmt: skip
    assert (routed.poses.shape, routed.couplings.shape) == ((2, 3, 16), (2, 18_432, 3))
    assert picture.shape == (2, 224, 224, 3)


def test_small64_has_the_documented_size():
    config = preset("small64", "finetune")
    assert config.data.image_size == 64
    assert len(config.model.stages) == config.model.extra_convs == 5
    capsnet = abstract(lambda rngs: CapsNet(3, config.model, 64, rngs=rngs))
    in_capsules, out_capsules, out_dim, in_dim = capsnet.class_capsules.weights.shape
    assert in_capsules >= 512
    assert (out_capsules, out_dim, in_dim) == (3, 16, 8)
    assert count_parameters(capsnet) >= 1_000_000


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("extra_convs", "skips"), [(3, True), (4, False), (7, True)])
def test_the_decoder_ends_at_the_picture_for_every_stem(name, extra_convs, skips):
    config = preset(name, "ssl")
    model = dataclasses.replace(config.model, extra_convs=extra_convs, decoder_skips=skips)
    size = config.data.image_size

    def reconstruct(images):
        encoded = Encoder(model, size, nnx.Rngs(0))(images)
        poses = jnp.zeros((images.shape[0], 4, model.capsule_dim))
        return Decoder(4, model, size, nnx.Rngs(0))(poses, encoded.maps)

    images = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    assert jax.eval_shape(reconstruct, images).shape == images.shape


@pytest.mark.parametrize("extra_convs", [5, *slow(3, 7)])
def test_a_network_computes_poses_of_norm_below_one_and_gradients_everywhere(extra_convs):
    config = preset("tiny", "finetune")
    model = dataclasses.replace(config.model, extra_convs=extra_convs)
    routed, gradients = started(model, 16)
    assert routed.poses.shape == (8, 3, 16)
    np.testing.assert_allclose(routed.activations, np.linalg.norm(routed.poses, axis=-1), rtol=1e-5)
    assert float(routed.activations.min()) > 0
    assert float(routed.activations.max()) < 1
    norms = [float(np.linalg.norm(leaf)) for leaf in gradients]
    assert np.isfinite(norms).all()
    assert min(norms) > 0


def test_skips_pass_the_encoders_map_to_the_picture():
    config = preset("tiny", "ssl")
    images = pictures(2, 16)
    poses = np.full((2, 4, 16), 0.1, np.float32)
    for skips in (False, True):
        model = dataclasses.replace(config.model, extra_convs=3, decoder_skips=skips)

        @jax.jit
        def reconstruct(x, poses, model=model):
            encoder, decoder = Encoder(model, 16, nnx.Rngs(0)), Decoder(4, model, 16, nnx.Rngs(1))
            return decoder(poses, encoder(x).maps)

        first, second = reconstruct(images, poses), reconstruct(1 - images, poses)
        assert np.allclose(first, second) is not skips


@pytest.mark.parametrize("name", ["tiny", *slow("demo", "small64")])
def test_initial_capsules_are_in_the_working_range_of_squash(name):
    config = preset(name, "finetune")
    routed, _ = started(config.model, config.data.image_size)
    assert 0.1 < float(routed.activations.mean()) < 0.9


def test_bfloat16_computes_close_to_float32_and_keeps_float32_parameters():
    config = preset("tiny", "finetune")
    half = dataclasses.replace(config.model, dtype="bfloat16")

    def rough(rngs):
        return CapsNet(3, half, 16, rngs=rngs)

    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(abstract(rough)))} == {jnp.dtype("float32")}
    activations = jax.jit(lambda images: rough(nnx.Rngs(0))(images).activations)(pictures(8, 16))
    assert activations.dtype == jnp.bfloat16
    exact, _ = started(config.model, 16)
    np.testing.assert_allclose(np.float32(activations), exact.activations, atol=0.03)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((2, 20, 20, 3), np.float32), ((2, 16, 16, 1), np.float32), ((2, 16, 16, 3), np.uint8)]
)
def test_pictures_that_an_encoder_cannot_have_learnt_from_are_refused(shape, dtype):
    model = preset("tiny", "ssl").model
    message = rf"pictures of shape \[{', '.join(map(str, shape))}\] and type {np.dtype(dtype)}: .*\[batch, 16, 16, 3\]"
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda images: Encoder(model, 16, nnx.Rngs(0))(images), np.zeros(shape, dtype))


@pytest.mark.parametrize("routing", ["dynamic", "em"])
def test_shared_transforms_are_one_for_each_primary_type_and_know_the_position(routing):
    config = parse_config(["--preset=tiny", "--extra-convs=3", "--shared-transforms", f"--routing={routing}"])
    model, size = config.model, config.data.image_size
    rng = np.random.default_rng(0)

    @jax.jit
    def route(poses):
        layer = routed_capsules(3, model, size, nnx.Rngs(0))
        assert layer.weights.shape == (model.primary_types, 3, model.capsule_dim, model.primary_dim)
        return layer(poses), layer(poses[:, ::-1]), layer.votes(poses[0])

    count = primary_capsules(model, size)
    poses = 0.1 * rng.normal(size=(8, count, model.primary_dim)).astype(np.float32)
    routed, moved, votes = jax.device_get(route(poses))
    assert routed.couplings.shape == (8, count, 3)
    assert votes.shape == (count, 3, model.capsule_dim)
    # Of the layer's votes: their sum under these couplings has the direction of the pose.
    if routing == "dynamic":
        sums = np.einsum("ij,ijd->jd", routed.couplings[0], votes)
        directions = sums / np.linalg.norm(sums, axis=-1, keepdims=True)
        np.testing.assert_allclose(np.sum(directions * routed.poses[0], axis=-1), routed.activations[0], atol=1e-5)
    assert np.abs(routed.poses - moved.poses).max() > 1e-5


def test_shared_transforms_need_room_for_the_coordinates():
    with pytest.raises(UserError, match="--capsule-dim=1: --shared-transforms adds two coordinates"):
        parse_config(["--shared-transforms", "--capsule-dim=1"])
