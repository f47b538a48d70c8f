"""The losses of tasks, and the encoder's input."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from flax import nnx

from jaxcaps.functional import hidden_pose_loss, margin_loss, nt_xent, spread_loss
from jaxcaps.models import primary_capsules
from jaxcaps.plan.presets import preset
from jaxcaps.tasks import Examples, Shard
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.tasks.classification.capsnet import CapsuleClassification
from jaxcaps.tasks.pretraining.inpaint import FILL, ContrastAndInpainting, Views
from tests.marks import slow
from tests.networks import MODEL, drawn

BATCH = 6


def examples(valid=BATCH, group=range(BATCH), source=range(BATCH)):
    return Examples(
        label=np.arange(BATCH, dtype=np.int32) % 3,
        group=np.array(group, np.int32),
        source=np.array(source, np.int32),
        valid=np.arange(BATCH) < valid,
    )


def images():
    return np.random.default_rng(0).integers(0, 256, (BATCH, 16, 16, 3), np.uint8)


def inpaint_task(**settings):
    config = preset("tiny", "ssl")
    return ContrastAndInpainting(MODEL, config.augmentation, 16, dataclasses.replace(config.inpaint, **settings))


def classify_task(**settings):
    config = preset("tiny", "finetune")
    return CapsuleClassification(MODEL, config.augmentation, 16, dataclasses.replace(config.classify, **settings), 3)


# What views do not depend on, so that tasks that differ in nothing else share their compilation.
OF_THE_LOSS = ("contrast_weight", "inpaint_weight", "loss_weighting", "contrast_on", "projection_input", "ssl_stages",
               "temperature", "loss", "label_smoothing", "reconstruction_weight")  # fmt: skip


def views_of(task):
    default = type(task.options)()
    same = {name: getattr(default, name) for name in OF_THE_LOSS if hasattr(default, name)}
    return computed_views(dataclasses.replace(task, options=dataclasses.replace(task.options, **same)))


@functools.cache
def computed_views(task):
    return jax.jit(jax.vmap(task.views))(jax.random.split(jax.random.key(0), BATCH), images())


@functools.cache
def compiled_loss(task):
    return nnx.jit(lambda modules, views, given, progress: task.loss(modules, views, given, progress, Shard()))


def loss_of(task, modules, views, given=None, progress=0.0):
    return compiled_loss(task)(modules, views, examples() if given is None else given, jnp.float32(progress))


@nnx.jit
def classified(modules, views):
    """The activations of the class capsules and the probabilities of a classifier."""
    return modules(views.image).activations, jax.nn.softmax(modules.outputs(views.image).logits)


def test_the_weights_switch_terms_and_their_heads_off():
    contrast = drawn(inpaint_task(inpaint_weight=0.0))
    inpainting = drawn(inpaint_task(contrast_weight=0.0))
    assert contrast.decoder is None
    assert contrast.projection is not None
    assert inpainting.projection is None
    assert inpainting.decoder is not None


def test_the_joint_loss_is_the_weighted_sum_of_its_terms():
    task = inpaint_task(contrast_weight=2.0, inpaint_weight=3.0)
    loss, metrics = loss_of(task, drawn(task), views_of(task))
    np.testing.assert_allclose(loss, 2 * metrics["nt_xent"] + 3 * metrics["inpainting"], rtol=1e-6)
    assert metrics["loss"] == loss


def test_latent_capsules_do_not_see_hidden_ones_and_learn_to_predict_them():
    plain, task = inpaint_task(), inpaint_task(hidden_capsules=0.5, capsule_weight=2.0, contrast_on="primary")
    views, modules = views_of(task), drawn(task)

    @nnx.jit
    def by_hand(modules, views):
        image, mask, hidden = (jnp.concatenate([each[:, 0], each[:, 1]]) for each in views)
        poses = modules.encoder(jnp.where(mask[..., None], jnp.float32(FILL), image)).poses
        latent = modules.latent_capsules(jnp.where(hidden[..., None], jnp.float32(0), poses))
        predicted = modules.predictor(latent.poses.reshape(2 * BATCH, -1)).reshape(poses.shape)
        return jnp.mean(jax.vmap(hidden_pose_loss)(predicted, poses, hidden))

    # The views are the same as without hidden capsules, and all types at half of the positions are hidden.
    np.testing.assert_allclose(views.image, views_of(plain).image, atol=1e-6)
    np.testing.assert_array_equal(views.mask, views_of(plain).mask)
    places = views.hidden.reshape(BATCH, 2, -1, task.model.primary_types)
    assert (places.any(axis=-1) == places.all(axis=-1)).all()
    np.testing.assert_array_equal(places.all(axis=-1).mean(axis=-1), 0.5)
    loss, metrics = loss_of(task, modules, views)
    weighted = metrics["nt_xent"] + 10 * metrics["inpainting"] + 2 * metrics["capsule_prediction"]
    np.testing.assert_allclose(loss, weighted, rtol=1e-6)
    np.testing.assert_allclose(metrics["capsule_prediction"], by_hand(modules, views), rtol=1e-5)


@pytest.mark.parametrize(
    ("progress", "term"), [(0.0, "nt_xent"), (0.49, "nt_xent"), (0.51, "inpainting"), (1.0, "inpainting")]
)
def test_contrast_then_inpaint_learns_one_after_the_other(progress, term):
    task = inpaint_task(ssl_stages="contrast-then-inpaint", inpaint_weight=1.0)
    loss, metrics = loss_of(task, drawn(task), views_of(task), progress=progress)
    np.testing.assert_allclose(loss, metrics[term], rtol=1e-6)


def test_uncertainties_weight_the_terms_with_the_papers_gradients():
    """Kendall et al. 2018, equation 7 without its halves: L = sum of exp(-s) L_i + s."""
    task = inpaint_task(contrast_weight=2.0, inpaint_weight=3.0, loss_weighting="uncertainty")
    modules, views = drawn(task), views_of(task)
    modules.term_weights.log_uncertainty[...] = jnp.array([0.5, -1.0])

    @nnx.jit
    @nnx.value_and_grad(argnums=nnx.DiffState(0, nnx.PathContains("term_weights")), has_aux=True)
    def step(modules, views, given):
        return task.loss(modules, views, given, jnp.float32(0.0), Shard())

    (loss, metrics), gradients = step(modules, views, examples())
    weighted = np.array([2 * np.exp(-0.5) * metrics["nt_xent"], 3 * np.exp(1.0) * metrics["inpainting"]])
    np.testing.assert_allclose(loss, weighted.sum() + 0.5 - 1.0, rtol=1e-5)
    np.testing.assert_allclose(gradients.term_weights.log_uncertainty[...], 1 - weighted, rtol=1e-4)
    np.testing.assert_allclose(metrics["contrast_weight"], 2 * np.exp(-0.5), rtol=1e-6)
    assert drawn(inpaint_task()).term_weights is None


def test_the_encoder_sees_only_the_masked_picture_skips_included():
    """Regression: with skips, hidden pixels could bypass the mask and reach the decoder."""
    task = dataclasses.replace(inpaint_task(), model=dataclasses.replace(MODEL, decoder_skips=True))
    modules, views = drawn(task), views_of(task)
    hidden = views.mask[..., None]
    other = Views(jnp.where(hidden, 1 - views.image, views.image), views.mask)
    inpainted = nnx.jit(task.inpainted)
    first, second = (inpainted(modules, each.image[:, 0], each.mask[:, 0], None) for each in (views, other))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert np.all(np.asarray(first[0])[np.asarray(views.mask[:, 0])] == FILL)


READ = {
    ("latent", "poses"): lambda encoded, latent: latent.poses,
    ("latent", "activations"): lambda encoded, latent: latent.activations,
    ("primary", "poses"): lambda encoded, latent: encoded.poses,
    ("primary", "activations"): lambda encoded, latent: jnp.linalg.norm(encoded.poses, axis=-1),
}


@pytest.mark.parametrize(
    ("on", "what"),
    [
        ("latent", "poses"),
        ("primary", "activations"),
        *slow(("latent", "activations"), ("primary", "poses")),
    ],
)
def test_the_contrastive_head_reads_the_configured_capsules(on, what):
    task = inpaint_task(inpaint_weight=0.0, temperature=0.5, contrast_on=on, projection_input=what)
    modules, views = drawn(task), views_of(task)

    @nnx.jit
    def by_hand(modules, views):
        embeddings = []
        for view in range(2):
            seen = jnp.where(views.mask[:, view, :, :, None], FILL, views.image[:, view])
            encoded = modules.encoder(seen)
            embeddings.append(modules.projection(READ[on, what](encoded, modules.latent_capsules(encoded.poses))))
        return nt_xent(*embeddings, temperature=0.5)

    _, metrics = loss_of(task, modules, views)
    np.testing.assert_allclose(metrics["nt_xent"], by_hand(modules, views), rtol=1e-5)


def test_with_one_masked_view_only_the_first_is_masked_and_in_painted():
    task = inpaint_task(masked_views="one", contrast_weight=0.0)
    modules, views = drawn(task), views_of(task)
    assert views.mask[:, 0].any(axis=(1, 2)).all()
    assert not views.mask[:, 1].any()
    _, metrics = loss_of(task, modules, views)
    made = nnx.jit(task.inpainted)(modules, views.image[:, 0], views.mask[:, 0], None)[1]
    errors = np.abs(made - views.image[:, 0]).mean(axis=-1)
    hidden = np.asarray(views.mask[:, 0])
    expected = [
        0.9 * error[mask].mean() + 0.1 * error[~mask].mean() for error, mask in zip(errors, hidden, strict=True)
    ]
    np.testing.assert_allclose(metrics["inpainting"], np.mean(expected), rtol=1e-4)


def test_contrast_alone_can_see_both_views_whole():
    views = views_of(inpaint_task(masked_views="none", inpaint_weight=0.0))
    assert not views.mask.any()
    np.testing.assert_array_equal(views.image, views_of(inpaint_task()).image)


SHARED = {
    "a group": {"group": [0, 0, 1, 2, 3, 4]},
    "a picture": {"source": [0, 0, 1, 2, 3, 4]},
}


@pytest.mark.parametrize("shared", SHARED)
def test_pictures_of_one_lesion_and_repeated_pictures_are_not_negatives(shared):
    """False negatives: the views of the first two pictures are not negatives of each other in the loss."""
    task = inpaint_task(inpaint_weight=0.0, masked_views="none", contrast_on="primary")
    modules, views = drawn(task), views_of(task)
    # Equal pictures: as a negative, the second picture would be the hardest possible.
    views = views._replace(image=np.array(views.image))
    views.image[1] = views.image[0]
    _, apart = loss_of(task, modules, views)
    _, together = loss_of(task, modules, views, examples(**SHARED[shared]))

    @nnx.jit
    def by_hand(modules, views):
        flat = views.image.transpose(1, 0, 2, 3, 4).reshape(2 * BATCH, 16, 16, 3)
        embeddings = modules.projection(modules.encoder(flat).poses)
        return embeddings / jnp.linalg.norm(embeddings, axis=1, keepdims=True)

    embeddings = np.asarray(by_hand(modules, views), np.float64)
    scores = np.exp(embeddings @ embeddings.T / task.options.temperature)
    picture = np.arange(2 * BATCH) % BATCH
    losses = []
    for i in range(2 * BATCH):
        others = {int(j) for j in np.flatnonzero(picture != picture[i]) if {int(picture[i]), int(picture[j])} != {0, 1}}
        positive = (i + BATCH) % (2 * BATCH)
        losses.append(-np.log(scores[i, positive] / sum(scores[i, j] for j in others | {positive})))
    np.testing.assert_allclose(together["nt_xent"], np.mean(losses), rtol=1e-4)
    assert together["nt_xent"] < apart["nt_xent"] - 0.05


def test_the_picture_shown_is_made_without_the_hidden_capsules_too():
    task = inpaint_task(hidden_capsules=0.5)
    modules, views = drawn(task), views_of(task)
    pictures = task.pictures(modules, images())
    # The columns of the figure, in this order.
    assert list(pictures) == ["picture", "what the encoder sees", "reconstruction", "in-painted"]
    made, views = pictures["reconstruction"], views_of(task)
    whole = whole_pictures(images(), 16)
    inpainted = nnx.jit(task.inpainted)
    arguments = (modules, whole, views.mask[:, 0])
    np.testing.assert_allclose(made, inpainted(*arguments, views.hidden[:, 0])[1], atol=1e-6)
    assert np.abs(made - inpainted(*arguments, None)[1]).max() > 1e-4


@pytest.mark.parametrize("make", [inpaint_task, classify_task])
def test_padding_does_not_count(make):
    task = make()
    modules, views = drawn(task), views_of(task)
    loss, _ = loss_of(task, modules, views, examples(valid=4))
    poisoned = views._replace(image=np.array(views.image))
    poisoned.image[4:] = 0.9
    other, _ = loss_of(task, modules, poisoned, examples(valid=4))
    np.testing.assert_allclose(loss, other, rtol=1e-6)


@pytest.mark.parametrize("mask", ["blocks", "free-form", "central"])
def test_views_are_two_different_augmentations_with_their_masks(mask):
    views = views_of(inpaint_task(mask=mask))
    assert views.image.shape == (BATCH, 2, 16, 16, 3)
    assert views.mask.shape == (BATCH, 2, 16, 16)
    assert not np.allclose(views.image[:, 0], views.image[:, 1])
    assert np.asarray(views.mask).any(axis=(2, 3)).all()
    assert not np.asarray(views.mask).all(axis=(2, 3)).any()


@pytest.mark.parametrize("make", [inpaint_task, classify_task])
def test_views_have_the_networks_size_whatever_the_data_keeps(make):
    """Views resampled from pictures of the same size would be blurred, so the data stores larger pictures."""
    task = make()
    large = images().repeat(2, axis=1).repeat(2, axis=2)
    views = jax.jit(jax.vmap(task.views))(jax.random.split(jax.random.key(0), BATCH), large)
    assert views.image.shape == views_of(task).image.shape
    np.testing.assert_allclose(whole_pictures(large, 16), whole_pictures(images(), 16), atol=1e-6)


def test_each_classification_loss_is_the_mean_of_the_functional_one():
    views = views_of(classify_task())
    activations, _ = classified(drawn(classify_task()), views)
    labels = examples().label

    @jax.jit
    def losses(activations):
        return {
            "spread": jax.vmap(spread_loss, (0, 0, None))(activations, labels, jnp.float32(0.2)).mean(),
            "margin": jax.vmap(margin_loss)(activations, labels).mean(),
            "cross-entropy": -jax.nn.log_softmax(10 * activations)[np.arange(BATCH), labels].mean(),
        }

    by_hand = losses(activations)
    for name, expected in by_hand.items():
        task = classify_task(loss=name)
        loss, metrics = loss_of(task, drawn(task), views)
        np.testing.assert_allclose(loss, expected, rtol=1e-5, err_msg=name)
        np.testing.assert_allclose(metrics["accuracy"], np.mean(np.argmax(activations, 1) == labels), err_msg=name)


def test_a_smoothed_label_counts_every_class_alike():
    views = views_of(classify_task())
    activations, _ = classified(drawn(classify_task()), views)
    labels = examples().label
    log_probabilities = np.asarray(jax.nn.log_softmax(10 * activations))
    targets = 0.9 * np.eye(3)[labels] + 0.1 / 3
    task = classify_task(loss="cross-entropy", label_smoothing=0.1)
    np.testing.assert_allclose(
        loss_of(task, drawn(task), views)[0], -(targets * log_probabilities).sum(1).mean(), rtol=1e-5
    )
    # The margin loss is linear in the targets too: squared gaps to 0.9, and half of those to 0.1.
    present, absent = np.maximum(0.9 - activations, 0) ** 2, 0.5 * np.maximum(activations - 0.1, 0) ** 2
    task = classify_task(loss="margin", label_smoothing=0.1)
    expected = (targets * present + (1 - targets) * absent).sum(1).mean()
    np.testing.assert_allclose(loss_of(task, drawn(task), views)[0], expected, rtol=1e-5)


def test_dropped_capsules_send_no_vote_and_the_others_are_scaled_up():
    assert views_of(classify_task()).factors is None
    task = classify_task(capsule_dropout=0.25)
    views = views_of(task)
    capsules = primary_capsules(task.model, 16)
    assert views.factors.shape == (BATCH, capsules)
    found = np.unique(views.factors)
    np.testing.assert_allclose(found, [0, 4 / 3], rtol=1e-6)
    many = jax.jit(jax.vmap(lambda key: task.views(key, images()[0]).factors))(jax.random.split(jax.random.key(0), 400))
    assert np.mean(np.asarray(many) == 0) == pytest.approx(0.25, abs=0.02)
    modules = drawn(task)

    @jax.jit
    def poses(images, factors):
        return modules(images, factors).poses, modules(images).poses

    silent, usual = poses(views.image, np.zeros_like(views.factors))
    np.testing.assert_array_equal(silent, np.zeros_like(silent))
    same, usual = poses(views.image, np.ones_like(views.factors))
    np.testing.assert_allclose(same, usual, rtol=1e-6)
    assert loss_of(task, modules, views)[0] != loss_of(task, modules, views._replace(factors=None))[0]


def test_probabilities_are_the_softmax_of_scaled_norms_with_a_learned_scale_for_cross_entropy():
    views = views_of(classify_task())
    for name in ("spread", "margin", "cross-entropy"):
        modules = drawn(classify_task(loss=name))
        activations, probabilities = classified(modules, views)
        np.testing.assert_allclose(probabilities, scipy.special.softmax(10 * activations, axis=-1), rtol=1e-5)
        assert (modules.norm_scale is not None) == (name == "cross-entropy")


def test_the_optional_reconstruction_adds_its_weighted_error():
    task = classify_task(reconstruction_weight=0.5)
    loss, metrics = loss_of(task, drawn(task), views_of(task))
    np.testing.assert_allclose(loss, metrics["classification"] + 0.5 * metrics["reconstruction"], rtol=1e-6)
    assert float(metrics["reconstruction"]) > 0
