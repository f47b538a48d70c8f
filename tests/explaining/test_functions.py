"""What `jaxcaps.explain` says of one picture, against the network itself."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.special import softmax

import jaxcaps
from jaxcaps.errors import UserError
from jaxcaps.explaining.drawing import overlay
from tests.explaining.conftest import config
from tests.inference.build import write_run

SIZE = 16


@pytest.fixture(scope="module")
def model(run):
    return jaxcaps.explain.load(run)


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)


@pytest.fixture(scope="module")
def explanation(model, picture):
    return jaxcaps.explain.explain_picture(model, picture, shown=2)


def test_the_scores_are_the_probabilities_of_predict(model, picture, explanation):
    np.testing.assert_allclose(explanation.scores, model.predict_proba(picture)[0], atol=1e-5)
    assert explanation.names == tuple(model.classes_)
    assert explanation.shown == tuple(np.argsort(-explanation.scores, kind="stable")[:2])
    np.testing.assert_array_equal(explanation.image, model.preprocess(picture)[0])


def test_the_first_couplings_are_even_and_sum_up_the_activations_of_a_place(model, picture, explanation):
    couplings, classes = explanation.couplings, len(model.classes_)
    assert couplings.assigned.shape == couplings.contributions.shape == (3, classes, SIZE, SIZE)
    assert couplings.entropy[0] == pytest.approx(1, abs=1e-5)
    norms = np.linalg.norm(np.asarray(model.encoder(model.preprocess(picture)).poses)[0], axis=-1)
    primary = model.encoder.primary
    places = norms.reshape(-1, primary.types).sum(axis=1).reshape(2, 2) / classes
    corners = couplings.assigned[0][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    np.testing.assert_allclose(corners, np.broadcast_to(places.ravel(), (classes, 4)), rtol=1e-5)
    # Whatever the iteration, a place gives away what it has.
    np.testing.assert_allclose(couplings.assigned.sum(axis=1)[2], couplings.assigned.sum(axis=1)[0], rtol=1e-4)


def test_the_last_iteration_is_that_of_the_network(model, picture, explanation):
    activations = explanation.couplings.activations
    assert np.argmax(activations[-1]) == explanation.shown[0]
    logits = activations[-1] * model.norm_scale / model.calibration.temperature
    np.testing.assert_allclose(softmax(logits), explanation.scores, atol=1e-5)
    chosen = list(explanation.shown)
    np.testing.assert_array_equal(explanation.maps["couplings"], explanation.couplings.assigned[-1, chosen])
    np.testing.assert_array_equal(explanation.maps["votes"], explanation.couplings.contributions[-1, chosen])


def test_every_map_has_curves_between_the_picture_and_the_blurred_one(explanation):
    erasures = explanation.erasures
    assert list(erasures) == [*explanation.maps, "random"]
    whole = explanation.scores[list(explanation.shown)]
    blurred = erasures["random"].insertion[:, 0]
    for kind, each in erasures.items():
        assert each.deletion.shape == each.insertion.shape == (2, 21), kind
        np.testing.assert_allclose(each.deletion[:, 0], whole, atol=1e-5)
        np.testing.assert_allclose(each.insertion[:, -1], whole, atol=1e-5)
        np.testing.assert_allclose(each.deletion[:, -1], blurred, atol=1e-5)
        assert ((each.deletion_area >= 0) & (each.deletion_area <= 1)).all()
    for kind, maps in explanation.maps.items():
        assert maps.shape == (2, SIZE, SIZE), kind
        assert np.isfinite(maps).all()


def test_single_functions_agree_with_the_whole_explanation(model, picture, explanation):
    names, shown, maps = explanation.names, explanation.shown, explanation.maps
    np.testing.assert_allclose(jaxcaps.explain.gradient_map(model, picture), maps["smooth gradient"][0])
    second = jaxcaps.explain.gradient_map(model, picture, names[shown[1]], method="integrated")
    np.testing.assert_allclose(second, maps["integrated gradient"][1])
    occluded = jaxcaps.explain.occlusion_maps(model, picture)[shown[1]]
    np.testing.assert_allclose(occluded, maps["occlusion"][1])
    erasure = jaxcaps.explain.deletion_insertion(model, picture, occluded, shown[1])
    np.testing.assert_allclose(erasure.insertion, explanation.erasures["occlusion"].insertion[1], atol=1e-6)
    assert erasure.insertion_area == pytest.approx(np.trapezoid(erasure.insertion, dx=1 / 20))
    couplings = jaxcaps.explain.coupling_maps(model, picture)
    np.testing.assert_array_equal(couplings.assigned, explanation.couplings.assigned)


def test_the_middle_frame_is_the_reconstruction(model, picture, explanation):
    best = explanation.shown[0]
    moved = jaxcaps.explain.perturb(model, picture)
    assert (list(explanation.frames), moved.capsule) == ([best], best)
    assert moved.frames.shape == (16, 11, SIZE, SIZE, 3)
    np.testing.assert_allclose(moved.offsets, np.linspace(-0.25, 0.25, 11), atol=1e-6)
    # All dimensions start from one picture, and change it.
    np.testing.assert_allclose(moved.frames[:, 5], np.broadcast_to(moved.frames[:1, 5], moved.frames[:, 5].shape))
    assert np.abs(moved.frames[:, 10] - moved.frames[:, 0]).max() > 0
    assert np.linalg.norm(moved.pose) == pytest.approx(explanation.couplings.activations[-1, best], rel=1e-4)
    image = np.asarray(explanation.image)
    error = np.mean((moved.frames[0, 5] - image) ** 2)
    # Outputs.errors is the error of the same reconstruction.
    own = model._all(model._classified, picture).errors[0]
    assert error == pytest.approx(own, rel=1e-4)


def test_a_pose_is_decoded(model, picture, explanation):
    poses = jaxcaps.explain.capsule_poses(model, picture)
    moved = explanation.frames[explanation.shown[0]]
    np.testing.assert_array_equal(poses[moved.capsule], moved.pose)
    pose = moved.pose + 0.25 * np.eye(16, dtype=np.float32)[3]
    np.testing.assert_allclose(jaxcaps.explain.decode(model, picture, pose), moved.frames[3, -1], atol=1e-6)
    other = jaxcaps.explain.decode(model, picture, pose, explanation.names[explanation.shown[1]])
    assert np.abs(other - moved.frames[3, -1]).max() > 1e-3


def test_overlays_are_those_of_the_maps(model, picture, explanation):
    found = jaxcaps.explain.overlay_images(model, picture, kinds=("votes", "occlusion"))
    assert list(found) == ["votes", "occlusion"]
    for kind, drawn in found.items():
        values = explanation.maps[kind][0]
        expected = overlay(explanation.image, values, np.quantile(np.abs(values), 0.99), signed=True)
        np.testing.assert_array_equal(drawn, expected)


def test_a_second_picture_compiles_nothing(model, picture, explanation):
    from jaxcaps.explaining import attributions, capsules, couplings, perturbation, subject

    programs = [
        attributions._gradients, capsules._routed, couplings._coupled, perturbation._decoded, subject._probabilities,
    ]  # fmt: skip
    before = [each._cache_size() for each in programs]
    jaxcaps.explain.explain_picture(model, picture[::-1, :20], shown=2)
    assert [each._cache_size() for each in programs] == before


def test_wrong_arguments_are_refused_with_words(model, picture):
    explain = jaxcaps.explain
    for call, message in (
        (lambda: explain.gradient_map(model, picture, "polpy"), "'polpy' is not a class"),
        (lambda: explain.gradient_map(model, picture, 99), "99 is not the index"),
        (lambda: explain.gradient_map(model, picture, method="grad"), "method='grad'"),
        (lambda: explain.gradient_map(model, picture, samples=0), "samples=0"),
        (lambda: explain.occlusion_maps(model, picture, patch=40), "patch=40"),
        (lambda: explain.occlusion_maps(model, picture, filling="black"), "filling='black'"),
        (lambda: explain.deletion_insertion(model, picture, np.zeros((5, 5))), r"maps of shape \[5, 5\]"),
        (lambda: explain.perturb(model, picture, steps=4), "an odd number"),
        (lambda: explain.decode(model, picture, np.zeros(3)), r"a pose of shape \[3\]: \[16\] expected"),
        (
            lambda: explain.overlay_images(model, picture, kinds=["vote"]),
            "'vote' is not a map .* choose from couplings",
        ),
        (lambda: explain.coupling_maps(model, np.stack([picture, picture])), "2 pictures were given"),
        (lambda: explain.load("pretrained:busi-demo"), "an encoder has no classes and no decoder"),
        (lambda: explain.coupling_maps(jaxcaps.load("pretrained:busi-demo"), picture), "an encoder has no classes"),
    ):
        with pytest.raises(UserError, match=message):
            call()


@pytest.mark.slow
def test_a_network_without_capsules_has_gradients_and_occlusion_alone(tmp_path, picture):
    write_run(config(tmp_path / "run", "--architecture=convnet"), tmp_path / "run")
    model = jaxcaps.explain.load(tmp_path / "run")
    found = jaxcaps.explain.explain_picture(model, picture)
    assert found.couplings is None
    assert list(found.maps) == ["smooth gradient", "integrated gradient", "occlusion"]
    assert found.frames == {}
    for function in (jaxcaps.explain.coupling_maps, jaxcaps.explain.perturb):
        with pytest.raises(UserError, match="a convolutional network without capsules"):
            function(model, picture)


@pytest.mark.slow
@pytest.mark.parametrize(
    "routing",
    ["em", "detached-dynamic", "heinsen", "inverted-attention", "leaky-dynamic", "self-attention", "self-routing",
     "uniform", "variational"],
)  # fmt: skip
def test_every_routing_has_coupling_maps(tmp_path, picture, routing):
    write_run(config(tmp_path / "run", f"--routing={routing}"), tmp_path / "run")
    model = jaxcaps.explain.load(tmp_path / "run")
    found = jaxcaps.explain.coupling_maps(model, picture)
    assert len(found.assigned) == (1 if routing in ("self-attention", "self-routing", "uniform") else 3)
    assert all(np.isfinite(each).all() for each in found)
    scores = found.activations[-1] * model.norm_scale / model.calibration.temperature
    np.testing.assert_allclose(softmax(scores), model.predict_proba(picture)[0], atol=1e-4)
    with pytest.raises(UserError, match="--reconstruction-weight"):
        jaxcaps.explain.perturb(model, picture)


@pytest.mark.slow
def test_the_code_of_the_how_to_page_runs(run, model, picture, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    Path("runs/mine").symlink_to(run)
    Image.fromarray(picture).save("picture.png")
    page = Path(__file__).parents[2] / "docs/how-to/explain.md"
    (block,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    exec(block.replace("malignant", model.classes_[0]), {})


@pytest.mark.slow
def test_an_unfinished_run_is_refused(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    with pytest.raises(UserError, match="has not finished"):
        jaxcaps.explain.load(tmp_path / "run")
