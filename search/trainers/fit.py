"""The trainer contract by `keras.Model.fit`: one trial at a time, for any Keras model."""

import contextlib
import logging
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from search.backend import prepare
from search.data.splits import Dataset, Split, some_of
from search.errors import ModelError, reason_of
from search.health import layers as anatomy
from search.health.cadence import LOOK_BATCH, Cadence, at_powers_of_three, never
from search.health.steps import Tally
from search.study.formulas import Weights
from search.study.metric import Metric, metric_for
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import data_order, derive
from search.trainers import model as networks
from search.trainers.afresh import draw_afresh
from search.trainers.contract import Checkpoint, EpochResult, Outcome, TrainerLabel
from search.trainers.course import Course
from search.trainers.outputs import BATCH, Outputs, answers_of
from search.trainers.own import own_model
from search.trainers.problem import Problem
from search.trainers.schedules import is_constant, is_stepwise
from search.trainers.weights import weights_for

_logger = logging.getLogger(__name__)

FIT = "fit"  # of its checkpoints
GLANCE = 32  # examples that a model of the study's own answers before it is trained


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
    problem: Problem  # whose targets are as the model is trained on
    outputs: Outputs
    own: bool  # whether the model is of the study's own
    weight: Weights | None  # of the examples to train on, [example]; None = all count as much


class FitTrainer:
    """Trains one trial at a time with `keras.Model.fit`; see `search.trainers.contract.Trainer`.

    Args:
        dataset: what to train and validate on.
        cadence: when the trials' health is looked at.
        problem: what networks must know of the data, where these are a few of more.

    """

    lanes = 1
    label = TrainerLabel("fit")

    def __init__(
        self,
        dataset: Dataset,
        cadence: Cadence = at_powers_of_three,
        problem: Problem | None = None,
    ) -> None:
        self._dataset = dataset
        self._cadence = cadence
        self._problem = problem or Problem.of(dataset)
        self._running: _Running | None = None

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial in lane 0, or continue it from its checkpoint.

        Layers of the study's own draw in each epoch what the trial's seed says, wherever they come
        from, if their random numbers come from a `keras.random.SeedGenerator` that is theirs, as
        in all layers of Keras.

        Raises:
            ModelError: the study's own ``build`` does not give a model that can be trained.
            SpecError: the study's settings cannot be those of its own model.
            ValueError: the checkpoint does not fit; see `search.trainers.contract.Trainer`.

        """
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is None, "the lane is not free"
        # Keras keeps every model it ever built in a global graph unless it is told to forget.
        keras.backend.clear_session()
        prepare()
        problem, is_own = self._problem, not isinstance(recipe.model, MLP)
        model: keras.Model
        if is_own:
            few = self._dataset.validation.part(slice(GLANCE))
            own = own_model(recipe, problem, seed, few)
            model, recipe, problem, outputs = own.model, own.recipe, own.problem, own.outputs
        else:
            model = networks.build(recipe, problem, seed)
            networks.compile_for(model, recipe.training, problem)
            outputs = Outputs.of_mlp(problem.classes)
        weight = weights_for(recipe.training, self._dataset)
        _forget_gradients()
        model.optimizer.build(model.trainable_variables)
        state = [*model.variables, *model.optimizer.variables]
        past = checkpoint.curve if checkpoint else ()
        course = Course(recipe.training, self._problem.metric, past)
        kept: list[Any] = []
        if checkpoint:
            checkpoint.check(FIT, (tuple(v.shape) for v in (*state, *model.weights)))
            for variable, value in zip(state, checkpoint.arrays, strict=False):
                variable.assign(value)
            kept = list(checkpoint.arrays[len(state) :])
        tally = None if self._cadence is never else Tally(model)
        self._running = _Running(
            recipe, seed, model, course, kept, state, tally, problem, outputs, is_own, weight
        )

    def epoch(self) -> dict[int, EpochResult]:
        """Train the trial for one epoch, unless it has ended."""
        running = self._running
        if running is None or running.course.over:
            return {}
        self._running = None  # until the epoch has gone well
        if not running.course.epochs:
            self._look(running)
        seen, logs, reached = self._fit(running)
        if running.course.add(*self._scores(running, logs, seen)):
            running.kept = running.model.get_weights()
        # An author's own fit may have left the callback out; then nothing is known to go back to.
        for variable, value in zip(running.model.trainable_variables, reached, strict=False):
            variable.assign(value)
        self._look(running)
        self._running = running
        return {0: running.course.last}

    def _scores(
        self, running: _Running, logs: dict[str, float], seen: Split
    ) -> tuple[float, float, float, float]:
        """Return loss and score, and both of the validation split.

        The score over the epoch is accuracy or R², whatever the study is about. What a model of
        the study's own reports besides its loss is its author's business: it is scored by its
        answers, after the epoch. Of those that it has ``seen`` in the epoch it answers as many as
        there are for validation.
        """
        if missing := {"loss", "val_loss"} - logs.keys():
            raise ModelError(
                f"the model reports no {min(missing)}: compile it with a loss, or let its own "
                "train_step and test_step return one by the name loss"
            )
        dataset, metric = self._dataset, self._problem.metric
        plain, weight = metric_for(None, dataset.task), dataset.validation_weight
        if running.own:
            score, val_score = self._judged(running, plain, seen), None
        else:
            score, val_score = self._reported(logs)
        if val_score is None or metric is not plain or weight is not None:
            val_score = self._judged(running, metric, dataset.validation, weight)
        return logs["loss"], score, logs["val_loss"], val_score

    def _reported(self, logs: dict[str, float]) -> tuple[float, float]:
        """Return what Keras' own metrics say of an MLP, while it was trained and then."""
        if self._problem.classes is not None:
            return logs["accuracy"], logs["val_accuracy"]
        # Standardized targets have the variance 1 over the training split.
        variance = self._problem.answers(self._dataset.validation).var(dtype=np.float64)
        return 1 - logs["mse"], 1 - logs["val_mse"] / float(variance)

    def _judged(
        self, running: _Running, metric: Metric, split: Split, weight: Weights | None = None
    ) -> float:
        """Score the answers that the model gives now."""
        return metric.score(split.y, self._answers(running, split, metric), weight)

    def _answers(self, running: _Running, split: Split, metric: Metric) -> NDArray[Any]:
        """Return what a metric scores, predictions in the unit of the targets."""
        answers = running.outputs.answers(answers_of(running.model, split.x), metric)
        return running.problem.in_unit(answers) if self._problem.classes is None else answers

    @cached_property
    def _few(self) -> Split:
        """The validation examples that health is looked at with."""
        validation = self._dataset.validation
        return validation.take(some_of(len(validation), LOOK_BATCH))

    def _look(self, running: _Running) -> None:
        """Look at the trial's health if it is its turn."""
        course, tally = running.course, running.tally
        if tally is None or not self._cadence(course.epochs, course.over):
            return
        clipped, finite = tally.read()
        try:
            snapshot = anatomy.measure(
                running.model, self._few.x, running.problem.wanted(self._few)
            )
        except Exception as error:
            if isinstance(running.recipe.model, MLP):
                raise
            running.tally = None  # a model that trains well need not bear being looked at
            _logger.warning("its model's gradients cannot be looked at: %s", reason_of(error))
            return
        steps = len(self._dataset.train) // self._batch(running)
        course.look(
            snapshot, clipped / steps if course.epochs and tally.clips else None, finite, steps
        )

    def _batch(self, running: _Running) -> int:
        return min(running.recipe.training.batch_size, len(self._dataset.train))

    def _fit(self, running: _Running) -> tuple[Split, dict[str, float], list[NDArray[Any]]]:
        """Train for an epoch.

        Keras ends each `keras.Model.fit` by what its optimizer calls the final values of the
        weights: one with ``use_ema=True`` leaves their averages. These are what a trial would come
        to if it ended here, so they are what is judged and kept; training goes on from the others.

        Returns:
            The first examples that the model saw, what Keras reports of the epoch, and the
            trainable weights that the last step led to.

        """
        train, validation = self._dataset.train, self._dataset.validation
        epoch = running.course.epochs
        batch = self._batch(running)
        order = data_order(running.seed, epoch, len(train))[: len(train) // batch * batch]
        shuffled = train.take(order)
        reached: list[NDArray[Any]] = []
        callbacks = [_at_the_end(running.model, reached)]
        if not is_constant(running.recipe.training):
            rates = running.course.rates(len(order) // batch)
            running.model.optimizer.learning_rate = rates[0]
            if is_stepwise(running.recipe.training):
                callbacks.append(_each_step(running.model, rates))
        if not isinstance(running.recipe.model, MLP):
            # Layers of the study's own may draw from global state, or draw in other models too, of
            # another fold say: tie both to this epoch of this trial. In an MLP only dropout draws,
            # and the state of that is a variable. TensorFlow forgets all its kernels over this,
            # which would double the time of a look.
            seed = derive(running.seed, "epoch", epoch)
            networks.draw_from(seed)
            draw_afresh(running.model, seed)
        if running.tally:
            running.tally.reset()
        history = running.model.fit(
            shuffled.x,
            running.problem.wanted(shuffled),
            sample_weight=None if running.weight is None else running.weight[order],
            batch_size=batch,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
        # On JAX they are the very arrays of the optimizer now, which would go with what is judged.
        for variable in running.model.trainable_variables:
            variable.assign(np.array(keras.ops.convert_to_numpy(variable)))
        reported = {name: values[-1] for name, values in history.history.items()}
        judged = running.model.evaluate(
            validation.x,
            running.problem.wanted(validation),
            sample_weight=self._dataset.validation_weight,
            batch_size=BATCH,
            verbose=0,
            return_dict=True,
        )
        reported |= {f"val_{name}": value for name, value in judged.items()}
        # A metric of the author's may be many numbers, one for each class say.
        logs = {name: float(value) for name, value in reported.items() if np.ndim(value) == 0}
        return shuffled.part(slice(len(validation))), logs, reached

    def _in(self, lane: int) -> _Running:
        """Return the trial that is being trained."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        return self._running

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where the trial stands."""
        running = self._in(lane)
        state = (keras.ops.convert_to_numpy(value) for value in running.state)
        return running.course.checkpoint(FIT, (*state, *running.kept))

    def model(self, lane: int) -> keras.Model:
        """Return the model with the kept weights; training it further is not possible."""
        running = self._in(lane)
        if running.kept:
            running.model.set_weights(running.kept)
        return networks.finished(running.model, running.problem)

    def answers(self, lane: int, split: Split) -> NDArray[Any]:
        """Return what is scored of what the trial's network itself says."""
        return self._answers(self._in(lane), split, self._problem.metric)

    def stop(self, lane: int) -> Outcome:
        """End the trial and free lane 0."""
        running = self._in(lane)
        outcome = running.course.outcome()
        self._running = None
        return outcome


def _at_the_end(model: keras.Model, reached: list[NDArray[Any]]) -> keras.callbacks.Callback:
    """Return what puts the weights that an epoch leads to into a list, before they are final."""

    def end(epoch: int, logs: object) -> None:  # noqa: ARG001 (Keras gives them by position)
        reached[:] = map(keras.ops.convert_to_numpy, model.trainable_variables)

    return keras.callbacks.LambdaCallback(on_epoch_end=end)


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
