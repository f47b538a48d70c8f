"""Losses: of one example's class activations, of a reconstructed picture, and NT-Xent over a batch of pairs.

All are computed and returned in at least float32.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, Integer

from jaxcaps.functional.precision import at_least_float32
from jaxcaps.functional.squash import safe_norm

Scalar = Float[Array, ""] | float
Label = Integer[Array, ""] | int


def _is_label(label: Label, classes: int) -> Bool[Array, "classes"]:
    return jnp.arange(classes) == jnp.asarray(label, int)


def margin_loss(
    activations: Float[Array, "classes"],
    label: Label,
    *,
    positive_margin: float = 0.9,
    negative_margin: float = 0.1,
    negative_weight: float = 0.5,
) -> Float[Array, ""]:
    """Margin loss (Sabour et al. 2017, equation 4), summed over the classes.

    max(0, positive_margin - a_t)^2 + negative_weight * sum over k != t of max(0, a_k - negative_margin)^2.

    Args:
        activations: norms of the class capsules, in [0, 1].
        label: the class t.
        positive_margin, negative_margin, negative_weight: m+, m- and lambda of the paper.
    """
    wide = at_least_float32(activations)
    present = jnp.square(jnp.maximum(positive_margin - wide, 0))
    absent = negative_weight * jnp.square(jnp.maximum(wide - negative_margin, 0))
    return jnp.sum(jnp.where(_is_label(label, wide.size), present, absent))


def smoothed_loss(
    loss: Callable[[Label], Float[Array, ""]], label: Label, *, classes: int, smoothing: float
) -> Float[Array, ""]:
    """A loss whose label is smoothed (Szegedy et al. 2016, section 7): with probability `smoothing` it is any class.

    Args:
        loss: of one example, by its label.
        label: the class given.
        classes: how many there are.
        smoothing: in [0, 1); 0 is the loss of the label alone.
    """
    given = loss(label)
    if not smoothing:
        return given
    return (1 - smoothing) * given + smoothing * jnp.mean(jax.vmap(loss)(jnp.arange(classes)))


def spread_loss(activations: Float[Array, "classes"], label: Label, margin: Scalar) -> Float[Array, ""]:
    """Spread loss (Hinton et al. 2018, equation 3): sum over k != t of max(0, margin - (a_t - a_k))^2.

    The target's own term, a constant margin^2, is left out.

    Args:
        activations: of the class capsules, in [0, 1].
        label: the class t.
        margin: how far the target must stand above every other class; see `spread_margin`.
    """
    wide = at_least_float32(activations)
    target = _is_label(label, wide.size)
    gaps = jnp.sum(jnp.where(target, wide, 0)) - wide
    terms = jnp.square(jnp.maximum(jnp.asarray(margin, wide.dtype) - gaps, 0))
    return jnp.sum(jnp.where(target, 0, terms))


def spread_margin(progress: Scalar, *, start: float = 0.2, end: float = 0.9) -> Float[Array, ""]:
    """The margin of the spread loss, growing linearly from `start` to `end` over the training.

    Hinton et al. 2018 write of a linear growth from 0.2 to 0.9; their code has 0.2 + 0.79 sigmoid(min(10, step / 50000
    - 4)), which stays below 0.22 for the first 10,000 steps whatever the length of training. Tied to the fraction of
    the training done, a short run sees the whole schedule too.

    Args:
        progress: fraction of the training done; clipped to [0, 1].
        start, end: the first and the last margin.
    """
    return start + (end - start) * jnp.clip(progress, 0.0, 1.0)


def _anchor_loss(
    anchor: Float[Array, "dim"],
    candidates: Float[Array, "candidates dim"],
    positive: Int[Array, ""],
    compared: Bool[Array, "candidates"],
    temperature: Scalar,
) -> Float[Array, ""]:
    """Cross-entropy of finding the positive among the compared candidates (the positive must be one of them)."""
    similarities = jnp.matmul(candidates, anchor, precision=lax.Precision.HIGHEST)
    logits = similarities / jnp.asarray(temperature, similarities.dtype)
    return jax.nn.logsumexp(logits, where=compared) - logits[positive]


def nt_xent_per_anchor(
    z_a: Float[Array, "n dim"],
    z_b: Float[Array, "n dim"],
    *,
    temperature: Scalar,
    groups: Integer[Array, "n"] | None = None,
    sources: Integer[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
) -> Float[Array, "two_n"]:
    """NT-Xent (Chen et al. 2020, equation 1) of each of the 2n views of n examples, the views of `z_a` first.

    A view's positive is the other view of its example, and all other views are its negatives, except for likely false
    negatives: views of the same group (a lesion, a patient), and views of another draw of the same source
    image (sampling with replacement makes them). The positive itself always counts.

    Args:
        z_a, z_b: embeddings of the two views, of any length: they are L2-normalised here. A zero vector stays zero.
        temperature: divides the cosine similarities.
        groups: an example's group; negative where it has none.
        sources: which image an example was drawn from.
        valid: False for padding, whose views contribute 0 and are nobody's negatives, whatever they hold.

    Returns:
        The loss of each view [2n]. A view without negatives has loss 0.
    """
    n = z_a.shape[0]
    kept = jnp.ones(n, bool) if valid is None else valid
    views = at_least_float32(jnp.concatenate([z_a, z_b]))
    kept_views = jnp.tile(kept, 2)
    # Zeroed first, padding can't bring NaN into values or gradients.
    views = jnp.where(kept_views[:, None], views, 0)
    norms = safe_norm(views, keepdims=True)
    views = views / jnp.where(norms > 0, norms, 1)

    # Of two examples: may a view of one be a negative for a view of the other?
    opposed = jnp.broadcast_to(kept, (n, n))
    if groups is not None:
        opposed &= (groups[:, None] != groups[None, :]) | (groups[:, None] < 0)
    if sources is not None:
        opposed &= sources[:, None] != sources[None, :]
    opposed &= ~jnp.eye(n, dtype=bool)
    positives = jnp.roll(jnp.arange(2 * n), n)  # (i + n) mod 2n
    compared = jnp.tile(opposed, (2, 2)) | jax.nn.one_hot(positives, 2 * n, dtype=bool)

    losses = jax.vmap(_anchor_loss, in_axes=(0, None, 0, 0, None))(views, views, positives, compared, temperature)
    return jnp.where(kept_views, losses, 0)


def nt_xent(
    z_a: Float[Array, "n dim"],
    z_b: Float[Array, "n dim"],
    *,
    temperature: Scalar,
    groups: Integer[Array, "n"] | None = None,
    sources: Integer[Array, "n"] | None = None,
    valid: Bool[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """The mean of `nt_xent_per_anchor` over the views of valid examples; 0 where there are none."""
    losses = nt_xent_per_anchor(z_a, z_b, temperature=temperature, groups=groups, sources=sources, valid=valid)
    anchors = losses.size if valid is None else jnp.maximum(2 * jnp.sum(valid), 1).astype(losses.dtype)
    return jnp.sum(losses) / anchors


def _share_hidden_and_visible(
    errors: Float[Array, "height width channels"], hidden: Bool[Array, "height width"], visible_share: float
) -> Float[Array, ""]:
    errors = jnp.mean(errors, axis=-1)

    def mean_over(pixels: Bool[Array, "height width"]) -> Float[Array, ""]:
        return jnp.sum(jnp.where(pixels, errors, 0)) / jnp.maximum(jnp.sum(pixels), 1).astype(errors.dtype)

    return (1 - visible_share) * mean_over(hidden) + visible_share * mean_over(~hidden)


def hidden_pose_loss(
    prediction: Float[Array, "capsules dim"], poses: Float[Array, "capsules dim"], hidden: Bool[Array, "capsules"]
) -> Float[Array, ""]:
    """How far predicted poses of hidden capsules point from the true ones: the mean of 1 - cosine, in [0, 2].

    The mean over no capsules is 0; a pose of norm 0 has cosine 0. If only the prediction should
    learn, stop the gradient of the poses.

    Args:
        prediction, poses: of all capsules, in the same dtype; the norm of a prediction does not matter.
        hidden: True for those that count.
    """
    prediction, poses = at_least_float32(prediction), at_least_float32(poses)
    norms = safe_norm(prediction) * safe_norm(poses)
    pointing = norms > 0
    cosines = jnp.where(pointing, jnp.sum(prediction * poses, axis=-1) / jnp.where(pointing, norms, 1), 0)
    counted = hidden.astype(cosines.dtype)
    return jnp.sum((1 - cosines) * counted) / jnp.maximum(jnp.sum(counted), 1)


def masked_l1(
    prediction: Float[Array, "height width channels"],
    target: Float[Array, "height width channels"],
    hidden: Bool[Array, "height width"],
    *,
    visible_share: float = 0.1,
) -> Float[Array, ""]:
    """In-painting loss with absolute differences.

    (1 - visible_share) * mean over the hidden pixels + visible_share * mean over the visible ones, as Pathak et al.
    2016 weigh the hidden region against the rest. The two are means, so the size of the hidden region changes neither's
    weight; the mean over no pixels is 0.

    Args:
        prediction, target: pictures in the same dtype.
        hidden: True where the encoder could not see the picture.
        visible_share: weight of the visible pixels, in [0, 1].
    """
    return _share_hidden_and_visible(
        jnp.abs(at_least_float32(prediction) - at_least_float32(target)), hidden, visible_share
    )


def masked_l2(
    prediction: Float[Array, "height width channels"],
    target: Float[Array, "height width channels"],
    hidden: Bool[Array, "height width"],
    *,
    visible_share: float = 0.1,
) -> Float[Array, ""]:
    """In-painting loss with squared differences (Pathak et al. 2016); otherwise as `masked_l1`."""
    return _share_hidden_and_visible(
        jnp.square(at_least_float32(prediction) - at_least_float32(target)), hidden, visible_share
    )


def perceptual_loss(
    features: Sequence[Float[Array, "_ _ _"]], target: Sequence[Float[Array, "_ _ _"]]
) -> Float[Array, ""]:
    """Feature reconstruction loss (Johnson et al. 2016, equation 2): the mean squared difference, layer by layer.

    Args:
        features: a fixed network's maps [height, width, channels] of the generated picture, one for each layer.
        target: those of the true picture.

    Returns:
        The mean over the layers, which all count the same, whatever their size.
    """
    errors = [
        jnp.mean(jnp.square(at_least_float32(mine) - at_least_float32(theirs)))
        for mine, theirs in zip(features, target, strict=True)
    ]
    return jnp.mean(jnp.stack(errors))


def select_capsule(poses: Float[Array, "classes dim"], label: Label) -> Float[Array, "classes dim"]:
    """Zeroes all poses but the labelled class's, for the decoder to read (Sabour et al. 2017, section 4.1)."""
    return jnp.where(_is_label(label, poses.shape[0])[:, None], poses, 0)


def longest_capsule(poses: Float[Array, "classes dim"]) -> Float[Array, "classes dim"]:
    """Zeroes all poses but the longest, for the decoder to read where the label is not known."""
    return select_capsule(poses, jnp.argmax(safe_norm(poses)))
