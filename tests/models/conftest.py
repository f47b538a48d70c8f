import pytest
from safetensors.numpy import save_file

from tests.vgg import vgg_tensors


@pytest.fixture(scope="session")
def vgg_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("vgg") / "vgg16.safetensors"
    save_file(vgg_tensors(), file)
    return file
