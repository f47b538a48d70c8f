"""A finished run that the tests of exports share."""

import pytest

from tests.exporting.build import write_classifier


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with a fine-tuned run, `run`, and its data, `set.npz`."""
    folder = tmp_path_factory.mktemp("exporting")
    write_classifier(folder)
    return folder
