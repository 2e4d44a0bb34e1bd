"""The network, its training and its loss against Keras 3, whose ancestors the source notebook used.

Keras runs on its torch backend, channels last as in the source, in layers of its own.
"""

import os

os.environ["KERAS_BACKEND"] = "torch"  # read when Keras is imported

import keras
import numpy as np
import pytest
import torch

from benchmark.training.losses import MeanSquaredError
from benchmark.training.optimizers import RmsProp
from benchmark.variants.networks import NetworkSpec, initialize
from benchmark.variants.networks.cnn import ConvNet
from benchmark.variants.variant import Variant

SIZES = {
    "small": (NetworkSpec(blocks=3, width=6), (1, 8, 8), 10),
    "notebook": (NetworkSpec(blocks=5, width=60), (3, 32, 32), 100),
}


def keras_network(spec, variant, image_shape, num_classes):
    """The notebook's `build_model` up to its softmax: its layers, in its order, with Keras' defaults."""
    channels, height, width = image_shape
    layers = [keras.Input((height, width, channels))]
    for block in range(spec.blocks):
        last = block == spec.blocks - 1
        for _ in range(2):
            layers.append(keras.layers.Conv2D(spec.width * 5 // 3 if last else spec.width, 3, padding="same"))
            if variant.normalization == "batch":
                layers.append(keras.layers.BatchNormalization())
            layers.append(keras.layers.Activation(variant.activation))
        if not last:
            layers += [keras.layers.MaxPooling2D(2), keras.layers.Dropout(spec.dropout)]
    layers += [keras.layers.Flatten(), keras.layers.Dense(num_classes)]
    return keras.Sequential(layers)


def pair(size, variant, seed=0):
    """Our network and Keras', with equal weights and statistics that are not the initial ones."""
    spec, image_shape, num_classes = SIZES[size]
    ours = ConvNet(spec, variant, image_shape, num_classes)
    initialize(ours, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in ours.state_dict().items():
            if name.endswith("bias") or ("norm" in name and tensor.is_floating_point()):
                low = 0.5 if name.endswith(("norm.weight", "running_var")) else -0.5
                tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
    theirs = keras_network(spec, variant, image_shape, num_classes)
    convs = [layer for layer in theirs.layers if isinstance(layer, keras.layers.Conv2D)]
    norms = [layer for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer, unit in zip(convs, ours.units, strict=True):
        layer.set_weights([as_numpy(unit.conv.weight).transpose(2, 3, 1, 0), as_numpy(unit.conv.bias)])
    for layer, unit in zip(norms, ours.units if norms else [], strict=True):
        norm = unit.norm
        layer.set_weights(
            [as_numpy(t) for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)]
        )
    filters = convs[-1].filters
    side = int((ours.dense.in_features // filters) ** 0.5)
    dense = as_numpy(ours.dense.weight).reshape(num_classes, filters, side, side)
    theirs.layers[-1].set_weights(
        [dense.transpose(2, 3, 1, 0).reshape(-1, num_classes), as_numpy(ours.dense.bias)]
    )
    images = np.random.default_rng(seed).normal(0, 1, (4, *image_shape)).astype(np.float32)
    return ours, theirs, images


def as_numpy(tensor):
    return tensor.detach().numpy()


def keras_output(model, images, *, training):
    """Logits for channels-first images."""
    return as_numpy(model(images.transpose(0, 2, 3, 1), training=training))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh"])
@pytest.mark.parametrize("normalization", ["none", "batch"])
def test_equal_weights_give_keras_outputs(normalization, activation, size):
    ours, theirs, images = pair(size, Variant(normalization, activation))
    found = ours.eval()(torch.from_numpy(images))
    np.testing.assert_allclose(as_numpy(found), keras_output(theirs, images, training=False), atol=1e-5)


@pytest.mark.parametrize(
    ("normalization", "num_trainable", "num_in_all"),
    [("none", 413_200, 413_200), ("batch", 414_560, 415_920)],
)
def test_keras_counts_the_notebooks_parameters_alike(normalization, num_trainable, num_in_all):
    ours, theirs, _ = pair("notebook", Variant(normalization, "relu"))
    trainable = sum(int(np.prod(weight.shape)) for weight in theirs.trainable_weights)
    assert (trainable, theirs.count_params()) == (num_trainable, num_in_all)
    assert sum(p.numel() for p in ours.parameters()) == trainable


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_training_mode_normalizes_as_keras_does(activation):
    """Batch statistics, and the moving averages that one pass leaves; dropout off in both.

    Keras averages the biased batch variance, PyTorch the unbiased one, n / (n - 1) of it.
    """
    ours, theirs, images = pair("small", Variant("batch", activation))
    for layer in theirs.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    before = [as_numpy(unit.norm.running_var).copy() for unit in ours.units]
    found = ours.train()(torch.from_numpy(images))
    np.testing.assert_allclose(as_numpy(found), keras_output(theirs, images, training=True), atol=1e-5)

    norms = [layer for layer in theirs.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer, unit, old, side in zip(norms, ours.units, before, (8, 8, 4, 4, 2, 2), strict=True):
        np.testing.assert_allclose(unit.norm.running_mean, as_numpy(layer.moving_mean.value), atol=1e-5)
        n = len(images) * side**2
        biased = 0.99 * old + (as_numpy(unit.norm.running_var) - 0.99 * old) * (n - 1) / n
        np.testing.assert_allclose(biased, as_numpy(layer.moving_variance.value), atol=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-4, 1e-7])
def test_rmsprop_with_epsilon_inside_is_keras(scale):
    generator = torch.Generator().manual_seed(0)
    gradients = [scale * torch.randn(20, generator=generator) for _ in range(8)]
    variable = keras.Variable(np.linspace(-1, 1, 20, dtype=np.float32))
    theirs = keras.optimizers.RMSprop(learning_rate=1e-3)
    theirs.build([variable])
    parameters = torch.linspace(-1, 1, 20)
    rule = RmsProp(rho=theirs.rho, epsilon=theirs.epsilon, epsilon_inside=True)
    assert rule == RmsProp(epsilon_inside=True)  # Keras' hyperparameters are the defaults
    moments = rule.moments(parameters)
    for step, gradient in enumerate(gradients):
        theirs.apply([gradient], [variable])
        rule.update_(parameters, gradient, moments, torch.tensor(1e-3), torch.tensor(step))
        np.testing.assert_allclose(parameters, as_numpy(variable.value), rtol=1e-6, atol=1e-7)


def test_cross_entropy_is_keras_categorical_one():
    ours, theirs, images = pair("small", Variant("batch", "relu"))
    labels = np.array([0, 3, 9, 9])
    loss = torch.nn.functional.cross_entropy(ours.eval()(torch.from_numpy(images)), torch.from_numpy(labels))
    probabilities = keras.ops.softmax(keras_output(theirs, images, training=False))
    per_image = keras.losses.categorical_crossentropy(keras.utils.to_categorical(labels, 10), probabilities)
    assert loss.item() == pytest.approx(per_image.mean().item(), rel=1e-5)


def test_mse_is_keras_of_a_softmax():
    logits, labels = torch.randn(9, 10, generator=torch.Generator().manual_seed(0)), torch.arange(9)
    one_hot = keras.utils.to_categorical(labels.numpy(), 10)
    per_image = keras.losses.mean_squared_error(one_hot, keras.ops.softmax(as_numpy(logits)))
    assert MeanSquaredError()(logits, labels).item() == pytest.approx(per_image.mean().item(), rel=1e-5)


def test_initial_weights_have_keras_bounds():
    """Glorot uniform over receptive field and fans, zero biases: what Keras' layers draw by default."""
    spec, image_shape, num_classes = SIZES["notebook"]
    ours = ConvNet(spec, Variant("none", "relu"), image_shape, num_classes)
    initialize(ours, 0)
    theirs = keras_network(spec, Variant("none", "relu"), image_shape, num_classes)
    layers = [layer for layer in theirs.layers if layer.weights]
    for layer, mine in zip(layers, ours.weighted_layers().values(), strict=True):
        kernel, bias = (as_numpy(weight.value) for weight in layer.weights)
        assert not bias.any()
        assert as_numpy(mine.weight).std() == pytest.approx(kernel.std(), rel=0.06)
        assert np.abs(as_numpy(mine.weight)).max() == pytest.approx(np.abs(kernel).max(), rel=0.02)
