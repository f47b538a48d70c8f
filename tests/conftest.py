"""Every test runs on 8 virtual CPU devices, under strict dtype and rank promotion, with warnings as errors."""

import gc
import os
from pathlib import Path

from tests.compilation import flags

TESTS = Path(__file__).parent

# JAX_PLATFORMS=cuda,cpu runs the tests of functions and layers on a GPU instead.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if os.environ["JAX_PLATFORMS"] == "cpu":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags(devices=8)}"

# Worker and child processes share what one has compiled, and so does the next session, until `pytest --cache-clear`.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(TESTS.parent / ".pytest_cache" / "d" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

# Writing the source location of each operation into a program takes a seventh of the time to compile it.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")

import jax
import jaxtyping
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# Compilation makes the first example slow, and shared machines make any deadline flaky.
settings.register_profile("jaxcaps", deadline=None, max_examples=25, derandomize=True)
settings.load_profile("jaxcaps")


# Files of few tests that take long: begun last, one of them would leave the other worker idle.
FIRST = ("test_main_job", "test_hosts", "test_step", "test_command", "test_examples", "test_colourise_runs")


def pytest_collection_modifyitems(items):
    # In the order above, then all others as they come.
    items.sort(key=lambda item: FIRST.index(item.path.stem) if item.path.stem in FIRST else len(FIRST))


def pytest_collection_finish():
    # What has been imported stays. Garbage collection would look through it again and again while JAX traces.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def forms(request):
    """Chooses what the pure functions are: as they are tested, or as they compile the soonest.

    Their own tests, those of the layers and slow tests take the forms that are tuned to a CPU, and check the shape and
    dtype of every argument. Other tests, of what is built on them, take the plain forms without these checks: a third
    of the time to compile, and a tenth less to trace.
    """
    own = "functional" in request.path.relative_to(TESTS).parts or request.path.stem == "test_layers"
    slow = any(item.path == request.path and item.get_closest_marker("slow") for item in request.session.items)
    with pytest.MonkeyPatch.context() as patch:
        if not own and not slow:
            patch.setenv("JAXCAPS_CPU_KERNELS", "0")
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield


@pytest.fixture
def no_type_checks(monkeypatch):
    """Calls as users make them: the tests' import hook would refuse bad arrays before the library's own checks do."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def shared_data():
    """The folder of real images, or a skip where it is absent."""
    folder = Path(os.environ.get("JAXCAPS_SHARED_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real images not found at {folder}; set JAXCAPS_SHARED_DATA to their folder")
    return folder
