"""`--to=safetensors`: the parameters of a classifier as one file that jaxcaps opens and other libraries can read."""

from pathlib import Path
from typing import Any

import jax

from jaxcaps.exporting.base import Format
from jaxcaps.inference.model import TrainedClassifier
from jaxcaps.restoring import Origin
from jaxcaps.restoring.origin import MODEL
from jaxcaps.restoring.tensor_file import FAMILIAR, write_tensors
from jaxcaps.training.calibration import read_calibration
from jaxcaps.training.checkpoint import read_parameters

USAGE = f"""`{MODEL}` holds the parameters, and in its header the configuration, the classes, the calibration, the
metrics, hashes of the training pictures, and a checksum of all this. With jaxcaps:

```
python -m jaxcaps.predict --restore={MODEL} --images=new-pictures --out=predictions.csv
```

```python
import jaxcaps

model = jaxcaps.load("{MODEL}")
print(model.predict("picture.png"), model.predict_proba("picture.png"))
```

Other libraries read the arrays with `safetensors`. The reference of file formats describes their layouts and those of
PyTorch.
"""


def write_parameters(origin: Origin, file: Path) -> None:
    """Writes the parameters of a finished run with all that is needed to use them.

    Raises:
        UserError: the run has not finished, or its files are damaged.
    """
    metrics = origin.metrics
    parameters, meta = read_parameters(origin)
    more: dict[str, Any] = {
        name: meta[name] for name in ("classes", "train_counts", "fingerprint", "best") if name in meta
    }
    arrays = jax.device_get(parameters)
    if origin.config.stage == "finetune":
        calibration = read_calibration(origin)
        more["calibration"] = calibration.plain()
        arrays |= {f"{FAMILIAR}{name}": value for name, value in calibration.familiar._asdict().items()}
    write_tensors(
        file, arrays, origin.config, origin.learnt_from, origin.prepared, name=origin.title, metrics=metrics, **more
    )


def write(model: TrainedClassifier, folder: Path) -> None:
    """Writes `model.safetensors`."""
    write_parameters(model.origin, folder / MODEL)


FORMAT = Format(write, USAGE)
