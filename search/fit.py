"""The trainer contract by `keras.Model.fit`: one trial at a time, for any Keras model."""

from dataclasses import dataclass
from typing import Any

import keras

from search import model as networks
from search.data import Dataset, Split
from search.errors import SpecError
from search.model import Problem
from search.seeds import data_order, derive
from search.spec import Recipe
from search.trainer import Checkpoint, Course, EpochResult, Outcome

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


class FitTrainer:
    """Trains one trial at a time with `keras.Model.fit`; see `search.trainer.Trainer`."""

    lanes = 1
    label = "fit"

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
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
            ValueError: the checkpoint does not fit; see `search.trainer.Trainer`.

        """
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is None, "the lane is not free"
        # Keras keeps every model it ever built in a global graph unless it is told to forget.
        keras.backend.clear_session()
        model = networks.build(recipe, self._problem, seed)
        networks.compile_for(model, recipe.training)
        _forget_gradients()
        course = Course(recipe.training, checkpoint.curve if checkpoint else ())
        kept = self._restored(model, checkpoint) if checkpoint else []
        self._running = _Running(recipe, seed, model, course, kept)

    def _restored(self, model: keras.Model, checkpoint: Checkpoint) -> list[Any]:
        """Bring an untrained model to where the checkpoint was taken; return the kept weights."""
        model(self._dataset.train.x[:1])  # without an input layer it has no variables before
        model.optimizer.build(model.trainable_variables)
        state = _state(model)
        checkpoint.check(KIND, (tuple(variable.shape) for variable in (*state, *model.weights)))
        for variable, value in zip(state, checkpoint.arrays, strict=False):
            variable.assign(value)
        return list(checkpoint.arrays[len(state) :])

    def epoch(self) -> dict[int, EpochResult]:
        """Train the trial for one epoch, unless it has ended."""
        running = self._running
        if running is None or running.course.over:
            return {}
        self._running = None  # until the epoch has gone well
        logs = self._fit(running)
        missing = {"loss", "accuracy", "val_loss", "val_accuracy"} - logs.keys()
        if missing:
            raise SpecError(
                f"the study's model reports no {min(missing)}; compile it with "
                "metrics=['accuracy'], or leave compiling to the study's training settings"
            )
        if running.course.add(
            logs["loss"], logs["accuracy"], logs["val_loss"], logs["val_accuracy"]
        ):
            running.kept = running.model.get_weights()
        self._running = running
        return {0: running.course.last}

    def _fit(self, running: _Running) -> dict[str, float]:
        train, validation = self._dataset.train, self._dataset.validation
        epoch = running.course.epochs
        batch = min(running.recipe.training.batch_size, len(train))
        order = data_order(running.seed, epoch, len(train))[: len(train) // batch * batch]
        shuffled = Split(train.x[order], train.y[order])
        if running.recipe.training.decay != 1:
            running.model.optimizer.learning_rate = running.recipe.training.rate(epoch)
        # Layers such as dropout draw from global state: tie it to this epoch of this trial.
        keras.utils.set_random_seed(derive(running.seed, "epoch", epoch))
        history = running.model.fit(
            shuffled.x,
            shuffled.y,
            batch_size=batch,
            shuffle=False,
            validation_data=(validation.x, validation.y),
            validation_batch_size=VALIDATION_BATCH,
            verbose=0,
        )
        return {name: float(values[-1]) for name, values in history.history.items()}

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where the trial stands."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        state = (keras.ops.convert_to_numpy(value) for value in _state(self._running.model))
        return self._running.course.checkpoint(KIND, (*state, *self._running.kept))

    def model(self, lane: int) -> keras.Model:
        """Return the model with the kept weights; training it further is not possible."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        if self._running.kept:
            self._running.model.set_weights(self._running.kept)
        return self._running.model

    def stop(self, lane: int) -> Outcome:
        """End the trial and free lane 0."""
        assert lane == 0, f"the fit trainer has lane 0 only, not {lane}"
        assert self._running is not None, "the lane is free"
        outcome = self._running.course.outcome()
        self._running = None
        return outcome


def _state(model: keras.Model) -> list[Any]:
    """Return all variables that training changes: weights, seeds, and the optimizer's."""
    return [*model.variables, *model.optimizer.variables]


def _forget_gradients() -> None:
    """Let go of the graphs of the trials before.

    Each training function that TensorFlow traces registers gradients of its own under new names,
    for good, and with them its whole graph: 1.6 MB a trial of the smallest network.
    """
    if keras.backend.backend() == "tensorflow":
        from tensorflow.python.framework.ops import gradient_registry

        registered = gradient_registry._registry
        for name in [name for name in registered if name.startswith("CustomGradient-")]:
            del registered[name]
