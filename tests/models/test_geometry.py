"""Sizes of feature maps, against those of the reference study and the rule for more or fewer stages."""

import dataclasses

import pytest

from data_prep.bounds import check_bounds
from jaxcaps.errors import UserError
from jaxcaps.models import geometry
from jaxcaps.plan.presets import PRESETS, preset


def test_paper224_has_the_studys_feature_maps():
    shape = geometry(preset("paper224", "ssl").model, 224)
    assert shape.maps == ((224, 3), (216, 64), (212, 128), (106, 128), (102, 128), (50, 256))
    assert shape.grid == 24


def test_paper224s_decoder_goes_back_through_the_studys_sizes_with_skips_at_102_212_and_216():
    shape = geometry(preset("paper224", "ssl").model, 224)
    visited = [shape.maps[stage.stage] for stage in shape.decoder]
    assert visited == [(50, 256), (102, 128), (212, 128), (216, 64), (224, 3)]
    assert [shape.maps[stage.stage][0] for stage in shape.decoder if stage.skip] == [102, 212, 216]


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("extra_convs", range(3, 8))
def test_the_capsule_grid_is_the_same_for_three_to_seven_convolutions(name, extra_convs):
    config = preset(name, "ssl")
    model = dataclasses.replace(config.model, extra_convs=extra_convs)
    shape = geometry(model, config.data.image_size)
    assert len(shape.stages) == extra_convs
    assert shape.grid == geometry(config.model, config.data.image_size).grid


def test_added_stages_are_three_by_three_stride_one_at_the_last_width():
    config = preset("paper224", "ssl")
    shape = geometry(dataclasses.replace(config.model, extra_convs=7), 224)
    assert [(stage.width, stage.kernel, stage.stride, stage.padding) for stage in shape.stages[5:]] == [
        (256, 3, 1, 1)
    ] * 2


@pytest.mark.parametrize("extra_convs", [2, 8])
def test_a_number_of_stages_outside_three_to_seven_is_refused(extra_convs):
    model = dataclasses.replace(preset("tiny", "ssl").model, extra_convs=extra_convs)
    with pytest.raises(UserError, match=f"--extra-convs={extra_convs}.*at least 3 and at most 7"):
        check_bounds(model)


def test_a_picture_too_small_for_the_stem_is_refused():
    with pytest.raises(UserError, match="--image-size=30 is too small"):
        geometry(preset("paper224", "ssl").model, 30)
