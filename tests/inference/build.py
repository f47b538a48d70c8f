"""A finished run whose network has not learnt anything."""

import numpy as np

from jaxcaps.config import to_dict
from jaxcaps.training.calibration import calibrate, reference_part, write_calibration
from jaxcaps.training.checkpoint import Checkpoints
from jaxcaps.training.evaluators import Classification
from jaxcaps.training.finish import finish_classifier
from jaxcaps.training.folder import RunLog, write_preparation
from jaxcaps.training.mesh import device_mesh
from jaxcaps.training.setup import load_data, make_modules, make_task
from jaxcaps.training.state import TrainState
from jaxcaps.training.writers import MetricsWriter


def write_run(config, folder):
    """Writes a finished run whose network has not learnt anything: training would only cost time."""
    dataset = load_data(config, ("train", "validation"))
    modules, draw = make_modules(config, make_task(config, dataset))
    train, validation = dataset.splits["train"], dataset.splits["validation"]
    evaluator = Classification(modules, validation, dataset.classes, device_mesh(8), 8, config.data.image_size)
    parameters = draw()
    predicted, seen = (evaluator.predict(parameters, split) for split in (validation, reference_part(train)))
    best = {"metric": "balanced_accuracy", "value": None, "step": 0, "since": 0}
    counts = np.bincount(train.labels).tolist()
    meta = {"config": to_dict(config), "classes": list(dataset.classes), "train_counts": counts, "best": best}
    with RunLog() as log, Checkpoints(folder) as checkpoints:
        log.claim(folder, config)
        checkpoints.save(TrainState(np.int32(0), np.int32(0), parameters, np.zeros(1)), None, meta)
    write_preparation(folder, dataset.prepared)
    write_calibration(folder, calibrate(validation, predicted, train, seen.features))
    MetricsWriter(folder).write({"step": 0, "epoch": 0.0})
    finish_classifier(folder, train.labels, validation, predicted.probabilities, dataset.classes, best)
