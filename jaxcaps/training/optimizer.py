"""The optimiser: clip, AdamW, warm-up and cosine, multipliers by layer group, accumulation.

gradients of k micro-steps, averaged -> clip to a global norm -> AdamW -> times the group's multiplier
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import optax
from jax import Array

from jaxcaps.config import Config, OptimizerConfig
from jaxcaps.errors import UserError, nearest
from jaxcaps.training.state import Parameters

# A parameter belongs to the group whose name begins its path.
GROUPS = {
    "encoder/stem/": "stem",
    "encoder/primary/": "primary",
    "latent_capsules/": "routing",
    "class_capsules/": "routing",
    "projection/": "head",
    "hidden/": "head",
    "out/": "head",
    "decoder/": "decoder",
    "norm_scale": "head",
    "term_weights/": "head",
    "predictor/": "head",
}


def group_of(path: str) -> str:
    """The layer group of a parameter: stem, primary, routing, head or decoder."""
    return next(group for prefix, group in GROUPS.items() if path.startswith(prefix))


def layer_of(path: str) -> str:
    """`stem/0` and so on for the stages of the stem, the layer group for all else."""
    return "/".join(path.split("/")[1:3]) if path.startswith("encoder/stem/") else group_of(path)


def norms(values: Parameters, name_of: Callable[[str], str]) -> dict[str, Array]:
    """The joint norm of all arrays whose paths `name_of` gives the same name, by that name."""
    named: dict[str, list[Array]] = {}
    for path, value in values.items():
        named.setdefault(name_of(path), []).append(value)
    return {name: optax.tree.norm(each) for name, each in sorted(named.items())}


class Length(NamedTuple):
    """How long a run is.

    Attributes:
        micro_steps: calls of the train step, a multiple of `accumulate`.
        accumulate: micro-steps per update.
        updates: applied updates, `micro_steps // accumulate`.
        per_epoch: micro-steps per epoch, a fraction where an epoch's end falls inside a batch.
    """

    micro_steps: int
    accumulate: int
    updates: int
    per_epoch: float


def run_length(config: Config, examples: int) -> Length:
    """The length of a run over a training split of `examples` pictures; the last update is a whole one.

    Raises:
        UserError: `--effective-batch` is no multiple of `--batch-size`, or there is nothing to do.
    """
    training = config.training
    if training.batch_size < 1 or training.effective_batch % training.batch_size:
        raise UserError(
            f"--effective-batch={training.effective_batch} is not a multiple of --batch-size={training.batch_size}; "
            f"--effective-batch={max(1, training.batch_size)} updates after every micro-step"
        )
    if training.epochs <= 0:
        raise UserError(f"--epochs={training.epochs:g}: give a number above 0")
    accumulate = training.effective_batch // training.batch_size
    updates = max(1, math.ceil(training.epochs * examples / training.effective_batch - 1e-9))
    return Length(updates * accumulate, accumulate, updates, examples / training.batch_size)


def multipliers(text: str) -> dict[str, float]:
    """`primary:3,routing:10` as a mapping.

    Raises:
        UserError: not of that form, an unknown group, or a negative number.
    """
    result = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition(":")
        if name not in set(GROUPS.values()):
            known = tuple(dict.fromkeys(GROUPS.values()))
            raise UserError(f"--lr-mult={text}: unknown layer group {name!r}{nearest(name, known)}")
        try:
            result[name] = float(value)
        except ValueError:
            result[name] = math.nan
        if not 0 <= result[name] < math.inf:
            raise UserError(f"--lr-mult={text}: {part!r} should read {name}:NUMBER with a number of at least 0")
    return result


def schedule(optimizer: OptimizerConfig, updates: int) -> optax.Schedule:
    """Linear warm-up, then half a cosine that reaches its floor on the last of `updates` applied updates."""
    # One update is left for the floor.
    warmup = min(round(optimizer.warmup * updates), max(0, updates - 2))
    return optax.warmup_cosine_decay_schedule(
        # The first update is not wasted on a rate of zero.
        init_value=optimizer.lr / max(1, warmup),
        peak_value=optimizer.lr,
        warmup_steps=warmup,
        # optax counts from 0: the last update is number `updates - 1`.
        decay_steps=max(updates - 1, warmup + 1, 1),
        end_value=optimizer.lr * optimizer.final_lr,
    )


def decayed(parameters: Parameters) -> dict[str, bool]:
    """Weight decay is for kernels and vote weights, not for biases, norms and scales."""
    return {path: path.rsplit("/", 1)[-1] in ("kernel", "weights") for path in parameters}


def make_optimizer(config: Config, length: Length) -> optax.MultiSteps:
    """The chain inside `MultiSteps`.

    A micro-step whose gradients are not finite is skipped, as if it had not been: the schedule then ends early by
    as much.
    """
    optimizer = config.optimizer
    rates = schedule(optimizer, length.updates)
    groups = multipliers(optimizer.lr_mult)
    freeze_updates = 0
    if config.stage == "finetune":
        freeze_updates = round(config.classify.freeze_epochs * length.per_epoch / length.accumulate)

    chain = optax.chain(
        optax.clip_by_global_norm(optimizer.clip_norm),
        optax.adamw(rates, weight_decay=optimizer.weight_decay, mask=decayed),
        _scaled_by_group(groups),
        _frozen_encoder(freeze_updates),
    )
    return optax.MultiSteps(
        chain,
        length.accumulate,
        should_skip_update_fn=optax.skip_not_finite,
        accumulator_dtype=jnp.float64 if config.model.dtype == "float64" else jnp.float32,
    )


def _scaled_by_group(groups: Mapping[str, float]) -> optax.GradientTransformation:
    return optax.stateless(
        lambda updates, _: {
            path: update * jnp.asarray(groups.get(group_of(path), 1.0), update.dtype)
            for path, update in updates.items()
        }
    )


def _frozen_encoder(updates: int) -> optax.GradientTransformation:
    """Keeps the encoder as it is for the first `updates` updates (decay included)."""
    if updates == 0:
        return optax.identity()
    thaw = optax.scale_by_schedule(lambda count: jnp.where(count < updates, 0.0, 1.0))
    return optax.masked(thaw, lambda tree: {path: path.startswith("encoder/") for path in tree})
