"""A stem of VGG-16's convolutions: loading of kernels, outputs, and invalid files."""

import dataclasses

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from jaxcaps.errors import UserError
from jaxcaps.models import Encoder
from jaxcaps.models.vgg import CONVOLUTIONS
from jaxcaps.plan.flags import parse_config
from jaxcaps.plan.presets import preset
from jaxcaps.studies.checks import check
from jaxcaps.study import design, parse
from jaxcaps.training.setup import with_vgg_kernels
from jaxcaps.training.state import with_parameters
from tests.command import run
from tests.marks import slow
from tests.networks import random_parameters
from tests.vgg import INDICES, layers_by_loops, vgg_tensors

MODEL = preset("vgg", "finetune").model


def test_the_preset_is_the_first_five_convolutions_and_with_two_more_all_seven():
    assert [(stage.width, stage.pooled) for stage in MODEL.stages] == [(c.width, c.pooled) for c in CONVOLUTIONS[:5]]
    longest = nnx.eval_shape(lambda: Encoder(dataclasses.replace(MODEL, extra_convs=7), 16, nnx.Rngs(0)))
    assert [stage.convolutions[0].out_features for stage in longest.stem] == [each.width for each in CONVOLUTIONS]
    assert [stage.pooled for stage in longest.stem] == [each.pooled for each in CONVOLUTIONS]


@pytest.mark.parametrize("count", [5, *slow(7)])
def test_a_stem_with_vggs_kernels_computes_vgg(vgg_file, count):
    """Equal except at the border, where VGG-16 pads with ImageNet's mean colour and an encoder with mid-grey."""
    shapes = nnx.eval_shape(lambda: Encoder(dataclasses.replace(MODEL, extra_convs=count), 40, nnx.Rngs(0)))
    parameters = {f"encoder/{path}": value for path, value in random_parameters(shapes).items()}
    filled = with_vgg_kernels(parameters, vgg_file, count)
    changed = {path for path in parameters if not np.array_equal(parameters[path], filled[path])}
    assert changed == {path for path in parameters if path.startswith("encoder/stem/")}
    encoder = with_parameters(shapes, {path.removeprefix("encoder/"): value for path, value in filled.items()})
    picture = np.random.default_rng(1).uniform(size=(40, 40, 3)).astype(np.float32)
    made = np.asarray(jax.jit(lambda pictures: encoder(pictures).maps[-1])(picture[None]))[0]
    expected = layers_by_loops(vgg_tensors(), picture)[INDICES[count - 1]]
    assert made.shape == expected.shape
    # Two convolutions and a pooling twice, then one or three more: the padding affects 10 or 18 pixels of 40.
    inner = slice(3, -3) if count == 5 else slice(5, -5)
    np.testing.assert_allclose(made[inner, inner], expected[inner, inner], rtol=2e-3, atol=1e-3)
    assert not np.allclose(made[0], expected[0], rtol=2e-3, atol=1e-3)


@pytest.mark.slow
def test_a_classifier_starts_from_the_kernels(vgg_file, tmp_path, capsys):
    flags = ["--stage=finetune", "--preset=vgg", f"--vgg-weights={vgg_file}", "--image-size=16", "--synthetic-count=60"]
    outcome = run(capsys, *flags, "--epochs=0.5", "--batch-size=8", "--effective-batch=8", f"--out={tmp_path}/run")
    assert outcome.status == 0, outcome.errors
    assert "+ encoder/stem/4/convolutions/0/kernel [3, 3, 128, 256]" in outcome.output


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--preset=demo"], "give --preset=vgg, --extra-convs of 5 to 7"),
        (["--preset=vgg", "--extra-convs=4"], "give --preset=vgg, --extra-convs of 5 to 7"),
        (["--preset=vgg", "--stage=finetune", "--restore=RUN"], "both initialise the stem; give only one"),
    ],
)
def test_a_stem_that_does_not_fit_the_kernels_is_refused(flags, message, tmp_path, vgg_file):
    (tmp_path / "config.yaml").write_text("preset: vgg\n")
    with pytest.raises(UserError, match=message):
        parse_config([*(flag.replace("RUN", str(tmp_path)) for flag in flags), f"--vgg-weights={vgg_file}"])


@pytest.mark.slow
def test_a_study_compares_imagenets_kernels_with_random_ones(vgg_file, tmp_path):
    def study_of(*flags):
        return design(parse(["--preset=vgg", "--seeds=0", *flags]))

    configs = check(study_of("--inits=random,imagenet", f"--vgg-weights={vgg_file}"))
    assert configs["imagenet"].vgg_weights == str(vgg_file)
    assert configs["random"].vgg_weights is None
    with pytest.raises(UserError, match="no arm reads it; add imagenet to --inits"):
        check(study_of("--inits=random", f"--vgg-weights={vgg_file}"))
    with pytest.raises(UserError, match="--inits=imagenet: give --preset=vgg and --vgg-weights=FILE"):
        check(study_of("--inits=imagenet"))
    save_file(vgg_tensors() | {"features.0.bias": np.zeros(63, np.float32)}, tmp_path / "bad.safetensors")
    with pytest.raises(UserError, match=r"bad.safetensors: features.0.bias has shape \[63\]"):
        check(study_of("--inits=imagenet", f"--vgg-weights={tmp_path}/bad.safetensors"))
