"""`jaxcaps.load`: a trained network with the methods of a scikit-learn estimator."""

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from data_prep.pipeline.applying import FittedSteps
from jaxcaps.data.colours import is_colourful
from jaxcaps.data.decoding import BadImage, to_square
from jaxcaps.data.prepared import as_in_training
from jaxcaps.data.source import Settings, Source
from jaxcaps.errors import UserError
from jaxcaps.inference.pictures import PictureBatch, as_bytes, batches, list_files, open_pictures
from jaxcaps.inference.runs import Opened, open_classifier, open_encoder
from jaxcaps.models import Encoder
from jaxcaps.models.networks import NORM_SCALE
from jaxcaps.models.outputs import pooled
from jaxcaps.restoring import find_origin
from jaxcaps.tasks.base import whole_pictures
from jaxcaps.training.calibration import read_calibration
from jaxcaps.training.evaluators import Classified, Predictor, capsule_features, classified
from jaxcaps.training.state import Parameters, with_parameters

Pictures = np.ndarray | str | Path | Sequence[str | Path]
Features = Literal["capsules", "pooled"]

_whole = jax.jit(whole_pictures, static_argnums=1)


class TrainedEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A trained encoder: `transform` turns pictures into features, as a scikit-learn transformer does.

    Pictures are given as

    - an array, uint8 or float in [0, 1], [n, height, width, channels] or one picture [height, width, channels];
    - the path of an image, of a folder of images, or another value of `--images`; or a list of paths of images.

    They may have any size. If the network learnt from pictures that `data_prep` made, they are prepared in the same
    way, unless `data_prep` already has.

    Args:
        restore: `pretrained:NAME`, FILE.safetensors, FILE.jaxcaps, or the folder of a finished run.
        features: "capsules", the poses of all primary capsules, or "pooled", their averages over the places of the
            picture, which are far fewer.
        batch_size: images per batch. Default: as in training. Fewer pictures are padded to one batch.
        prepare: False if pictures in arrays are prepared already.

    Attributes:
        origin: what `restore` names.
        image_size: side of the square that pictures are resized to.
        channels: 3 for colour, 1 for grey.
        config: configuration of the run.
    """

    def __init__(
        self,
        restore: str | Path,
        *,
        features: Features = "capsules",
        batch_size: int | None = None,
        prepare: bool = True,
    ):
        self.restore, self.features, self.batch_size, self.prepare = restore, features, batch_size, prepare
        if features not in ("capsules", "pooled"):
            raise UserError(f"features={features!r}: give 'capsules' or 'pooled'")
        self.origin = find_origin(restore)
        self._opened = self._open()
        self.config = self._opened.config
        self.image_size, self.channels = self.config.data.image_size, self.config.model.channels
        self._features = self._predictor(self._feature_function())

    def _open(self) -> Opened:
        return open_encoder(self.origin, self.batch_size)

    def _feature_function(self) -> Callable[[Any, jax.Array], jax.Array]:
        if self.features == "pooled":

            def averages(encoder: Encoder, images: jax.Array) -> jax.Array:
                return pooled(encoder(images).poses, encoder.primary.types * encoder.primary.dim)

            return averages
        return lambda encoder, images: encoder(images).poses.reshape(len(images), -1)

    def _predictor(self, function: Callable[[Any, jax.Array], Any]) -> Predictor:
        opened = self._opened
        return Predictor(opened.modules, function, opened.mesh, opened.batch_size, self.image_size)

    @property
    def encoder(self) -> Encoder:
        """The stem and the primary capsules as a module, for `CapsNet(..., encoder=...)`: `encoder(pictures).poses` has
        shape [batch, capsules, dim] for pictures [batch, image_size, image_size, channels] in [0, 1]."""
        network = with_parameters(self._opened.modules, self._opened.parameters)
        encoder: Encoder = getattr(network, "encoder", network)
        return encoder

    @cached_property
    def on_one_device(self) -> tuple[Any, Any]:
        """The network as `flax.nnx.split` gives it, with its arrays on one device: for programs of one picture. Models
        of the same structure share the first part, so a program that takes it as a static argument is compiled once."""
        parameters = jax.device_put(jax.device_get(self._opened.parameters), jax.local_devices()[0])
        graph, state = nnx.split(with_parameters(self._opened.modules, parameters))
        return graph, state

    def set_params(self, **params: Any) -> "TrainedEncoder":
        """Changes parameters, as a grid search does, by opening the network again.

        Raises:
            ValueError: there is no such parameter.
            UserError: as when it is made with them.
        """
        # A copy, so that a value that is refused changes nothing.
        changed = super(TrainedEncoder, copy(self)).set_params(**params)
        self.__dict__ = type(self)(**changed.get_params()).__dict__
        return self

    def fit(self, X: Any = None, y: Any = None) -> "TrainedEncoder":
        """Does nothing: it is trained. Pipelines call it."""
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def transform(self, pictures: Pictures) -> np.ndarray:
        """Returns features, float32 [n, features].

        Raises:
            UserError: a picture cannot be read, or an array has another type, range or shape.
        """
        return self._all(self._features, pictures)

    def preprocess(self, pictures: Pictures) -> np.ndarray:
        """Returns pictures as the network takes them, float32 [n, image_size, image_size, channels] in [0, 1].

        Raises:
            UserError: as `transform`.
        """
        stored = [batch.images for batch in self._strict(pictures)]
        if not stored:
            raise UserError("there is no picture")
        return np.concatenate([self.as_seen(images) for images in stored])

    def as_seen(self, stored: np.ndarray) -> np.ndarray:
        """The pictures that `read` gives, uint8 [n, side, side, channels], as `preprocess` returns them."""
        return np.asarray(_whole(stored, self.image_size))

    def source(self, images: str) -> Source:
        """Opens what `--images` names, with the preparation of the training pictures.

        Raises:
            UserError: there are no pictures, or they were prepared otherwise.
        """
        data = self.config.data
        settings = Settings(data.image_size * data.oversampling, data.synthetic_count, data.synthetic_seed)
        return as_in_training(open_pictures(images, settings), self._opened.prepared, f"--images={images}")

    def read(self, source: Source, rows: Sequence[int]) -> Iterator[PictureBatch]:
        """Reads pictures of a source in batches, in the form in which training stores them."""

        def read(row: int) -> np.ndarray:
            return self._stored(source.read(row))

        return batches(read, rows, self._shape, self._opened.batch_size)

    @property
    def _shape(self) -> tuple[int, int, int]:
        side = self.image_size * self.config.data.oversampling
        return side, side, self.channels

    def _stored(self, picture: np.ndarray) -> np.ndarray:
        return to_square(picture, self._shape[0], self.channels)

    def _strict(self, pictures: Pictures) -> Iterator[PictureBatch]:
        """The batches of pictures. All have to be readable."""
        if isinstance(pictures, str | Path):
            source = self.source(str(pictures))
        elif isinstance(pictures, np.ndarray) or hasattr(pictures, "__array__"):
            return self._from_array(as_bytes(np.asarray(pictures), self.channels))
        else:
            listed = list(pictures)
            if not all(isinstance(path, str | Path) for path in listed):
                raise UserError("give an array of pictures, a path, or a list of paths")
            source = as_in_training(list_files(listed), self._opened.prepared, "the list of files")
        return map(_complete(source), self.read(source, range(len(source.items))))

    def _from_array(self, images: np.ndarray) -> Iterator[PictureBatch]:
        steps = self._opened.prepared if self.prepare else None
        if steps is not None:
            steps.check()

        def read(row: int) -> np.ndarray:
            picture = images[row] if self.channels == 3 else np.repeat(images[row], 3, axis=-1)
            return self._stored(picture if steps is None else steps.apply(picture))

        return batches(read, range(len(images)), self._shape, self._opened.batch_size)

    def _all(self, predictor: Predictor, pictures: Pictures) -> Any:
        found = (
            values
            for batch, values in predictor.stream(
                self._opened.parameters, ((batch, batch.images) for batch in self._strict(pictures))
            )
        )
        parts = list(found)
        if not parts:
            raise UserError("there is no picture")
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)

    def __getattr__(self, name: str) -> Any:
        if name in ("predict", "predict_proba", "classes_"):
            raise AttributeError(
                f"{self.restore} is an encoder, which has no classes; fine-tune it and load that run, or fit a "
                "classifier on what transform returns"
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class TrainedClassifier(ClassifierMixin, TrainedEncoder):  # type: ignore[misc]
    """A fine-tuned run: an encoder that also predicts classes, as a scikit-learn classifier does.

    See `TrainedEncoder` for the pictures it takes.

    Attributes:
        classes_: names of the classes, in the order of probabilities.
        calibration: the temperature, and what decides whether a picture is unlike the training pictures.
    """

    @cached_property
    def _classified(self) -> Predictor:
        return self._predictor(classified)

    @property
    def modules(self) -> Any:
        """The structure of the network, without arrays."""
        return self._opened.modules

    @property
    def parameters(self) -> Parameters:
        """The parameters of the network by path, on all devices."""
        parameters: Parameters = self._opened.parameters
        return parameters

    @property
    def prepared(self) -> FittedSteps | None:
        """The steps with which `data_prep` made the pictures that it learnt from, or None."""
        prepared: FittedSteps | None = self._opened.prepared
        return prepared

    @property
    def meta(self) -> dict[str, Any]:
        """The metadata of the checkpoint: configuration, classes, fingerprint of the data, best evaluation."""
        meta: dict[str, Any] = self._opened.meta
        return meta

    def _open(self) -> Opened:
        opened = open_classifier(self.origin, self.batch_size)
        self.classes_ = np.array(opened.meta["classes"])
        self.calibration = read_calibration(self.origin)
        return opened

    def _feature_function(self) -> Callable[[Any, jax.Array], jax.Array]:
        if self.features == "pooled":
            return lambda network, images: network.outputs(images).features
        return capsule_features

    def _stored(self, picture: np.ndarray) -> np.ndarray:
        if not self.calibration.colour and is_colourful(picture):
            raise BadImage("it is in colour, but the model learnt from grey pictures")
        return super()._stored(picture)

    def stream(self, read: Iterator[PictureBatch]) -> Iterator[tuple[PictureBatch, Classified | None]]:
        """Yields each batch with what the network says of its readable pictures; None if there are none."""
        return self._classified.stream(self._opened.parameters, ((batch, batch.images) for batch in read))

    def predict(self, pictures: Pictures) -> np.ndarray:
        """Returns the most probable class of each picture: [n], values of `classes_`.

        Raises:
            UserError: a picture cannot be read, or an array has another type, range or shape.
        """
        return self.classes_[np.argmax(self._all(self._classified, pictures).logits, axis=1)]

    def predict_proba(self, pictures: Pictures) -> np.ndarray:
        """Returns calibrated probabilities: float64 [n, classes].

        Raises:
            UserError: as `predict`.
        """
        return self.calibration.probabilities(self._all(self._classified, pictures))

    def unfamiliarity(self, pictures: Pictures) -> np.ndarray:
        """Returns out-of-distribution scores, float64 [n]: above 1, a picture is unlike those of training.

        Raises:
            UserError: as `predict`.
        """
        return self.calibration.unfamiliarity(self._all(self._classified, pictures))

    @property
    def norm_scale(self) -> float | None:
        """What the activations of the class capsules are multiplied by to give logits; None without capsules."""
        if self.config.model.architecture == "convnet":
            return None
        return float(self.parameters.get("norm_scale", NORM_SCALE))

    def activations(self, predicted: Classified) -> np.ndarray | None:
        """The activations of the class capsules, [n, classes]; None for a network without capsules."""
        scale = self.norm_scale
        return None if scale is None else np.asarray(predicted.logits) / scale


def load(
    restore: str | Path, *, features: Features = "capsules", batch_size: int | None = None, prepare: bool = True
) -> "TrainedEncoder | TrainedClassifier":
    """Loads a trained network.

    Args:
        restore: the folder of a finished run, FILE.jaxcaps, FILE.safetensors, or `pretrained:NAME`.
        features, batch_size, prepare: see `TrainedEncoder`.

    Returns:
        A `TrainedClassifier` for a fine-tuned run, else a `TrainedEncoder`, which has no classes.

    Raises:
        UserError: there is no such run or encoder, it has not finished, or its files are damaged.
    """
    kind = TrainedEncoder if find_origin(restore).config.stage == "ssl" else TrainedClassifier
    return kind(restore, features=features, batch_size=batch_size, prepare=prepare)


def load_classifier(restore: str | Path, *, batch_size: int | None = None) -> TrainedClassifier:
    """Loads a fine-tuned run for a command.

    Raises:
        UserError: as `load`, or `restore` names an encoder.
    """
    model = load(restore, batch_size=batch_size)
    if not isinstance(model, TrainedClassifier):
        raise UserError(f"--restore={restore}: an encoder has no classes; fine-tune it and give that run")
    return model


def _complete(source: Source) -> Callable[[PictureBatch], PictureBatch]:
    def check(batch: PictureBatch) -> PictureBatch:
        for row, reason in batch.bad:
            raise UserError(f"{source.items[row].name}: {reason}; leave it out")
        return batch

    return check
