"""Records what the published PyTorch networks make of `drawing`'s parameters and pictures, for test_convert.py.

    python -m tests.converting.record FOLDER

FOLDER holds a clone of each repository. It needs PyTorch, and no GPU: `cuda()` is made to do nothing.
"""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from tests.converting.drawing import EVERY, LABEL, SHAPES, parameters, pictures

# The folder of each clone, the module of the network, its class, and its arguments.
NETWORKS = {
    "gram-ai": ("capsule-networks", "capsule_network", "CapsuleNet", ()),
    "jindong-wang": ("Pytorch-CapsuleNet", "capsnet", "CapsNet", ()),
    "xifeng-guo": ("CapsNet-Pytorch", "capsulenet", "CapsuleNet", ([1, 28, 28], 10, 3)),
}


def main(clones: Path) -> None:
    torch.Tensor.cuda = lambda self, *_: self
    torchvision = ModuleType("torchvision")
    torchvision.transforms = torchvision.datasets = None
    sys.modules["torchvision"] = torchvision
    records = {}
    for name, (folder, module, network, arguments) in NETWORKS.items():
        sys.path.insert(0, str(clones / folder))
        published = importlib.import_module(module)
        # Some import it only when they are run as scripts.
        published.Variable = torch.autograd.Variable
        model = getattr(published, network)(*arguments)
        model.load_state_dict({key: torch.from_numpy(each) for key, each in parameters(SHAPES[name]).items()})
        poses, made = zip(*(forward(model, name, picture) for picture in pictures(2)), strict=True)
        commit = subprocess.run(
            ["git", "-C", str(clones / folder), "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        records[name] = {"commit": commit.stdout.strip(), "torch": torch.__version__, "poses": poses, "pixels": made}
    path = Path(__file__).parent / "published.json"
    path.write_text(json.dumps(records) + "\n")


def forward(model, name, picture):
    """Poses of the class capsules, and every 49th pixel of the reconstruction from one of them."""
    layer = model.digitcaps if name == "xifeng-guo" else model.digit_capsules
    decoder = model.decoder.reconstraction_layers if name == "jindong-wang" else model.decoder
    images = torch.from_numpy(picture[None])
    with torch.no_grad():
        poses = layer(primary(model, name, images)).reshape(10, 16)
        code = (poses * torch.eye(10)[LABEL][:, None]).reshape(1, -1)
        pixels = decoder(code)[0, ::EVERY]
    return np.round(poses.numpy().astype(float), 7).tolist(), np.round(pixels.numpy().astype(float), 7).tolist()


def primary(model, name, images):
    if name == "jindong-wang":
        return model.primary_capsules(model.conv_layer(images))
    features = torch.relu(model.conv1(images))
    return model.primarycaps(features) if name == "xifeng-guo" else model.primary_capsules(features)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
