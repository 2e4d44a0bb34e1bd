"""The source's own way: Keras 3, its layers, its generator of images, `fit`.

Keras is imported where it is used: it is optional, and each process can have one of its backends alone.
"""

import importlib.util
import os
import time
from typing import Any

import numpy as np

from benchmark.base.errors import InputError
from benchmark.data.datasets import DeviceData
from benchmark.study.spec import StudySpec
from benchmark.throughput.nets import ACTIVATION, LEARNING_RATE, network_of
from benchmark.throughput.timing import Took
from benchmark.training.optimizers import Sgd

BACKENDS = ("torch", "jax", "tensorflow")
_AHEAD = 3  # steps before those that are timed


class WithKeras:
    """Keras' training of the same layers, channels last as its backends have them.

    Args:
        study: what it trains.
        normalization: `none` or `batch`.
        data: Keras takes it from the host, to the device that its backend prefers.
        backend: of `BACKENDS`; the first of a process stays.

    Raises:
        InputError: Keras, or the backend, is not installed.
    """

    launches: float | None = None

    def __init__(self, study: StudySpec, normalization: str, data: DeviceData, backend: str) -> None:
        for module in ("keras", backend):
            if importlib.util.find_spec(module) is None:
                raise InputError(f"{module} is not installed")
        os.environ["KERAS_BACKEND"] = backend  # read when Keras is imported
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras

        assert keras.backend.backend() == backend
        assert isinstance(study.optimizer, Sgd)
        self.num_images = study.budget.batch_size
        keras.utils.set_random_seed(0)
        self._callback = keras.callbacks.LambdaCallback
        self._model = _model(keras, study, normalization, data)
        self._model.compile(
            optimizer=keras.optimizers.SGD(LEARNING_RATE, momentum=study.optimizer.momentum),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        train = data.train
        pixels = train.images.cpu().permute(0, 2, 3, 1).numpy().astype(np.float32)
        offset, scale = (tensor.cpu().flatten().numpy() for tensor in (train.offset, train.scale))
        self._images = (pixels - offset) * scale
        self._labels = train.labels.cpu().numpy()
        self._generator = _generator(study)

    def measure(self, num_steps: int) -> Took:
        """`fit` for one epoch of so many steps, after a few that are not timed: what a call sets up is not.

        In any backend, a step has ended when its callbacks are told of it.
        """
        size, num_timed, num_steps = self.num_images, num_steps, num_steps + _AHEAD
        marks: list[tuple[float, float]] = []
        clock = self._callback(
            on_train_batch_end=lambda batch, logs: marks.append((time.perf_counter(), time.process_time()))
        )
        if self._generator is not None:
            flow = self._generator.flow(self._images, self._labels, batch_size=size)
            source: dict[str, Any] = {"x": flow, "steps_per_epoch": num_steps}
        else:
            index = np.arange(num_steps * size) % len(self._images)
            source = {"x": self._images[index], "y": self._labels[index], "batch_size": size}
        self._model.fit(**source, epochs=1, verbose=0, callbacks=[clock])
        began, ended = marks[-1 - num_timed], marks[-1]
        return Took(ended[0] - began[0], ended[1] - began[1])


def _model(keras: Any, study: StudySpec, normalization: str, data: DeviceData) -> Any:
    """The notebook's layers, in its order, with Keras' defaults; ends in logits."""
    spec, (channels, height, width) = network_of(study), data.image_shape
    layers = [keras.Input((height, width, channels))]
    for block in range(spec.blocks):
        last = block == spec.blocks - 1
        for _ in range(2):
            filters = spec.width * 5 // 3 if last else spec.width
            layers.append(keras.layers.Conv2D(filters, 3, padding="same"))
            if normalization == "batch":
                layers.append(keras.layers.BatchNormalization())
            layers.append(keras.layers.Activation(ACTIVATION))
        if not last:
            layers.append(keras.layers.MaxPooling2D(2))
            if spec.dropout:
                layers.append(keras.layers.Dropout(spec.dropout))
    layers += [keras.layers.Flatten(), keras.layers.Dense(data.num_classes)]
    return keras.Sequential(layers)


def _generator(study: StudySpec) -> Any:
    """The source's `ImageDataGenerator`, which Keras 3 still has, though not among what it documents."""
    augmentation = study.data.augmentation
    if augmentation is None:
        return None
    from keras.src.legacy.preprocessing.image import ImageDataGenerator

    return ImageDataGenerator(
        horizontal_flip=augmentation.flip,
        zoom_range=list(augmentation.zoom),
        shear_range=augmentation.shear,
    )
