"""Diagnosis of a pre-trained network: measurements on held-out pictures at the end of a run, and warnings.

The reference study (El-Shimy et al. 2025) reports vanishing gradients in its capsules and desaturated reconstructions.
Self-supervised capsules also fail silently in other ways: the decoder bypasses the capsules, the couplings are
uniform, or the representations collapse.
"""

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcaps.data.dataset import Split
from jaxcaps.functional import Routed, at_least_float32, chroma, lab_from_rgb, safe_norm
from jaxcaps.models import Encoded
from jaxcaps.tasks import Examples, Shard, Task
from jaxcaps.training.optimizer import norms
from jaxcaps.training.state import Parameters, with_parameters
from jaxcaps.training.writers import replace_text

log = logging.getLogger("jaxcaps")

# The maximum number of pictures, in batches of the run's size.
PICTURES = 256
# Seed of the views and of the choice of pictures.
SEED = 0
# A capsule is dead if its activation never exceeds the first, and saturated if it never falls below the second, where
# the slope of squash is below 0.02.
DEAD, SATURATED = 0.01, 0.95
# Of the neighbourhood that OpenCV's in-painting looks at, in pixels.
INPAINT_RADIUS = 3
# Pictures with a lower mean chroma (in Lab) are grey and have no saturation to lose.
LEAST_CHROMA = 2.0

# Thresholds of the warnings. They are our choice, except for gradients: the reference study reports 1e-6 to 1e-5.
LEAST_GRADIENT = 1e-5
MOST_ENTROPY = 0.99
MOST_DEAD = 0.5
LEAST_RANK = 0.05
LEAST_SATURATION = 0.5
LEAST_SHUFFLED = 1.1

Findings = dict[str, Any]


def diagnose(
    task: Task, modules: Any, parameters: Parameters, split: Split, batch_size: int, made: Mapping[str, Array]
) -> Findings:
    """Measures a self-supervised network on up to 256 pictures it was not trained on.

    Args:
        task: a self-supervised task.
        modules: the network's structure.
        parameters: its parameters by path.
        split: held-out pictures.
        batch_size: pictures per batch, on one device.
        made: the output of `task.pictures` for some pictures, to measure their colours.

    Returns:
        pictures: the number of pictures measured.
        gradient_over_weight: for each layer, the gradient norm divided by the weight norm.
        coupling_entropy: entropy of the latent capsules' couplings; 1 is uniform. None for a task without routing.
        parts: for each module that outputs capsules or one vector per picture, by name: `rank`, the effective rank
            (Roy & Vetterli 2007) of the flattened poses or vectors over the pictures, as a share of its maximum; for
            capsules also `activity`, the mean activation (the norm for primary capsules), and `dead` and `saturated`,
            the shares of capsules whose activation is always near 0 or always near 1.
        saturation: mean chroma of the reconstructions divided by that of the pictures; None for grey pictures.
        masked_pixels: the mean absolute error of masked pixels in [0, 1]: `network`, in-painted by the network; `mean`,
            filled with the mean of the picture's visible pixels; `interpolation`, filled from the mask's border (Telea
            2004, by OpenCV). None for a task without masks.
        reconstruction: `term`, the name of the loss term; `error`, its value; `shuffled`, the factor by which it grows
            when each picture gets another picture's latent poses. None without a decoder or with a single picture.
    """
    # At least two, so that there is another picture to take poses from.
    batch_size = min(max(2, batch_size), len(split), PICTURES)
    batches = max(1, min(len(split), PICTURES) // batch_size)
    # Neighbours in a split are often pictures of one lesion.
    chosen = np.random.default_rng(SEED).permutation(len(split))[: batches * batch_size]
    images = np.stack([split.read(int(index)) for index in chosen])
    # With few batches, compiling without optimisation is faster overall.
    examine = jax.jit(_examination(task, modules), compiler_options={"xla_backend_optimization_level": 0})
    found: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for number in range(batches):
        part = slice(number * batch_size, (number + 1) * batch_size)
        examples = Examples(
            jnp.full(batch_size, -1, jnp.int32), jnp.asarray(split.groups[chosen[part]]),
            jnp.arange(batch_size, dtype=jnp.int32), jnp.ones(batch_size, bool),
        )  # fmt: skip
        key = jax.random.fold_in(jax.random.key(SEED), number)
        for shift, results in ((0, found), (1, others)):
            examined = examine(parameters, key, jnp.asarray(images[part]), examples, jnp.asarray(shift, jnp.int32))
            results.append(jax.device_get(examined))
    metrics, shuffled = (_means([each["metrics"] for each in results]) for results in (found, others))
    gradients, weights = _means([each["gradients"] for each in found]), found[0]["weights"]
    seen = jax.tree.map(lambda *each: np.concatenate(each), *(each["seen"] for each in found))

    term = next((name for name in task.reconstruction if name in metrics and batch_size > 1), None)
    findings: Findings = {
        "pictures": len(chosen),
        "gradient_over_weight": {
            layer: norm / float(weights[layer]) if weights[layer] else None for layer, norm in gradients.items()
        },
        "coupling_entropy": metrics.get("coupling_entropy"),
        "parts": {
            name: _capsules(values["poses"], values["activations"])
            if "activations" in values
            else {"rank": _rank(values["vectors"])}
            for name, values in seen.items()
        },
        "saturation": _saturation(made),
        "masked_pixels": _masked_pixels(made),
        "reconstruction": None
        if term is None
        else {"term": term, "error": metrics[term], "shuffled": shuffled[term] / metrics[term]},
    }
    return findings


def warnings(findings: Findings) -> list[str]:
    """Returns one warning for each finding beyond its threshold."""
    found = []
    for layer, ratio in findings["gradient_over_weight"].items():
        if ratio == 0:
            # Expected if the last phase of a sequence, or the chosen loss terms, do not use the layer.
            found.append(f"{layer}: no loss term reaches it at the end of training")
        elif ratio is not None and ratio < LEAST_GRADIENT:
            found.append(f"{layer}: its gradient is only {ratio:.1e} of its weights, so it hardly learns")
    if (findings["coupling_entropy"] or 0) > MOST_ENTROPY:
        found.append(
            f"The couplings are uniform (entropy {findings['coupling_entropy']:.3f} of 1): routing only averages. This "
            "is usual, and did not cost accuracy in our studies (docs/results/index.md). --routing=uniform gives about "
            "the same, faster; --agreement-scale=10 and --routing=em have sharper couplings "
            "(docs/explanation/routing.md)"
        )
    for name, part in findings["parts"].items():
        for end in ("dead", "saturated"):
            if part.get(end, 0) > MOST_DEAD:
                found.append(f"{_title(name)}: {part[end]:.0%} are {end} for every picture")
        if part["rank"] < LEAST_RANK:
            found.append(f"{_title(name)}: collapsed to {part['rank']:.1%} of the maximum effective rank")
    saturation, reconstruction = findings["saturation"], findings["reconstruction"]
    masked = findings["masked_pixels"]
    if masked is not None and masked["network"] >= masked["mean"]:
        found.append(
            f"The in-painting is no better than the mean of the visible pixels: its error is {masked['network']:.3f}, "
            f"that of the mean {masked['mean']:.3f}"
        )
    if saturation is not None and saturation < LEAST_SATURATION:
        found.append(f"The reconstructions are desaturated: {saturation:.0%} of the pictures' saturation")
    if reconstruction is not None and reconstruction["shuffled"] < LEAST_SHUFFLED:
        found.append(
            f"The decoder hardly uses the capsules: another picture's poses increase the {reconstruction['term']} "
            f"by only {reconstruction['shuffled'] - 1:.1%}"
        )
    return found


def write_diagnosis(folder: Path, findings: Findings) -> None:
    """Writes the findings and the warnings to `diagnosis.json` and logs both."""
    told = warnings(findings)
    replace_text(folder / "diagnosis.json", json.dumps(findings | {"warnings": told}, indent=2) + "\n")
    ratios = ", ".join(
        f"{name} {ratio:.1e}" for name, ratio in findings["gradient_over_weight"].items() if ratio is not None
    )
    log.info("\nDiagnosis on %d held-out pictures (diagnosis.json):", findings["pictures"])
    log.info("  gradient over weight: %s", ratios)
    if findings["coupling_entropy"] is not None:
        log.info("  coupling entropy %.4f", findings["coupling_entropy"])
    for name, part in findings["parts"].items():
        shares = "activity {activity:.2f}, dead {dead:.0%}, saturated {saturated:.0%}, " if "dead" in part else ""
        log.info("  %s: %s", _title(name), (shares + "effective rank {rank:.1%}").format(**part))
    if findings["saturation"] is not None:
        log.info("  saturation of the reconstructions %.2f", findings["saturation"])
    if findings["masked_pixels"] is not None:
        log.info(
            "  error of masked pixels {network:.4f}; filled with the mean {mean:.4f}, by interpolation "
            "{interpolation:.4f}".format(**findings["masked_pixels"])
        )
    if findings["reconstruction"] is not None:
        log.info(
            "  {term} {error:.4f}, with another picture's poses x {shuffled:.2f}".format(**findings["reconstruction"])
        )
    for sentence in told:
        log.warning("Warning: %s", sentence)


class _Tap:
    """Wraps a module: records its output, and passes routed poses on to the picture `shift` places later."""

    def __init__(self, module: Callable[..., Any], shift: Array):
        self.module, self.shift = module, shift
        self.gave: Any = None

    def __call__(self, *inputs: Any) -> Any:
        self.gave = given = self.module(*inputs)
        if isinstance(given, Routed):
            given = given._replace(poses=jnp.roll(given.poses, self.shift, axis=0))
        return given


class _Tapped:
    """A network with some modules replaced."""

    def __init__(self, network: Any, replaced: dict[str, Any]):
        self.network = network
        self.__dict__ |= replaced

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)


def _examination(task: Task, modules: Any) -> Callable[..., dict[str, Any]]:
    """Returns a function (parameters, key, images, examples, shift) -> (metrics of the loss, norms of gradients and
    weights by layer, recorded outputs of the modules)."""

    def loss(parameters: Parameters, views: Any, examples: Examples, shift: Array) -> tuple[Array, dict[str, Any]]:
        network = with_parameters(modules, parameters)
        taps = {
            name: _Tap(each, shift)
            for name in ("encoder", *task.layers)
            if callable(each := getattr(network, name, None))
        }
        # Measure at the end of training: schedules of loss weights are at their last step.
        progress = jnp.ones((), jnp.result_type(*parameters.values()))
        value, metrics = task.loss(_Tapped(network, taps), views, examples, progress, Shard())
        seen = {name: values for name, tap in taps.items() if (values := _values(tap.gave))}
        return value, {"metrics": metrics, "seen": seen}

    def examine(parameters: Parameters, key: Array, images: Array, examples: Examples, shift: Array) -> dict[str, Any]:
        views = jax.vmap(task.views)(jax.random.split(key, len(images)), images)
        (_, found), gradients = jax.value_and_grad(loss, has_aux=True)(parameters, views, examples, shift)
        return {**found, "gradients": norms(gradients, task.layer_of), "weights": norms(parameters, task.layer_of)}

    return examine


def _title(name: str) -> str:
    """The display name of a part of the network; the encoder outputs the primary capsules."""
    return "primary capsules" if name == "encoder" else name.replace("_", " ")


def _values(gave: Any) -> dict[str, Array]:
    """The poses and activations, or the vectors, that a module outputs for each picture; empty for other outputs."""
    if isinstance(gave, Encoded):
        return {"poses": gave.poses, "activations": safe_norm(gave.poses)}
    if isinstance(gave, Routed):
        return {"poses": gave.poses, "activations": gave.activations}
    return {"vectors": gave} if getattr(gave, "ndim", 0) == 2 else {}


def _means(batches: list[dict[str, Any]]) -> dict[str, float]:
    return {name: float(np.mean([batch[name] for batch in batches])) for name in batches[0]}


def _capsules(poses: np.ndarray, activations: np.ndarray) -> dict[str, float]:
    """Measures poses [pictures, capsules, dim] and their activations [pictures, capsules]."""
    # NumPy accumulates bfloat16 in bfloat16.
    activations = activations.astype(np.float64)
    return {
        "activity": float(activations.mean()),
        "dead": float((activations.max(axis=0) < DEAD).mean()),
        "saturated": float((activations.min(axis=0) > SATURATED).mean()),
        "rank": _rank(poses),
    }


def _rank(values: np.ndarray) -> float:
    """exp(entropy of the variance shares) (Roy & Vetterli 2007, on squares), divided by its maximum."""
    flat = values.reshape(len(values), -1).astype(np.float64)
    variances = np.linalg.svd(flat - flat.mean(axis=0), compute_uv=False) ** 2
    most = min(len(flat) - 1, flat.shape[1])
    shares = variances / max(variances.sum(), np.finfo(np.float64).tiny)
    shares = shares[shares > 0]
    return float(np.exp(-np.sum(shares * np.log(shares))) / max(1, most)) if len(shares) else 0.0


def _masked_pixels(made: Mapping[str, Array]) -> dict[str, float] | None:
    """The errors of masked pixels by the network and by trivial fillings; None if the task has no masks."""
    titles = ("picture", "what the encoder sees", "in-painted")
    if not set(titles) <= made.keys():
        return None
    errors: dict[str, list[np.ndarray]] = {"network": [], "mean": [], "interpolation": []}
    for picture, seen, filled in zip(*(np.asarray(made[title], np.float64) for title in titles), strict=True):
        masked = np.any(picture != seen, axis=-1)
        if not masked.any() or masked.all():
            continue
        stored = (255 * picture).round().astype(np.uint8)
        smooth = cv2.inpaint(stored, masked.astype(np.uint8), INPAINT_RADIUS, cv2.INPAINT_TELEA)
        fillings = {
            "network": filled[masked],
            "mean": picture[~masked].mean(axis=0),
            "interpolation": smooth.reshape(picture.shape)[masked] / 255,
        }
        for name, values in fillings.items():
            errors[name].append(np.abs(values - picture[masked]).ravel())
    return {name: float(np.concatenate(each).mean()) for name, each in errors.items()} if errors["mean"] else None


def _saturation(made: Mapping[str, Array]) -> float | None:
    """The saturation of a task's reconstructions; None if it makes none or the pictures are grey."""

    @jax.jit
    def mean_chroma(pictures: Array) -> Array:
        return jnp.mean(jax.vmap(lambda each: chroma(lab_from_rgb(each)[..., 1:]))(pictures))

    if not {"picture", "reconstruction"} <= made.keys() or made["picture"].shape[-1] == 1:
        return None
    mine, theirs = (float(mean_chroma(at_least_float32(made[name]))) for name in ("reconstruction", "picture"))
    return None if theirs < LEAST_CHROMA else mine / theirs
