"""The capsule layers: indifferent to the batch, started at a good scale, and the same in Linen as in NNX."""

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxcaps.linen
import jaxcaps.nnx
from jaxcaps.functional import EM, ROUTINGS, Dynamic, ParameterSpec, Routed, SelfRouting, Uniform, dense_votes
from jaxcaps.training.state import with_parameters
from tests.marks import slow
from tests.networks import random_parameters

DIM, IN, OUT = 4, 2, 3


class Kind(NamedTuple):
    """One layer in both libraries, by settings that they share, and what it takes."""

    name: str
    in_sizes: dict[str, int]  # NNX layers are told of their input, Linen's read it.
    settings: dict[str, Any]
    inputs: tuple[tuple[int, ...], ...]  # the shapes of one example's arguments

    def new(self, **settings):
        return getattr(jaxcaps.nnx, self.name)(**self.in_sizes, **self.settings, **settings, rngs=nnx.Rngs(0))

    def nnx(self, **settings):
        """A layer with random parameters. NumPy draws them, since every initialiser would be compiled."""
        shapes = nnx.eval_shape(partial(self.new, **settings))
        return with_parameters(shapes, random_parameters(shapes, scale=0.5))

    def linen(self, **settings):
        return getattr(jaxcaps.linen, self.name)(**self.settings, **settings)

    def draw(self, *lead):
        """Random arguments with these leading axes; the second ones, activations, in (0, 1)."""
        rng = np.random.default_rng(1)
        poses = rng.normal(0, 0.5, (*lead, *self.inputs[0])).astype(np.float32)
        return (poses, *(rng.random((*lead, *shape), np.float32) for shape in self.inputs[1:]))


DENSE = Kind("DenseCaps", dict(in_capsules=6, in_dim=DIM), dict(out_capsules=OUT, out_dim=DIM), ((6, DIM), (6,)))
CONV = Kind(
    "ConvCaps",
    dict(in_types=IN, in_dim=DIM),
    dict(out_types=OUT, out_dim=DIM, kernel=2, stride=2, padding=1),
    ((4, 2, IN, DIM), (4, 2, IN)),
)
CLASS = Kind(
    "ClassCaps",
    dict(height=3, width=2, in_types=IN, in_dim=DIM),
    dict(classes=OUT, out_dim=DIM),
    ((3, 2, IN, DIM), (3, 2, IN)),
)
ROUTED = [DENSE, CONV, CLASS]
PRIMARY = Kind("PrimaryCaps", dict(in_features=3), dict(types=2, dim=4, kernel=3, stride=2, padding=1), ((5, 6, 3),))
MATRIX_PRIMARY = Kind("MatrixPrimaryCaps", dict(in_features=3), dict(types=2, dim=4), ((5, 6, 3),))
DECODER = Kind("CapsuleDecoder", dict(classes=OUT, dim=DIM), dict(shape=(4, 5, 2), widths=(6, 7)), ((OUT, DIM),))

# Equal layers on inputs of the same shapes share a compiled program.
compiled = nnx.jit(lambda layer, inputs: layer(*inputs))


def call(layer, inputs):
    """What the layer makes of its inputs, as NumPy arrays."""
    return jax.device_get(compiled(layer, inputs))


def named(value):
    """The name of a test's parameter: that of its layer or its routing."""
    if isinstance(value, dict):
        return ""
    return value.name if isinstance(value, Kind) else value if isinstance(value, str) else type(value).__name__


routed_layers = pytest.mark.parametrize("kind", ROUTED, ids=named)


def through_both(kind, **settings):
    """The layer of both libraries as functions of the same parameters and inputs, and parameters for them."""
    graph, state = nnx.split(kind.nnx(**settings))
    layer, inputs = kind.linen(**settings), kind.draw(2)

    def through_nnx(state, inputs):
        return nnx.merge(graph, state)(*inputs)

    def through_linen(state, inputs):
        return layer.apply({"params": nnx.to_pure_dict(state)}, *inputs)

    drawn = jax.eval_shape(layer.init, jax.random.key(0), *inputs)["params"]
    shapes = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), each) for each in (nnx.to_pure_dict(state), drawn)]
    assert shapes[0] == shapes[1]
    return (through_nnx, through_linen), state


def assert_linen_equals_nnx(kind, **settings):
    """Parameters, values, and gradients by parameters and inputs."""
    layers, state = through_both(kind, **settings)

    def scalar(layer, state, inputs):
        """Of everything that comes out, each number with another weight."""
        out = layer(state, inputs)
        leaves = [leaf.ravel() for leaf in jax.tree.leaves(out)]
        return sum(jnp.dot(jnp.sin(1 + jnp.arange(leaf.size, dtype=leaf.dtype)), leaf) for leaf in leaves), out

    ours, theirs = (
        jax.jit(jax.value_and_grad(partial(scalar, layer), (0, 1), has_aux=True))(state, kind.draw(2))
        for layer in layers
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), ours, theirs)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(ours))
    # The weights matter, and so does every parameter of the routing.
    assert all(np.any(leaf) for leaf in jax.tree.leaves(ours[1][0]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (DENSE, dict(routing=Dynamic())),
        (CONV, dict(routing=SelfRouting(), positions=(3, 2))),
        (PRIMARY, {}),
        *slow((CLASS, dict(routing=EM(2), transform="matrix")), (MATRIX_PRIMARY, {}), (DECODER, {})),
    ],
    ids=named,
)
def test_linen_equals_nnx(kind, settings):
    assert_linen_equals_nnx(kind, **settings)


def test_both_decoders_read_the_labelled_pose():
    (through_nnx, through_linen), state = through_both(DECODER)
    decoders = jax.jit(lambda *inputs: (through_nnx(state, inputs), through_linen(state, inputs)))
    (poses,), labels = DECODER.draw(2), np.array([2, 0], np.int32)
    made, theirs = decoders(poses, labels)
    np.testing.assert_allclose(made, theirs, rtol=1e-6)
    # What the other poses hold does not matter.
    kept = poses * np.eye(OUT, dtype=np.float32)[labels][:, :, None]
    np.testing.assert_array_equal(made, decoders(kept, labels)[0])


def equal_to(tolerance):
    return partial(jax.tree.map, partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance / 10))


@pytest.mark.parametrize("kind", [DENSE, PRIMARY, *slow(CONV, CLASS, MATRIX_PRIMARY, DECODER)], ids=named)
def test_any_number_of_batch_axes_gives_the_same(kind):
    layer, inputs = kind.nnx(), kind.draw(2, 3)
    both = call(layer, inputs)
    one = call(layer, tuple(each.reshape(6, *each.shape[2:]) for each in inputs))
    none = call(layer, tuple(each[1, 2] for each in inputs))
    equal_to(1e-5)(both, jax.tree.map(lambda each: each.reshape(2, 3, *each.shape[1:]), one))
    equal_to(1e-5)(jax.tree.map(lambda each: each[1, 2], both), none)


@pytest.mark.parametrize(
    ("kind", "routing"),
    [(DENSE, Dynamic()), (CONV, EM()), *slow((CONV, Dynamic()), (CLASS, EM()))],
    ids=named,
)
def test_an_example_does_not_depend_on_its_batch_or_the_tile(kind, routing, monkeypatch):
    layer, inputs = kind.nnx(routing=routing, transform="matrix"), kind.draw(6)
    whole = call(layer, inputs)
    # Some of the examples in another order, two at a time, the last one alone.
    monkeypatch.setattr("jaxcaps.functional.batching.cpu_tile", lambda vote_bytes: 2)
    order = np.array([3, 0, 2])
    chosen = nnx.jit(lambda layer, inputs: layer(*inputs))(layer, tuple(each[order] for each in inputs))
    equal_to(1e-4)(jax.tree.map(lambda each: each[order], whole), chosen)


def mean_routing(votes, in_activations=None):
    """A user's function: the plain mean."""
    poses = jnp.mean(votes, axis=0)
    couplings = jnp.full(votes.shape[:2], 1 / votes.shape[1], votes.dtype)
    return Routed(poses, jnp.linalg.norm(poses, axis=-1), couplings)


@dataclass(frozen=True)
class Tempered:
    """A user's description: couplings by how each vote agrees with its own capsule's pose, at a learned temperature."""

    start: float = 0.5
    needs: ClassVar[tuple[str, ...]] = ("in_poses",)

    def parameters(self, shape):
        return {
            "temperature": ParameterSpec((shape.out_capsules,), self.start),
            "mix": ParameterSpec((shape.in_dim, shape.out_dim), jax.nn.initializers.orthogonal()),
        }

    def __call__(self, votes, in_activations=None, *, in_poses, temperature, mix):
        logits = jnp.einsum("ijd,id->ij", votes, in_poses @ mix) * temperature[None]
        couplings = jax.nn.softmax(logits, axis=1)
        poses = jnp.einsum("ij,ijd->jd", couplings, votes)
        return Routed(poses, jnp.linalg.norm(poses, axis=-1), couplings)


@pytest.mark.parametrize("routing", [mean_routing, Tempered()], ids=["function", "description"])
@routed_layers
def test_a_users_own_routing_works_in_every_layer(kind, routing):
    def loss(layer, inputs):
        return sum(jnp.sum(jnp.sin(each)) for each in layer(*inputs))

    gradients = jax.tree.leaves(nnx.jit(nnx.grad(loss))(kind.nnx(routing=routing), kind.draw(2)))
    assert all(np.isfinite(each).all() and np.any(each) for each in gradients)


def test_a_users_own_function_gets_the_votes_and_its_description_the_parameters():
    (poses, _), layer = DENSE.draw(1), DENSE.nnx(routing=mean_routing)
    votes = np.asarray(jax.jit(dense_votes)(layer.weights[...], poses[0]))
    np.testing.assert_allclose(call(layer, (poses,)).poses[0], votes.mean(axis=0), rtol=1e-5, atol=1e-6)
    tempered = nnx.jit(partial(DENSE.new, routing=Tempered(start=0.25)))()
    np.testing.assert_array_equal(tempered.temperature[...], np.full(OUT, 0.25))
    mix = np.asarray(tempered.mix[...])
    np.testing.assert_allclose(mix @ mix.T, np.eye(DIM), atol=1e-5)


def even_sum(votes, in_activations=None):
    """What dynamic routing squashes first. A bare function, so its layer starts from the scale of a sum."""
    poses = jnp.sum(votes, axis=0) / votes.shape[1]
    return Routed(poses, jnp.linalg.norm(poses, axis=-1), jnp.full(votes.shape[:2], 1 / votes.shape[1]))


def unit(shape):
    drawn = np.random.default_rng(5).standard_normal(shape, np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def started(in_shape, out_capsules, out_dim, *, poses, activations=None, **settings):
    """A new DenseCaps's output, in one compilation, as NumPy arrays."""

    @jax.jit
    def start(poses, activations):
        sizes = (in_shape[0], out_capsules, in_shape[1], out_dim)
        return jaxcaps.nnx.DenseCaps(*sizes, **settings, rngs=nnx.Rngs(0))(poses, activations)

    return jax.device_get(start(poses, activations))


@pytest.mark.parametrize(
    ("in_capsules", "out_capsules", "in_dim", "transform"),
    [(1152, 10, 8, "vector"), (4608, 3, 16, "matrix"), *slow((4608, 3, 8, "vector"), (1152, 10, 16, "matrix"))],
)
def test_routed_sums_start_with_norms_of_about_one(in_capsules, out_capsules, in_dim, transform):
    poses = unit((2, in_capsules, in_dim))
    settings = dict(poses=poses, transform=transform)
    shape = (in_capsules, in_dim)
    norms = started(shape, out_capsules, 16, routing=even_sum, **settings).activations
    assert float(norms.min()) > 0.4
    assert float(norms.max()) < 1.8
    assert 0.8 < float(norms.mean()) < 1.2


def test_in_poses_of_another_scale_start_at_the_same_norms():
    poses = 3 * unit((4, 64, 8))
    routed = started((64, 8), 10, 16, poses=poses, routing=even_sum, in_norm_squared=9.0)
    assert 0.8 < float(routed.activations.mean()) < 1.2


@jax.jit
def norms_of_new_class_capsules(poses):
    height, width, types, dim = poses.shape[1:]
    layer = jaxcaps.nnx.ClassCaps(height, width, types, 10, dim, 16, routing=even_sum, rngs=nnx.Rngs(0))
    return layer(poses).activations


@pytest.mark.parametrize("plain", [True, False])
def test_class_capsules_of_a_map_start_in_squashs_working_range(plain):
    # A plain background: every place has the same poses, and the votes of all places add up.
    poses = np.broadcast_to(unit((4, 1, 1, 8, 8)), (4, 6, 6, 8, 8)) if plain else unit((4, 6, 6, 8, 8))
    norms = np.asarray(norms_of_new_class_capsules(poses))
    # Squash takes these to 0.3 to 0.7. The coordinates' part of them is at most 1.
    assert 0.6 < float(norms.mean()) < 1.5


@pytest.mark.parametrize(("in_capsules", "out_capsules"), [(1152, 10), (16, 100), *slow((16, 10))])
def test_self_attention_starts_nearly_even_and_unsaturated(in_capsules, out_capsules):
    poses = unit((8, in_capsules, 8))
    routed = started((in_capsules, 8), out_capsules, 16, poses=poses, routing=ROUTINGS["self-attention"]())
    assert float(routed.couplings.max(axis=2).mean()) < 1.5 / out_capsules
    assert float(routed.activations.mean()) < 0.8


@pytest.mark.parametrize(("in_capsules", "out_capsules"), [(4608, 3), *slow((1152, 10))])
def test_em_starts_off_the_ends_of_the_sigmoid(in_capsules, out_capsules):
    rng = np.random.default_rng(3)
    poses = rng.standard_normal((2, in_capsules, 16), np.float32)
    activations = rng.random((2, in_capsules), np.float32)
    routed = started(
        (in_capsules, 16),
        out_capsules,
        16,
        poses=poses,
        activations=activations,
        routing=EM(),
        transform="matrix",
    )
    assert float(routed.activations.min()) > 0.05
    assert float(routed.activations.max()) < 0.95


@pytest.mark.parametrize(
    ("kind", "routing"),
    [(DENSE, "dynamic"), (CONV, "em"), *slow((DENSE, "self-attention"), (CLASS, "inverted-attention"))],
    ids=named,
)
def test_bfloat16_layers_compute_close_to_float32_and_keep_float32_parameters(kind, routing):
    settings = dict(routing=ROUTINGS[routing](), transform="matrix")
    exact, rough = kind.nnx(**settings), kind.nnx(**settings, dtype=jnp.bfloat16)
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(rough))} == {jnp.dtype("float32")}
    inputs = kind.draw(6)
    half, whole = call(rough, inputs), call(exact, inputs)
    assert {each.dtype for each in half} == {jnp.dtype("bfloat16")}
    for ours, theirs in zip(half, whole, strict=True):
        np.testing.assert_allclose(np.float32(ours), theirs, atol=0.05 * float(np.abs(theirs).max()))


@pytest.mark.parametrize("kind", [PRIMARY, *slow(MATRIX_PRIMARY, DECODER)], ids=named)
def test_bfloat16_capsules_and_pictures_are_close_to_float32(kind):
    inputs = kind.draw(6)
    made = jax.tree.leaves(call(kind.nnx(dtype=jnp.bfloat16), inputs))
    # A picture is at least float32.
    assert {each.dtype for each in made} == {jnp.dtype("float32" if kind is DECODER else "bfloat16")}
    for ours, theirs in zip(made, jax.tree.leaves(call(kind.nnx(), inputs)), strict=True):
        np.testing.assert_allclose(np.float32(ours), theirs, atol=0.05 * float(np.abs(theirs).max()))


def test_capsules_are_ordered_by_row_column_and_type():
    layer, features = PRIMARY.nnx(), PRIMARY.draw(6)
    maps = np.asarray(nnx.jit(lambda layer, features: layer.map_of(*features))(layer, features))
    assert maps.shape == (6, 3, 3, 2, 4)
    np.testing.assert_array_equal(call(layer, features)[1, (1 * 3 + 2) * 2 + 1], maps[1, 1, 2, 1])
    assert float(np.linalg.norm(maps, axis=-1).max()) < 1


@routed_layers
def test_wrong_poses_are_refused_by_name(kind):
    layer, (poses, activations) = kind.nnx(), kind.draw(2)
    for inputs, message in (
        ((poses[..., :3],), r"^poses: shape \[\.\.\., .*4\] expected, found"),
        ((poses.reshape(-1, DIM)[0],), r"^poses: shape .* expected, found \[4\]"),
        ((poses[..., :1, :], activations[..., :1]), r"^poses: shape .* expected"),
        ((poses, activations[..., :1]), r"^activations: shape .* expected for poses of shape"),
        ((poses, activations[0]), r"^activations: shape"),
    ):
        with pytest.raises(ValueError, match=message):
            layer(*map(jnp.asarray, inputs))


@pytest.mark.parametrize(
    ("kind", "routing"),
    [
        *((DENSE, routing) for routing in ("em", "variational", "self-routing", "heinsen")),
        (CONV, "em"),
        (CLASS, "em"),
    ],
    ids=named,
)
def test_activations_that_the_routing_needs_are_asked_for(kind, routing):
    layer, (poses, _) = kind.nnx(routing=ROUTINGS[routing]()), kind.draw(2)
    with pytest.raises(ValueError, match=r"^activations: .* needs those of the in capsules"):
        layer(jnp.asarray(poses))


@pytest.mark.parametrize(
    ("in_dim", "out_dim", "transform", "message"),
    [
        (8, 8, "matrix", "transform='matrix' needs in_dim and out_dim .* not 8 and 8"),
        (4, 9, "matrix", "transform='matrix' needs in_dim and out_dim .* not 4 and 9"),
        (4, 4, "tensor", "transform='tensor': 'vector' or 'matrix' expected"),
    ],
)
@routed_layers
def test_transforms_that_do_not_fit_are_refused(kind, in_dim, out_dim, transform, message):
    layer = getattr(jaxcaps.nnx, kind.name)
    settings = kind.settings | dict(out_dim=out_dim, transform=transform)
    with pytest.raises(ValueError, match=message):
        layer(**(kind.in_sizes | dict(in_dim=in_dim)), **settings, rngs=nnx.Rngs(0))


def shapes_of(kind, library, **settings):
    """The shapes of what a layer of a library makes of one example."""
    if library == "nnx":
        return jax.eval_shape(lambda *inputs: kind.new(**settings)(*inputs), *kind.draw())
    layer = kind.linen(**settings)
    return jax.eval_shape(lambda *inputs: layer.init_with_output(jax.random.key(0), *inputs)[0], *kind.draw())


@pytest.mark.parametrize("library", ["nnx", "linen"])
def test_layers_take_what_other_libraries_do(library):
    primary = PRIMARY._replace(settings=dict(types=2, dim=4, kernel=(3, 3), stride=[1, 1], padding="SAME"))
    assert shapes_of(primary, library).shape == (5 * 6 * 2, 4)
    dense = DENSE._replace(inputs=DENSE.inputs[:1])
    assert shapes_of(dense, library, routing="uniform") == shapes_of(dense, library, routing=Uniform)


@pytest.mark.parametrize("library", ["nnx", "linen"])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(routing="emm"), "unknown routing 'emm'; did you mean 'em'"),
        (dict(routing=3), r"routing=3: give a description .* or one of detached-dynamic"),
        (dict(kernel=(3, 5)), r"kernel=.3, 5.: capsule layers have square windows"),
    ],
    ids=str,
)
def test_what_layers_do_not_take_is_named(library, settings, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(CONV._replace(settings=CONV.settings | settings), library)
