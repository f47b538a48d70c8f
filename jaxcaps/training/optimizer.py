"""The optimiser: gradient accumulation, clipping, AdamW, warm-up and cosine decay, multipliers by layer group.

gradients of k micro-steps, averaged -> clip to a global norm -> AdamW -> times the group's multiplier
"""

from collections.abc import Callable, Mapping

import jax.numpy as jnp
import optax
from jax import Array

from jaxcaps.config import OptimizerConfig
from jaxcaps.plan.config import Config, task_of
from jaxcaps.plan.length import Length
from jaxcaps.training.state import Parameters


def norms(values: Parameters, name_of: Callable[[str], str]) -> dict[str, Array]:
    """Returns, by name, the joint norm of all arrays whose paths `name_of` maps to that name."""
    named: dict[str, list[Array]] = {}
    for path, value in values.items():
        named.setdefault(name_of(path), []).append(value)
    return {name: optax.tree.norm(each) for name, each in sorted(named.items())}


def schedule(optimizer: OptimizerConfig, updates: int) -> optax.Schedule:
    """Linear warm-up, then cosine decay that reaches its floor at the last of `updates` updates."""
    # Reserve one update for the floor.
    warmup = min(round(optimizer.warmup * updates), max(0, updates - 2))
    return optax.warmup_cosine_decay_schedule(
        # Do not waste the first update on a rate of zero.
        init_value=optimizer.lr / max(1, warmup),
        peak_value=optimizer.lr,
        warmup_steps=warmup,
        # optax counts from 0, so the last update is `updates - 1`.
        decay_steps=max(updates - 1, warmup + 1, 1),
        end_value=optimizer.lr * optimizer.final_lr,
    )


def decayed(parameters: Parameters) -> dict[str, bool]:
    """Whether weight decay applies: to kernels and vote weights, not to biases, norms and scales."""
    return {path: path.rsplit("/", 1)[-1] in ("kernel", "weights") for path in parameters}


def make_optimizer(config: Config, length: Length) -> optax.MultiSteps:
    """Builds the optimiser chain, wrapped in `MultiSteps`.

    A micro-step whose gradients are not finite is skipped and not counted, so the schedule ends that much earlier.
    """
    optimizer = config.optimizer
    rates = schedule(optimizer, length.updates)
    multipliers = optimizer.multipliers()
    freeze_updates = 0
    if config.stage == "finetune":
        freeze_updates = round(config.classify.freeze_epochs * length.per_epoch / length.accumulate)

    chain = optax.chain(
        optax.clip_by_global_norm(optimizer.clip_norm),
        optax.adamw(rates, weight_decay=optimizer.weight_decay, mask=decayed),
        _scaled_by_group(multipliers, task_of(config).group_of),
        _frozen_encoder(freeze_updates),
    )
    return optax.MultiSteps(
        chain,
        length.accumulate,
        should_skip_update_fn=optax.skip_not_finite,
        accumulator_dtype=jnp.float64 if config.model.dtype == "float64" else jnp.float32,
    )


def _scaled_by_group(multipliers: Mapping[str, float], group_of: Callable[[str], str]) -> optax.GradientTransformation:
    return optax.stateless(
        lambda updates, _: {
            path: update * jnp.asarray(multipliers.get(group_of(path), 1.0), update.dtype)
            for path, update in updates.items()
        }
    )


def _frozen_encoder(updates: int) -> optax.GradientTransformation:
    """Freezes the encoder, weight decay included, for the first `updates` updates."""
    if updates == 0:
        return optax.identity()
    thaw = optax.scale_by_schedule(lambda count: jnp.where(count < updates, 0.0, 1.0))
    return optax.masked(thaw, lambda tree: {path: path.startswith("encoder/") for path in tree})
