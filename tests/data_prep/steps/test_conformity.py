"""What every step of the table promises: every picture goes in, the same bytes come out, and the report tells it."""

import csv
import html
import re
from dataclasses import fields, replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from data_prep.__main__ import parse
from data_prep.bounds import check_bounds
from data_prep.config import Preparation, Steps
from data_prep.images.box import Box
from data_prep.pipeline.prepare import prepare
from data_prep.pipeline.sequence import inspection_key, picture_key
from data_prep.presets import PRESETS
from data_prep.steps import STEPS, in_order
from data_prep.steps.step import Findings, Phase
from tests.data_prep.fields import frame

ALL_ON = Steps(**dict.fromkeys(STEPS, True))
FIELD = Box(10, 20, 110, 150)


def reference(*channels: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 99, (3, 256))[list(channels)]


def run(step, raw, image, findings, histogram=None):
    """The findings and the picture after a step."""
    if step.find is not None:
        findings = step.find(raw, image, findings, ALL_ON)
    if step.fit is not None:
        return findings, step.fit.apply(image, findings, reference(0, 1, 2) if histogram is None else histogram)
    return findings, image if step.apply is None else step.apply(image, findings, ALL_ON)


def alone(name, image, histogram=None):
    """The picture after one step that sees nothing but it."""
    return run(STEPS[name], image, image, Findings(Box(0, 0, *image.shape[:2])), histogram)[1]


def until(name, raw):
    """The findings and the picture before a step, when all steps are on."""
    findings, image = Findings(Box(0, 0, *raw.shape[:2]), modality="WL"), raw
    for step in in_order():
        if step.switch == name:
            break
        findings, image = run(step, raw, image, findings)
    return findings, image


def check(name, image):
    before = image.copy()
    image.setflags(write=False)
    result = alone(name, image)
    assert result.dtype == np.uint8
    assert result.ndim == 3
    assert result.shape == image.shape or STEPS[name].changes_size
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(alone(name, image), result)
    if STEPS[name].apply or STEPS[name].fit:
        assert result.flags.c_contiguous
        assert not np.shares_memory(result, image)


ODD_PICTURES = {
    "black": np.zeros((60, 70, 3), np.uint8),
    "white": np.full((60, 70, 3), 255, np.uint8),
    "one pixel": np.full((1, 1, 3), 130, np.uint8),
    "a row": np.random.default_rng(1).integers(0, 256, (1, 90, 3), dtype=np.uint8),
    "a column": np.random.default_rng(1).integers(0, 256, (90, 1, 3), dtype=np.uint8),
    "a strip": np.random.default_rng(2).integers(0, 256, (4, 3000, 3), dtype=np.uint8),
    "noise": np.random.default_rng(3).integers(0, 256, (97, 61, 3), dtype=np.uint8),
}
PICTURES = st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 255))
)


@pytest.mark.parametrize("picture", ODD_PICTURES)
@pytest.mark.parametrize("name", STEPS)
def test_odd_pictures_are_taken(name, picture):
    check(name, ODD_PICTURES[picture].copy())


@pytest.mark.parametrize("name", STEPS)
@given(image=PICTURES)
def test_a_step_is_a_pure_function_of_the_picture(name, image):
    check(name, image)


@pytest.mark.parametrize("name", STEPS)
@given(grey=arrays(np.uint8, (24, 31), elements=st.integers(0, 255)))
def test_grey_stays_grey(name, grey):
    result = alone(name, np.repeat(grey[..., None], 3, axis=2), reference(0, 0, 0))
    assert np.ptp(result.astype(int), axis=2).max() == 0


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.keeps_outside])
def test_pixels_outside_the_field_of_view_neither_change_nor_count(name):
    findings, image = until(name, frame("octagon", FIELD, height=120, width=160))
    step, view = STEPS[name], findings.view
    assert view is not None
    assert 0 < view.sum() < view.size
    result = run(step, image, image, findings)[1]
    assert (result[view] != image[view]).any()
    np.testing.assert_array_equal(result[~view], image[~view])
    other = np.where(view[..., None], image, 90).astype(np.uint8)
    np.testing.assert_array_equal(run(step, other, other, findings)[1][view], result[view])


def another(value: Any, hint: Any) -> Any:
    """Another value of a field."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) is Literal:
        return next(each for each in get_args(hint) if each != value)
    return hint(value * 0.5)


@pytest.mark.parametrize("name", STEPS)
def test_the_cache_key_changes_with_each_field_unless_the_step_is_off(name):
    step, off = STEPS[name], replace(ALL_ON, **{name: False})
    inspected = step.phase == Phase.BEFORE_FIT or step.fit is not None
    assert (inspection_key(off) != inspection_key(ALL_ON)) == inspected
    assert picture_key(off) != picture_key(ALL_ON)
    hints = get_type_hints(step.options, include_extras=True)
    for field in fields(step.options)[1:]:
        change = {field.name: another(getattr(ALL_ON, field.name), hints[field.name])}
        check_bounds(replace(ALL_ON, **change))
        assert (inspection_key(replace(ALL_ON, **change)) != inspection_key(ALL_ON)) == inspected
        assert picture_key(replace(ALL_ON, **change)) != picture_key(ALL_ON)
        assert picture_key(replace(off, **change)) == picture_key(off)


@pytest.mark.parametrize("name", STEPS)
def test_the_first_flag_turns_the_step_on_and_its_settings_are_flags(name):
    step = STEPS[name]
    assert step.switch == name
    assert getattr(Steps(), name) is False
    for field in fields(step.options):
        value = "" if field.type is bool else f"={getattr(Steps(), field.name)}"
        flag = f"--{field.name.replace('_', '-')}{value}"
        steps = parse(["--source=folder:x", "--out=y", "--preset=plain", flag]).steps
        assert steps == replace(PRESETS["plain"], **({field.name: True} if field.type is bool else {}))


def test_places_are_unique_and_only_steps_before_the_fit_find():
    assert len({(step.phase, step.order) for step in STEPS.values()}) == len(STEPS)
    assert all(step.find is None for step in STEPS.values() if step.phase == Phase.AFTER_FIT)
    assert sum(step.fit is not None for step in STEPS.values()) == 1, "the pipeline fits one reference histogram"


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """The report of a set with all steps on, and of one with all off: text by title of the step."""
    folder = tmp_path_factory.mktemp("reports")
    rows = []
    for number in range(9):
        image = frame("octagon", FIELD, height=120, width=160, seed=number)
        image = image if number % 2 else image[..., ::-1]
        cv2.imwrite(str(folder / f"{number}.png"), image)
        rows.append((f"{number}.png", ("train", "validation", "test")[number % 3], ("WL", "NBI")[number // 3 % 2]))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "split", "modality"), *rows])
    found = []
    for number, steps in enumerate((ALL_ON, Steps())):
        out = folder.parent / f"{folder.name}-{number}"
        prepare(Preparation(f"csv:{folder}/labels.csv", str(out), workers=1, steps=steps), lambda _: None)
        page = html.unescape((out / "report.html").read_text())
        found.append((dict(re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td></tr>", page)), page))
    return found


@pytest.mark.parametrize("name", STEPS)
def test_the_report_tells_what_the_step_did(name, reports):
    step = STEPS[name]
    (on, page), (off, _) = reports
    assert on[step.title] not in ("", "off")
    assert off[step.title] == "off"
    shown = f"<figcaption>{step.title}</figcaption>" in page
    assert shown == (step.apply is not None or step.fit is not None)
