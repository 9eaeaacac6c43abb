"""Small networks on blobs, trained by Keras and in lanes, and what it takes to compare them."""

from dataclasses import fields
from functools import cache
from typing import Any

import keras
import numpy as np

from search.data import load
from search.data.splits import Dataset, Split
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import data_order
from search.study.space import Config
from search.study.training import Training
from search.trainers import model as networks
from search.trainers.contract import EpochResult, Outcome, Trainer
from search.trainers.problem import Problem

EPOCHS = 8  # of 25 steps each: 200 steps


BATCH = 16


# Rounding errors of 1e-7 grow over 200 steps of small networks at these learning rates to about
# 1e-6 in weights and 5e-6 in losses. The smallest mistake that is tried below moves a weight by
# more than ten times the tolerance. Nadam gets one step's length: it moves a weight as far for a
# tiny gradient as for a large one, and the sign of a gradient near zero is a matter of rounding.
TOLERANCE = 2e-5


@cache
def blobs(train: int = 25 * BATCH + 5, validation: int = 300, mean: float = 0.0) -> Dataset:
    """Return so many examples of blobs, all of them moved by ``mean``."""
    whole = load("blobs")
    parts = (whole.train, train), (whole.validation, validation)
    first, second = (
        Split(split.x[:size] + np.float32(mean), split.y[:size]) for split, size in parts
    )
    return Dataset(
        name="blobs", sha256=whole.sha256, train=first, validation=second, classes=whole.classes
    )


Curve = list[tuple[float, ...]]  # loss, accuracy, val_loss, val_accuracy of each epoch


Weights = list[np.ndarray[Any, Any]]


def by_keras(
    trial: Recipe, seed: int, weight: np.ndarray[Any, Any] | None = None
) -> tuple[Curve, Weights]:
    """Train one network with Keras' own layers, loss, metrics and optimizer.

    With a ``weight`` for each example to train on.
    """
    data = blobs()
    model = networks.build(trial, Problem.of(data), seed)
    model.compile(
        optimizer=networks.optimizer(trial.training),
        loss="sparse_categorical_crossentropy",
        # With variables of its own, as the optimizer's below: if Keras makes them while a step is
        # traced, it is traced twice.
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile="auto" if keras.backend.backend() == "jax" else False,
    )
    model.optimizer.build(model.trainable_variables)
    curve: Curve = []
    for epoch in range(trial.training.epochs):
        order = data_order(seed, epoch, len(data.train))
        trained = [
            model.train_on_batch(
                data.train.x[chosen],
                data.train.y[chosen],
                sample_weight=None if weight is None else weight[chosen],
            )
            for chosen in order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        ]
        tested = model.test_on_batch(data.validation.x, data.validation.y)
        curve.append((*np.mean(trained, axis=0).tolist(), *map(float, tested)))
    return curve, model.get_weights()


Result = tuple[list[EpochResult], Weights, Outcome]


def in_lanes(
    lanes: Trainer, trials: dict[int, tuple[Recipe, int]], read: int | None = None
) -> dict[int, Result]:
    """Train all trials to their ends, in free lanes; read all weights, or those of one lane."""
    for lane, (trial, seed) in trials.items():
        lanes.start(lane, trial, seed)
    curves: dict[int, list[EpochResult]] = {lane: [] for lane in trials}
    while results := lanes.epoch():
        for lane, result in results.items():
            curves[lane].append(result)
    wanted = trials if read is None else [read]
    weights = {lane: lanes.model(lane).get_weights() for lane in wanted}
    return {lane: (curves[lane], weights.get(lane, []), lanes.stop(lane)) for lane in trials}


def distance(weights: Weights, others: Weights) -> float:
    """Return the largest difference between two networks' weights and statistics."""
    assert [w.shape for w in weights] == [w.shape for w in others]
    return max(float(np.abs(w - o).max()) for w, o in zip(weights, others, strict=True))


STEP = 5e-4  # one step's length, by which optimizers that divide by it turn a gradient near zero


def recipe(**changes: Any) -> Recipe:
    plain: dict[str, Any] = {"hidden": (12, 10), "activation": "elu", "initializer": "he_normal"}
    plain |= {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": 0.01, "best_weights": False}
    plain |= {"momentum": 0.9, "nesterov": True} | changes
    of_model = {field.name for field in fields(MLP)}
    model = {name: value for name, value in plain.items() if name in of_model}
    training = {name: value for name, value in plain.items() if name not in of_model}
    return Recipe(Config({}), MLP(**model), Training(**training))
