"""A configuration as a Keras model of standard layers, from raw inputs to class probabilities."""

from dataclasses import dataclass

import keras
import numpy as np

from search.data import Dataset
from search.seeds import derive
from search.spec import MLP, Recipe, Training

STEPS_PER_CALL = 10  # enough to hide Python's share of a step of a small network


@dataclass(frozen=True)
class Problem:
    """What a network must know of its data: the shapes at both ends and the inputs' scale."""

    input_shape: tuple[int, ...]  # of one raw example
    classes: int
    mean: float  # of all raw inputs of the training split
    scale: float  # their standard deviation

    @classmethod
    def of(cls, dataset: Dataset) -> "Problem":
        """Measure a data set."""
        x = dataset.train.x
        scale = float(np.std(x, dtype=np.float64)) or 1.0  # a constant input carries no scale
        return cls(dataset.input_shape, dataset.classes, float(np.mean(x, dtype=np.float64)), scale)


def build(recipe: Recipe, problem: Problem, seed: int) -> keras.Model:
    """Return the untrained model of a configuration; equal seeds give equal weights."""
    keras.utils.set_random_seed(derive(seed, "model"))
    if isinstance(recipe.model, MLP):
        return _mlp(recipe.model, problem, seed)
    return recipe.model(recipe.config)


def _mlp(mlp: MLP, problem: Problem, seed: int) -> keras.Sequential:
    model = keras.Sequential([keras.Input(problem.input_shape)])
    if mlp.standardize:
        model.add(keras.layers.Rescaling(1 / problem.scale, -problem.mean / problem.scale))
    if len(problem.input_shape) > 1:
        model.add(keras.layers.Flatten())
    for layer, units in enumerate(mlp.hidden):
        initializer = kernel_initializer(mlp, seed, layer)
        # Batch normalisation subtracts the mean, and with it any bias in front of it.
        bias = not mlp.batch_norm
        model.add(keras.layers.Dense(units, use_bias=bias, kernel_initializer=initializer))
        if mlp.batch_norm:
            model.add(keras.layers.BatchNormalization())
        model.add(keras.layers.Activation(mlp.activation))
    initializer = kernel_initializer(mlp, seed, len(mlp.hidden))
    model.add(keras.layers.Dense(problem.classes, "softmax", kernel_initializer=initializer))
    return model


def kernel_initializer(mlp: MLP, seed: int, layer: int) -> keras.initializers.Initializer:
    """Return the initializer of a dense layer's kernel; calling it twice gives equal values."""
    config = {"seed": derive(seed, "kernel", layer)}
    return keras.initializers.get({"class_name": mlp.initializer, "config": config})


def optimizer(training: Training) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a configuration names."""
    settings = {"learning_rate": training.learning_rate, "clipnorm": training.clipnorm}
    if training.optimizer == "sgd":
        settings |= {"momentum": training.momentum, "nesterov": training.nesterov}
    return keras.optimizers.get({"class_name": training.optimizer, "config": settings})


def compile_for(model: keras.Model, training: Training) -> None:
    """Compile a classifier for training; one that its author compiled is left as it is."""
    if not model.compiled:
        model.compile(
            optimizer=optimizer(training),
            loss="sparse_categorical_crossentropy",
            metrics=["accuracy"],
            steps_per_execution=STEPS_PER_CALL,
        )
