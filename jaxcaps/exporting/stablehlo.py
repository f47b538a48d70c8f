"""`--to=stablehlo`: a compiled program for CPU, CUDA and TPU with a batch of any size, which runs without jaxcaps."""

from pathlib import Path

import jax
import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.exporting.base import Format
from jaxcaps.exporting.card import READING
from jaxcaps.exporting.program import program, stored_side
from jaxcaps.inference.model import TrainedClassifier

FILE = "model.jaxexport"
PLATFORMS = ("cpu", "cuda", "tpu")

USAGE = f"""`{FILE}` holds StableHLO with the weights inside, in the container of `jax.export`. It needs jax and
flatbuffers (`pip install jax flatbuffers`), runs on {", ".join(PLATFORMS)}, and takes any number of pictures:

```python
import json
from pathlib import Path

import cv2
import jax
import numpy as np

folder = Path(".")
about = json.loads((folder / "model.json").read_text())
program = jax.export.deserialize((folder / "{FILE}").read_bytes())
given = about["input"]
{READING}
answer = program.call(np.stack([picture]))
print(about["classes"][int(answer["probabilities"][0].argmax())], answer["unfamiliarity"][0])
```
"""


def write(model: TrainedClassifier, folder: Path) -> None:
    """Writes `model.jaxexport`.

    Raises:
        UserError: flatbuffers is not installed.
    """
    try:
        import flatbuffers  # noqa: F401
    except ImportError:
        raise UserError("--to=stablehlo needs flatbuffers; install it with pip install 'jaxcaps[export]'") from None
    side = stored_side(model)
    (batch,) = jax.export.symbolic_shape("batch")
    pictures = jax.ShapeDtypeStruct((batch, side, side, model.channels), np.uint8)
    exported = jax.export.export(jax.jit(program(model)), platforms=PLATFORMS)(pictures)
    (folder / FILE).write_bytes(exported.serialize())


FORMAT = Format(write, USAGE)
