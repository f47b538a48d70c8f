"""The steps of a finished preparation, applied to pictures that it has not seen: as if it had."""

import json
from dataclasses import replace

import cv2
import pytest

from data_prep.config import Preparation
from data_prep.errors import UserError
from data_prep.images.decoding import decode
from data_prep.pipeline.applying import FittedSteps, read_fitted_steps
from data_prep.pipeline.prepare import prepare
from data_prep.presets import PRESETS
from data_prep.synthetic import describe, draw


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twelve frames, prepared by all steps of the study, half of them in narrow band."""
    folder = tmp_path_factory.mktemp("frames")
    (folder / "raw").mkdir()
    for index, _ in enumerate(describe(12, 0)):
        image = draw(index, count=12, seed=0, size=96).image
        # Narrow band has little red.
        image = image[..., [2, 1, 0]] if index % 2 else image
        cv2.imwrite(str(folder / "raw" / f"{index:02d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    steps = replace(PRESETS["endoscopy"], size=64)
    prepare(Preparation(f"folder:{folder}/raw", str(folder / "out"), workers=1, steps=steps), lambda _: None)
    return folder


def test_a_raw_picture_becomes_the_prepared_one_to_the_last_bit(prepared):
    found = read_fitted_steps(prepared / "out")
    assert found.reference is not None
    steps = FittedSteps.from_dict(json.loads(json.dumps(found.to_dict())))
    assert steps == found
    steps.check()
    files = sorted((prepared / "out" / "images").glob("*.png"))
    assert len(files) > 5
    for file in files:
        raw = decode((prepared / "raw" / file.name).read_bytes())
        assert (steps.apply(raw) == decode(file.read_bytes())).all(), file.name


def test_what_cannot_be_applied_is_refused(prepared, tmp_path):
    found = read_fitted_steps(prepared / "out")
    assert read_fitted_steps(tmp_path) is None
    with pytest.raises(UserError, match="matched by the modality that a table named"):
        replace(found, steps=replace(found.steps, guess_modality=False)).check()
    with pytest.raises(UserError, match=r"have changed since \(version 0, now"):
        replace(found, version=0).check()
    for text in ("nothing: here\n", "[", "steps: {wrong: 1}\nfitted: {reference_histogram: null}\nsteps_version: 1\n"):
        (tmp_path / "dataset.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="was not written by this version of data_prep"):
            read_fitted_steps(tmp_path)
