"""Every routing by its name in the configuration: training works, and unknown names are rejected."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxcaps.errors import UserError
from jaxcaps.functional import ROUTINGS, Routed
from jaxcaps.models import Encoder
from jaxcaps.models.capsnet import routing_of
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.classification.capsnet import CapsuleClassification, Views
from tests.networks import MODEL

STEPS = 8


def test_the_models_iterations_reach_the_routing():
    model = dataclasses.replace(preset("tiny", "finetune").model, routing="em", routing_iterations=2)
    assert routing_of(model) == ROUTINGS["em"](iterations=2)


def test_iterations_of_a_routing_that_has_none_are_refused():
    assert parse_config(["--routing=uniform"]).model.routing == "uniform"
    with pytest.raises(UserError, match="--routing-iterations=2: --routing=uniform has no such setting"):
        parse_config(["--routing=uniform", "--routing-iterations=2"])


def test_the_models_agreement_scale_reaches_the_routing():
    model = parse_config(["--agreement-scale=capsules", "--learn-agreement-scale"]).model
    assert routing_of(model) == ROUTINGS["dynamic"](agreement_scale="capsules", learn_agreement_scale=True)
    assert routing_of(parse_config(["--agreement-scale=10"]).model) == ROUTINGS["dynamic"](agreement_scale=10.0)
    for value in ("0", "-1", "nan"):
        with pytest.raises(UserError, match=f"--agreement-scale={value}.*: expected above 0 and at most 1e"):
            parse_config([f"--agreement-scale={value}"])
    for flags in (["--routing=em", "--agreement-scale=2"], ["--routing=detached-dynamic", "--learn-agreement-scale"]):
        with pytest.raises(UserError, match=f"{flags[1]}.*: {flags[0]} has no such setting"):
            parse_config(flags)


def test_a_mistyped_routing_is_refused():
    with pytest.raises(UserError, match="--routing=dinamic: unknown routing; did you mean 'dynamic'"):
        parse_config(["--routing=dinamic"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUTINGS)
def test_a_classifier_of_any_routing_learns(name):
    config = preset("tiny", "finetune")
    model = dataclasses.replace(MODEL, routing=name)
    task = CapsuleClassification(model, config.augmentation, 16, config.classify, 3)
    modules = nnx.jit(lambda: task.init(rngs := nnx.Rngs(0), Encoder(task.model, 16, rngs)))()
    graph, parameters = nnx.split(modules)
    optimizer = optax.adam(3e-3)
    # Three classes that differ in brightness.
    labels = jnp.arange(12) % 3
    noise = jax.random.uniform(jax.random.key(0), (12, 16, 16, 3))
    images = 0.3 * noise + 0.35 * labels[:, None, None, None].astype(jnp.float32)
    examples = Examples(label=labels, group=jnp.arange(12), source=jnp.arange(12), valid=jnp.ones(12, bool))

    def loss(parameters):
        return task.loss(nnx.merge(graph, parameters), Views(images), examples, jnp.float32(1), Shard())[0]

    @jax.jit
    def train(parameters):
        def step(carry, _):
            parameters, state = carry
            value, gradients = jax.value_and_grad(loss)(parameters)
            with jax.numpy_dtype_promotion("standard"):
                updates, state = optimizer.update(gradients, state)
            return (optax.apply_updates(parameters, updates), state), value

        (trained, _), values = jax.lax.scan(step, (parameters, optimizer.init(parameters)), None, STEPS)
        return trained, values

    trained, values = train(parameters)
    assert np.isfinite(values).all()
    assert values[-1] < values[0]
    # The parameters of the routing are trained too.
    names = modules.class_capsules.names
    before, after = (nnx.merge(graph, each).class_capsules for each in (parameters, trained))
    for each in names:
        assert not np.array_equal(getattr(before, each)[...], getattr(after, each)[...]), each
    assert isinstance(nnx.jit(lambda modules, x: modules(x))(nnx.merge(graph, trained), images), Routed)
