import pytest

from jaxcaps.plan.flags import parse_config
from tests.inference.build import write_run


def config(folder, *more):
    return parse_config(
        ["--stage=finetune", "--preset=tiny", "--extra-convs=3", "--batch-size=8", "--effective-batch=8",
         *more, f"--out={folder}"]
    )  # fmt: skip


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run with a decoder."""
    folder = tmp_path_factory.mktemp("explain") / "run"
    write_run(config(folder, "--reconstruction-weight=0.1"), folder)
    return folder
