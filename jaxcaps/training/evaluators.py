"""Evaluations between training steps. An evaluator takes parameters and yields (name, value) pairs."""

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcaps.data.dataset import Split
from jaxcaps.data.loader import Batch, Loader
from jaxcaps.data.sampling import in_order
from jaxcaps.evaluation.classification import classification_metrics
from jaxcaps.tasks import Examples, Shard, Task
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.training.mesh import AXIS, over_devices, replicated
from jaxcaps.training.state import Parameters, with_parameters

T = TypeVar("T")

NEIGHBOURS = 20
# Every evaluation of a loss draws the same batches, masks and views.
EVALUATION_SEED = 0


class Evaluator(Protocol):
    """Takes parameters and yields (name, value) pairs.

    Raises:
        FloatingPointError: the network's outputs or its loss are not finite.
    """

    def __call__(self, parameters: Parameters) -> Iterator[tuple[str, float]]: ...


def _check_finite(values: Any, what: str) -> None:
    if not np.isfinite(values).all():
        raise FloatingPointError(f"{what} are not finite")


def _batches(split: Split, batch_size: int, mesh: Mesh, order: np.ndarray | None = None) -> Loader:
    plan = in_order(np.arange(len(split)) if order is None else order, batch_size)
    return Loader(split, plan, mesh, start=0, stop=math.ceil(len(split) / batch_size))


class Predictor:
    """Applies a function of pictures to any number of them, on all devices, with one compiled program.

    Args:
        modules: the network's structure.
        function: (network, pictures [batch, height, width, channels] in [0, 1]) -> a pytree of arrays with a leading
            batch axis.
        image_size: side of the network's input in pixels; the data may be stored at a multiple of it.
    """

    def __init__(
        self, modules: Any, function: Callable[[Any, jax.Array], Any], mesh: Mesh, batch_size: int, image_size: int
    ):
        def local(parameters: Parameters, images: jax.Array) -> Any:
            found = function(with_parameters(modules, parameters), whole_pictures(images, image_size))
            return jax.tree.map(lambda values: values.astype(jnp.float32), found)

        sharded = over_devices(local, mesh, in_specs=(P(), P(AXIS)), out_specs=P(AXIS))
        self.apply = jax.jit(sharded, out_shardings=replicated(mesh))
        self.mesh, self.batch_size = mesh, batch_size

    def __call__(self, parameters: Parameters, split: Split) -> Any:
        """Returns the function's values for all examples of the split, in order: float32 arrays."""
        batches = _batches(split, self.batch_size, self.mesh)
        values = [jax.device_get(self.apply(parameters, batch.image)) for batch in batches]
        return jax.tree.map(lambda *parts: np.concatenate(parts)[: len(split)], *values)

    def stream(self, parameters: Parameters, batches: Iterable[tuple[T, np.ndarray]]) -> Iterator[tuple[T, Any]]:
        """Yields the function's values for batches of stored pictures. The next batch is read while devices compute.

        Args:
            parameters: of the network.
            batches: anything that belongs to a batch, which is yielded too, and its pictures, uint8 [count, ...], at
                most `batch_size`. The values of an empty batch are None.
        """
        sharding = NamedSharding(self.mesh, P(AXIS))
        waiting: deque[tuple[T, int, Any]] = deque()
        for what, images in batches:
            values = None
            if len(images):
                padding = ((0, self.batch_size - len(images)), *((0, 0) for _ in images.shape[1:]))
                values = self.apply(parameters, jax.device_put(np.pad(images, padding), sharding))
            waiting.append((what, len(images), values))
            if len(waiting) > 1:
                yield _fetched(*waiting.popleft())
        while waiting:
            yield _fetched(*waiting.popleft())


def _fetched(what: T, count: int, values: Any) -> tuple[T, Any]:
    return what, jax.tree.map(lambda array: np.asarray(array)[:count], values)


class Classified(NamedTuple):
    """What a classifier says of some pictures: float32 arrays with one row for each, see `Outputs`."""

    probabilities: Any
    logits: Any
    features: Any
    errors: Any


def classified(network: Any, images: jax.Array) -> Classified:
    """The function of pictures that all predictions of classifiers use: training, `evaluate`, `predict`, `load`."""
    outputs = network.outputs(images)
    return Classified(jax.nn.softmax(outputs.logits), *outputs)


class Classification:
    """Scores a classifier on a split."""

    def __init__(
        self, modules: Any, split: Split, classes: tuple[str, ...], mesh: Mesh, batch_size: int, image_size: int
    ):
        self.predict = Predictor(modules, classified, mesh, batch_size, image_size)
        self.split, self.classes = split, classes

    def __call__(self, parameters: Parameters) -> Iterator[tuple[str, float]]:
        probabilities = self.predict(parameters, self.split).probabilities
        _check_finite(probabilities, "the probabilities of validation pictures")
        metrics = classification_metrics(self.split.labels, probabilities, self.classes)
        for name, value in metrics.items():
            if isinstance(value, float):
                yield name, value


def capsule_features(network: Any, images: jax.Array) -> jax.Array:
    """The primary capsules of an encoder, flattened: [batch, capsules * dim]."""
    poses = network.encoder(images).poses
    return poses.reshape(poses.shape[0], -1).astype(jnp.float32)


class Probe:
    """Probes of the primary capsules: nearest neighbours and a linear classifier.

    Both are fitted on training labels and scored on validation. They do not affect training unless the run selects by
    them.
    """

    def __init__(self, modules: Any, train: Split, validation: Split, mesh: Mesh, batch_size: int, image_size: int):
        self.features = Predictor(modules, capsule_features, mesh, batch_size, image_size)
        known = np.flatnonzero(train.labels >= 0)
        self.train, self.validation, self.known = train, validation, known

    def __call__(self, parameters: Parameters) -> Iterator[tuple[str, float]]:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import balanced_accuracy_score
        from sklearn.neighbors import KNeighborsClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        from threadpoolctl import threadpool_limits

        train, validation = self.features(parameters, self.train), self.features(parameters, self.validation)
        _check_finite(train, "the capsules of training pictures")
        _check_finite(validation, "the capsules of validation pictures")
        train, labels = train[self.known], self.train.labels[self.known]
        scored = self.validation.labels >= 0
        probes = {
            "nearest_neighbour": KNeighborsClassifier(
                n_neighbors=min(NEIGHBOURS, len(labels)), metric="cosine", weights="distance"
            ),
            "linear_probe": make_pipeline(
                StandardScaler(), LogisticRegression(C=1e-3, class_weight="balanced", max_iter=200)
            ),
        }
        for name, probe in probes.items():
            # The solver calls BLAS on small arrays: with two threads it takes three times as long as with one.
            with warnings.catch_warnings(), threadpool_limits(1, "blas"):
                warnings.simplefilter("ignore", ConvergenceWarning)
                probe.fit(train, labels)
                predicted = probe.predict(validation[scored])
            yield f"{name}/balanced_accuracy", float(balanced_accuracy_score(self.validation.labels[scored], predicted))


class HeldOutLoss:
    """The task's loss on a held-out split, with the same views every time."""

    def __init__(self, task: Task, modules: Any, split: Split, mesh: Mesh, batch_size: int):
        def local(parameters: Parameters, batch: Batch, number: jax.Array) -> dict[str, jax.Array]:
            count = batch.label.shape[0]
            positions = jax.lax.axis_index(AXIS) * count + jnp.arange(count, dtype=jnp.int32)
            key = jax.random.fold_in(jax.random.key(EVALUATION_SEED), number)
            keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, positions)
            views = jax.vmap(task.views)(keys, batch.image)
            progress = jnp.ones((), jnp.result_type(*parameters.values()))
            examples = Examples(batch.label, batch.group, batch.source, batch.valid)
            _, metrics = task.loss(with_parameters(modules, parameters), views, examples, progress, Shard(AXIS))
            return jax.lax.psum(metrics, AXIS)

        self.evaluate = jax.jit(over_devices(local, mesh, in_specs=(P(), P(AXIS), P()), out_specs=P()))
        self.split, self.mesh, self.batch_size = split, mesh, batch_size
        # Adjacent pictures are often of one lesion, which a contrastive loss cannot tell apart.
        self.order = np.random.default_rng(EVALUATION_SEED).permutation(len(split))

    def __call__(self, parameters: Parameters) -> Iterator[tuple[str, float]]:
        totals: dict[str, float] = {}
        for number, batch in enumerate(_batches(self.split, self.batch_size, self.mesh, self.order)):
            share = min(self.batch_size, len(self.split) - number * self.batch_size) / len(self.split)
            for name, value in self.evaluate(parameters, batch, jnp.asarray(number, jnp.int32)).items():
                totals[name] = totals.get(name, 0.0) + share * float(value)
        _check_finite(totals["loss"], "losses of validation pictures")
        yield from totals.items()
