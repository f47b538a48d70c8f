"""The optimiser chain: lengths, schedule, decay mask, groups, accumulation."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from jaxcaps.config import OptimizerConfig
from jaxcaps.errors import UserError
from jaxcaps.plan.length import Length, run_length
from jaxcaps.plan.presets import preset
from jaxcaps.training.optimizer import decayed, make_optimizer, schedule


def config_of(*, stage="ssl", **training):
    config = preset("tiny", stage)
    return dataclasses.replace(config, training=dataclasses.replace(config.training, **training))


def applied(config, length, gradients, parameters, steps):
    """The parameters after each micro-step of constant gradients."""
    return applied_each(config, length, [gradients] * steps, parameters)


def applied_each(config, length, gradients, parameters):
    """The parameters after each micro-step of gradients of its own."""
    with jax.numpy_dtype_promotion("standard"):
        optimizer = make_optimizer(config, length)

        @jax.jit
        def update(gradients, state, parameters):
            updates, state = optimizer.update(gradients, state, parameters)
            return optax.apply_updates(parameters, updates), state

        state, history = jax.jit(optimizer.init)(parameters), []
        for each in gradients:
            parameters, state = update(each, state, parameters)
            history.append(jax.device_get(parameters))
    return history


def numbers(*values):
    return np.array(values, np.float32)


def test_an_epochs_end_may_fall_inside_a_batch():
    length = run_length(config_of(epochs=3, batch_size=16, effective_batch=32), examples=100)
    # 300 images in updates of 32 are 9.375 updates, so 10 complete updates of two micro-steps.
    assert length == Length(micro_steps=20, accumulate=2, updates=10, per_epoch=6.25)


@pytest.mark.parametrize(("batch_size", "effective"), [(48, 64), (128, 64)])
def test_an_effective_batch_that_is_not_a_multiple_is_refused(batch_size, effective):
    with pytest.raises(
        UserError, match=f"--effective-batch={effective} is not a multiple of --batch-size={batch_size}"
    ):
        config_of(batch_size=batch_size, effective_batch=effective).training.check()


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("updates", [1, 2, 3, 10, 333])
def test_the_rate_ends_at_its_floor_on_the_last_applied_update(updates, warmup):
    rates = schedule(OptimizerConfig(lr=0.1, warmup=warmup, final_lr=0.01), updates)
    used = [float(rates(count)) for count in range(updates)]
    assert min(used) > 0
    if updates > 2:
        assert used[-1] == pytest.approx(0.001, rel=1e-5)
        assert max(used) == pytest.approx(0.1, rel=1e-5)


def test_accumulation_stretches_the_schedule_over_micro_steps():
    """With constant gradients, each applied update of AdamW moves by the rate, for any accumulation."""
    config = config_of(batch_size=8, effective_batch=32)
    config = dataclasses.replace(
        config, optimizer=OptimizerConfig(lr=0.1, weight_decay=0.0, clip_norm=1e6, warmup=0.0, final_lr=0.01)
    )
    length = Length(micro_steps=40, accumulate=4, updates=10, per_epoch=4.0)
    history = applied(config, length, {"decoder/x": numbers(1)}, {"decoder/x": numbers(0)}, 40)
    moves = -np.diff([0.0] + [float(each["decoder/x"][0]) for each in history])
    assert np.count_nonzero(moves) == 10
    assert np.flatnonzero(moves).tolist() == list(range(3, 40, 4))
    assert moves[-1] == pytest.approx(0.001, rel=1e-3)
    assert moves[3] == pytest.approx(0.1, rel=1e-3)


def test_accumulated_micro_steps_equal_one_large_batch():
    parameters = {"encoder/stem/0/kernel": numbers(0, 1, 2, 3)}
    parts = [{"encoder/stem/0/kernel": numbers(*part)} for part in ((1, -2, 0.5, 3), (0, 4, -1.5, 1))]
    length = Length(micro_steps=2, accumulate=2, updates=1, per_epoch=1.0)
    config = config_of(batch_size=8, effective_batch=16)
    accumulated = applied_each(config, length, parts, parameters)[-1]
    mean = jax.tree.map(lambda one, other: (one + other) / 2, *parts)
    whole = applied(config, length._replace(accumulate=1), mean, parameters, 1)[-1]
    np.testing.assert_allclose(accumulated["encoder/stem/0/kernel"], whole["encoder/stem/0/kernel"], rtol=1e-6)


def test_weight_decay_spares_biases_norms_and_scales():
    names = {
        "a/kernel": True,
        "a/bias": False,
        "norm/scale": False,
        "class_capsules/weights": True,
        "norm_scale": False,
    }
    assert decayed(dict.fromkeys(names, np.float32(1))) == names


def test_multipliers_only_scale_the_steps_of_their_group():
    config = config_of()
    config = dataclasses.replace(
        config, optimizer=OptimizerConfig(lr=0.01, clip_norm=1e6, warmup=0.0, lr_mult="primary:3,routing:10")
    )
    paths = ["encoder/stem/0/kernel", "encoder/primary/convolution/kernel", "latent_capsules/weights"]
    zeros, ones = (dict.fromkeys(paths, numbers(value, value)) for value in (0, 1))
    moved = applied(config, Length(5, 1, 5, 5.0), ones, zeros, 1)[-1]
    stem, primary, routing = (float(moved[path][0]) for path in paths)
    assert primary == pytest.approx(3 * stem)
    assert routing == pytest.approx(10 * stem)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("primry:3", "did you mean 'primary'"),
        ("primary", "primary:NUMBER"),
        ("stem:-1", "at least 0"),
        ("stem:x", "stem:NUMBER"),
    ],
)
def test_a_malformed_multiplier_is_named(text, complaint):
    with pytest.raises(UserError, match=complaint):
        OptimizerConfig(lr_mult=text).multipliers()


@pytest.mark.parametrize("restore", ["runs/ssl", None])
def test_freezing_only_keeps_the_encoder_for_the_first_epochs(restore):
    config = config_of(stage="finetune")
    config = dataclasses.replace(
        config, restore=restore, classify=dataclasses.replace(config.classify, freeze_epochs=1)
    )
    start = {"encoder/stem/0/kernel": numbers(1, 1), "class_capsules/weights": numbers(1, 1)}
    gradients = dict.fromkeys(start, numbers(0.5, 0.5))
    history = applied(config, Length(8, 1, 8, 4.0), gradients, start, 5)
    assert all(np.array_equal(each["encoder/stem/0/kernel"], np.ones(2)) for each in history[:4])
    assert not np.array_equal(history[4]["encoder/stem/0/kernel"], np.ones(2))
    assert not np.array_equal(history[0]["class_capsules/weights"], np.ones(2))


def test_a_gradient_that_is_not_finite_is_skipped():
    start = {"decoder/kernel": numbers(1, 1)}
    history = applied(config_of(), Length(8, 1, 8, 4.0), {"decoder/kernel": numbers(1, np.nan)}, start, 1)
    np.testing.assert_array_equal(history[0]["decoder/kernel"], np.ones(2))
