"""`--to=onnx`: a program for ONNX Runtime and other engines, with a batch of any size, by jax2onnx."""

import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcaps.errors import UserError
from jaxcaps.exporting.base import Format
from jaxcaps.exporting.card import READING, description
from jaxcaps.exporting.convolutions import evaluate
from jaxcaps.exporting.program import Answer, program, stored_side
from jaxcaps.inference.model import TrainedClassifier

FILE = "model.onnx"
INPUT = "pictures"
# How far the program may be from the network.
TOLERANCE = 1e-4

USAGE = f"""`{FILE}` needs ONNX Runtime (`pip install onnxruntime`) or another engine with opset 23, and takes any
number of pictures. Its metadata hold what `model.json` says:

```python
import json

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession("{FILE}")
about = session.get_modelmeta().custom_metadata_map
classes, given = json.loads(about["classes"]), json.loads(about["input"])
{READING}
names = [output.name for output in session.get_outputs()]
answer = dict(zip(names, session.run(names, {{"{INPUT}": np.stack([picture])}})))
print(classes[int(answer["probabilities"][0].argmax())], answer["unfamiliarity"][0])
```
"""


def write(model: TrainedClassifier, folder: Path) -> None:
    """Writes `model.onnx`, after comparing it with the network.

    Raises:
        UserError: jax2onnx or ONNX Runtime is not installed, or the network cannot be converted.
    """
    try:
        import jax2onnx
        import onnx
        import onnxruntime
    except ImportError as error:
        raise UserError(f"--to=onnx needs {error.name}; install it with pip install 'jaxcaps[onnx]'") from None
    # They warn of each of their own modules that does not fit the version of jax, and of each constant.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    answer, side = program(model), stored_side(model)
    # A batch of symbolic size takes the plain forms, not those tuned to a CPU.
    (batch,) = jax.export.symbolic_shape("batch")
    pictures = jax.ShapeDtypeStruct((batch, side, side, model.channels), np.uint8)
    traced, shapes = jax.make_jaxpr(answer, return_shape=True)(pictures)
    try:
        # jax2onnx replaces Flax's layers by its own, and knows few of their arguments. A traced program has no layers.
        converted = jax2onnx.to_onnx(
            lambda given: tuple(evaluate(traced, given)),
            [pictures],
            model_name=model.origin.title,
            input_names=[INPUT],
            # In this order JAX flattens a dictionary.
            output_names=sorted(shapes),
            enable_double_precision=model.config.model.dtype == "float64",
        )
        onnx.helper.set_model_props(converted, {name: json.dumps(value) for name, value in description(model).items()})
        onnx.checker.check_model(converted, full_check=True)
        content = converted.SerializeToString()
        session = onnxruntime.InferenceSession(content, quiet)
    # A converter fails in many ways.
    except Exception as error:
        raise _refused(model, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}") from error
    differs = difference(answer, session, pictures.shape[1:])
    if differs is not None:
        raise _refused(model, differs)
    (folder / FILE).write_bytes(content)


def difference(answer: Callable[[Any], Answer], session: Any, shape: Sequence[int]) -> str | None:
    """Compares a converted program with the network.

    Args:
        answer: from `program`.
        session: an `onnxruntime.InferenceSession` with the converted program.
        shape: [side, side, channels] of the pictures.

    Returns:
        What differs by more than `TOLERANCE`, in words; None if nothing does.
    """
    numbers = np.random.default_rng(0)
    for count in (1, 3):
        pictures = numbers.integers(0, 256, (count, *shape), np.uint8)
        expected = jax.device_get(jax.jit(answer)(pictures))
        found = session.run(list(expected), {INPUT: pictures})
        for name, value in zip(expected, found, strict=True):
            if not np.allclose(value, expected[name], rtol=TOLERANCE, atol=TOLERANCE):
                furthest = np.max(np.abs(value - expected[name]))
                return f"the {name} of the converted network are {furthest:.2g} away from its own"
    return None


def _refused(model: TrainedClassifier, reason: str) -> UserError:
    network = model.config.model
    return UserError(
        f"--to=onnx: a network with --architecture={network.architecture}, --stem={network.stem} and "
        f"--routing={network.routing} cannot be converted ({reason}); use --to=stablehlo"
    )


FORMAT = Format(write, USAGE)
