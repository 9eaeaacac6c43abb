"""The trainer contract by `keras.Model.fit`: one trial at a time, for any Keras model."""

import contextlib
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from search.data.splits import Dataset, Split
from search.errors import SpecError
from search.health import layers as anatomy
from search.health.cadence import LOOK_BATCH, Cadence, at_rungs, never
from search.health.snapshot import layers_of
from search.health.steps import Tally
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import data_order, derive
from search.trainers import model as networks
from search.trainers.contract import Checkpoint, Course, EpochResult, Outcome
from search.trainers.model import Problem
from search.trainers.schedules import is_constant, is_stepwise

KIND = "fit"  # of its checkpoints
VALIDATION_BATCH = 1000  # examples; large enough that the calls' overhead vanishes


@dataclass
class _Running:
    """The trial that is being trained."""

    recipe: Recipe
    seed: int
    model: keras.Model
    course: Course
    kept: list[Any]  # weights of the best epoch so far
    state: list[Any]  # all variables that training changes: weights, seeds, and the optimizer's
    tally: Tally | None  # of the epoch, where health is looked at


class FitTrainer:
    """Trains one trial at a time with `keras.Model.fit`; see `search.trainers.contract.Trainer`.

    Args:
        dataset: what to train and validate on.
        cadence: when the trials' health is looked at.

    """

    lanes = 1
    label = "fit"

    def __init__(self, dataset: Dataset, cadence: Cadence = at_rungs) -> None:
        self._dataset = dataset
        self._cadence = cadence
        self._problem = Problem.of(dataset)
        self._running: _Running | None = None

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial in lane 0, or continue it from its checkpoint.

        Layers of the study's own continue as they should if their random numbers come from a
        `keras.random.SeedGenerator` that is theirs, as in all layers of Keras.

        Raises:
            SpecError: the study's own ``build`` does not give a model that can be trained.
            ValueError: the checkpoint does not fit; see `search.trainers.contract.Trainer`.

        """
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is None, "the lane is not free"
        # Keras keeps every model it ever built in a global graph unless it is told to forget.
        keras.backend.clear_session()
        model = networks.build(recipe, self._problem, seed)
        networks.compile_for(model, recipe.training, self._problem)
        _forget_gradients()
        if not model.built:  # for want of an input layer
            model(self._dataset.validation.x[:1])
        self._check_outputs(model)
        model.optimizer.build(model.trainable_variables)
        state = [*model.variables, *model.optimizer.variables]
        past = checkpoint.curve if checkpoint else ()
        course = Course(recipe.training, past, self._problem.metric)
        kept: list[Any] = []
        if checkpoint:
            checkpoint.check(KIND, (tuple(v.shape) for v in (*state, *model.weights)))
            for variable, value in zip(state, checkpoint.arrays, strict=False):
                variable.assign(value)
            kept = list(checkpoint.arrays[len(state) :])
        tally = None if self._cadence is never else Tally(model)
        self._running = _Running(recipe, seed, model, course, kept, state, tally)

    def epoch(self) -> dict[int, EpochResult]:
        """Train the trial for one epoch, unless it has ended."""
        running = self._running
        if running is None or running.course.over:
            return {}
        self._running = None  # until the epoch has gone well
        if not running.course.epochs:
            self._look(running)
        if running.course.add(*self._scores(self._fit(running))):
            running.kept = running.model.get_weights()
        self._look(running)
        self._running = running
        return {0: running.course.last}

    def _check_outputs(self, model: keras.Model) -> None:
        """Refuse a regression's model whose outputs Keras would stretch to the targets' shape."""
        if self._problem.classes is None:
            shape = tuple(model.compute_output_shape((1, *self._problem.input_shape)))
            if shape != (1, 1):
                raise SpecError(
                    f"the study's model has outputs of shape {shape} for one example; a regression "
                    "needs one number, (1, 1): end it with Dense(1)"
                )

    def _scores(self, logs: dict[str, float]) -> tuple[float, float, float, float]:
        """Return loss and score, and both of the validation split."""
        name = "mse" if self._problem.classes is None else "accuracy"
        missing = {"loss", name, "val_loss", f"val_{name}"} - logs.keys()
        if missing:
            raise SpecError(
                f"the study's model reports no {min(missing)}; compile it with "
                f"metrics=['{name}'], or leave compiling to the study's training settings"
            )
        score, val_score = logs[name], logs[f"val_{name}"]
        if self._problem.classes is None:
            # Standardized targets have the variance 1 over the training split.
            variance = self._problem.answers(self._dataset.validation).var(dtype=np.float64)
            score, val_score = 1 - score, 1 - val_score / float(variance)
        return logs["loss"], score, logs["val_loss"], val_score

    def _answers(self, split: Split) -> NDArray[Any]:
        """Return what the split's examples are to come to, in the shape that Keras wants."""
        answers = self._problem.answers(split)
        return answers[:, None] if self._problem.classes is None else answers

    def _look(self, running: _Running) -> None:
        """Look at the trial's health if it is its turn."""
        course, tally = running.course, running.tally
        if tally is None or not self._cadence(course.epochs, course.over):
            return
        validation = self._dataset.validation
        x, y = validation.x[:LOOK_BATCH], self._answers(validation)[:LOOK_BATCH]
        clipped, finite = tally.read()
        layers = layers_of(anatomy.measure(running.model, x, y).tolist())
        steps = len(self._dataset.train) // self._batch(running)
        course.look(
            layers, clipped / steps if course.epochs and tally.clips else None, finite, steps
        )

    def _batch(self, running: _Running) -> int:
        return min(running.recipe.training.batch_size, len(self._dataset.train))

    def _fit(self, running: _Running) -> dict[str, float]:
        train, validation = self._dataset.train, self._dataset.validation
        epoch = running.course.epochs
        batch = self._batch(running)
        order = data_order(running.seed, epoch, len(train))[: len(train) // batch * batch]
        shuffled = train.take(order)
        callbacks = []
        if not is_constant(running.recipe.training):
            rates = running.course.rates(len(order) // batch)
            running.model.optimizer.learning_rate = rates[0]
            if is_stepwise(running.recipe.training):
                callbacks.append(_each_step(running.model, rates))
        if not isinstance(running.recipe.model, MLP):
            # Layers of the study's own may draw from global state: tie it to this epoch of this
            # trial. In an MLP only dropout draws, and the state of that is a variable. TensorFlow
            # forgets all its kernels over this, which would double the time of a look.
            keras.utils.set_random_seed(derive(running.seed, "epoch", epoch))
        if running.tally:
            running.tally.reset()
        history = running.model.fit(
            shuffled.x,
            self._answers(shuffled),
            batch_size=batch,
            shuffle=False,
            validation_data=(validation.x, self._answers(validation)),
            validation_batch_size=VALIDATION_BATCH,
            verbose=0,
            callbacks=callbacks,
        )
        return {name: float(values[-1]) for name, values in history.history.items()}

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where the trial stands."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        state = (keras.ops.convert_to_numpy(value) for value in self._running.state)
        return self._running.course.checkpoint(KIND, (*state, *self._running.kept))

    def model(self, lane: int) -> keras.Model:
        """Return the model with the kept weights; training it further is not possible."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        if self._running.kept:
            self._running.model.set_weights(self._running.kept)
        return networks.finished(self._running.model, self._problem)

    def stop(self, lane: int) -> Outcome:
        """End the trial and free lane 0."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        outcome = self._running.course.outcome()
        self._running = None
        return outcome


def _each_step(model: keras.Model, rates: NDArray[np.float64]) -> keras.callbacks.Callback:
    """Return what gives each step its learning rate, ``[step]``.

    A schedule of Keras' own kind would need no callback, but one that looks its rates up in a table
    is a class of ours, which whoever loads the model would need, and those of Keras compute in
    float32 what is known here in float64.
    """

    def begin(batch: int, logs: object) -> None:  # noqa: ARG001 (Keras gives them by name)
        if keras.backend.backend() == "jax":  # where variables are copies while a model is fitted
            model.jax_state_sync()
        model.optimizer.learning_rate = rates[batch]

    return keras.callbacks.LambdaCallback(on_train_batch_begin=begin)


def _forget_gradients() -> None:
    """Let go of the graphs of the trials before.

    Each training function that TensorFlow traces registers gradients of its own under new names,
    for good, and with them its whole graph: 1.6 MB a trial of the smallest network.
    """
    if keras.backend.backend() == "tensorflow":
        with contextlib.suppress(ImportError, AttributeError):  # a release may move it
            from tensorflow.python.framework.ops import gradient_registry

            registered = gradient_registry._registry
            for name in [name for name in registered if name.startswith("CustomGradient-")]:
                del registered[name]
