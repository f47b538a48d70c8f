import re

import numpy as np
import pytest

from jaxcaps.errors import UserError
from tests.data.sources.sample import Sample, open_spec

SAMPLE = Sample(lambda folder, pictures: "synthetic", exact=False)


def test_the_built_in_set_is_the_same_for_the_same_seed():
    first, second, other = open_spec("synthetic"), open_spec("synthetic"), open_spec("synthetic", seed=1)
    assert len(first.items) == 60
    assert first.items == second.items
    assert not {item.name for item in first.items} & {item.name for item in other.items}
    assert first.read(5).shape == (16, 16, 3)
    np.testing.assert_array_equal(first.read(5), second.read(5))
    assert len({item.label for item in first.items}) == 3
    assert all(item.group and item.split is None for item in first.items)


def test_too_small_a_built_in_set_is_refused():
    with pytest.raises(UserError, match=re.escape("--synthetic-count=0: give a number of at least 1")):
        open_spec("synthetic", count=0)
