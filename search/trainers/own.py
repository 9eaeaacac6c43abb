"""A model of the study's own: built, understood, and compiled where its author did not."""

import contextlib
import io
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from search.backend import defaults
from search.data.splits import Split
from search.errors import QUOTED, ModelError, SpecError, reason_of
from search.study.recipe import Recipe, setting_names
from search.study.seeds import derive
from search.study.space import Config
from search.study.training import Training, check_chosen
from search.trainers import model as networks
from search.trainers.afresh import check_afresh, draw_afresh
from search.trainers.agreed import check_probabilities, check_wants
from search.trainers.outputs import Meaning, Outputs, answers_of, close
from search.trainers.problem import Problem
from search.trainers.reach import check_reach, takes_standardized
from search.trainers.schedules import is_constant


@dataclass(frozen=True)
class OwnModel:
    """A compiled model of the study's own, and what it is to be trained with."""

    model: keras.Model
    recipe: Recipe
    problem: Problem  # whose targets are as the model wants them
    outputs: Outputs


class _Watched(Config):
    """A configuration that remembers what was asked for.

    Whoever goes through all of it, to copy it say, has asked for nothing by that.

    Args:
        config: what it holds.

    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.asked: set[str] = set()
        self.listed: set[str] = set()  # what was gone through
        self._expected: deque[str] = deque()

    def __getitem__(self, name: str) -> Any:
        # dict(config), {**config} and config.items() read the values in the order of the names,
        # each right after its name or after all names.
        if self._expected and name == self._expected[0]:
            self._expected.popleft()
        else:
            self._expected.clear()
            self.asked.add(name)
        return super().__getitem__(name)

    def __iter__(self) -> Iterator[str]:
        self._expected.clear()
        for name in super().__iter__():
            self.listed.add(name)
            self._expected.append(name)
            yield name

    def copy(self) -> dict[str, Any]:
        return _Copy(self, self.asked)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return _Copy(super().__or__(other), self.asked)

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return _Copy(super().__ror__(other), self.asked)


class _Copy(dict[str, Any]):
    """A dictionary that was made of a configuration, and remembers for it what is asked for."""

    def __init__(self, values: Mapping[str, Any], asked: set[str]) -> None:
        super().__init__(values)
        self._asked = asked

    def __getitem__(self, name: str) -> Any:
        self._asked.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._asked.add(name)
        return super().get(name, default)

    def pop(self, name: str, *default: Any) -> Any:
        self._asked.add(name)
        return super().pop(name, *default)


def own_model(recipe: Recipe, problem: Problem, seed: int, few: Split) -> OwnModel:
    """Build the model of a configuration and make it ready for training.

    What its author compiled stays as it is: learning rate, schedule, loss and metrics. Such a
    model is trained on raw targets, since its loss was chosen for them. One that was not compiled
    gets the loss that fits its outputs and the study's training settings; its targets are
    standardized, see `search.trainers.model`, where its last unit is linear, or may say any number
    and is far from them otherwise.

    A key that ``build`` asks for is its author's. One that it leaves, and that is a setting of
    `Training`, is that setting of a model that was not compiled.

    Args:
        recipe: whose model is a function of the study's.
        problem: what it is to learn.
        seed: of the trial.
        few: examples.

    Raises:
        ModelError: what is built cannot be trained, or its outputs cannot mean the answers.
        SpecError: the study's settings cannot be those of its model.

    """
    config = _Watched(recipe.config)
    model, said = _answering(recipe, config, seed, few)
    if not model.trainable_variables:
        raise ModelError(
            "the model has no weights that are trained: leave trainable = False out of one of its "
            "layers, or add a Dense layer"
        )
    _check_predicts(model, few.x, said)
    outputs = Outputs.of(model, problem.labels, said)
    if not np.isfinite(keras.ops.convert_to_numpy(said).astype(np.float64)).all():
        raise ModelError(
            "before it is trained the model gives what is no number, or beyond all: scale its "
            "inputs, or give its layers dtype='float32'"
        )
    check_reach(model, outputs, problem, few.x)
    problem = replace(problem, given=outputs.given)
    if model.compiled:
        check_probabilities(model, outputs, problem, int(said.shape[-1]))
        check_wants(model, outputs, problem, int(said.shape[-1]))
        _check_left_alone(recipe.training)
        problem = _measured(model, _raw(problem), few, said)
        return OwnModel(model, recipe, problem, outputs)
    recipe = replace(recipe, training=_settled(recipe, config))
    if outputs.meaning is Meaning.NUMBER and not takes_standardized(model, problem, few.x, said):
        problem = _raw(problem)
    networks.compile_with(model, recipe.training, _loss(outputs))
    return OwnModel(model, recipe, problem, outputs)


def attempt(recipe: Recipe, seed: int, few: Split) -> tuple[keras.Model | None, set[str]]:
    """Build the model of a configuration, and leave it as it is.

    Returns:
        The model, or nothing where building it fails, and the keys of the configuration that may
        bear on its trial: those that ``build`` asks for or goes through, and those that are the
        study's settings of a model that was not compiled.

    """
    config = _Watched(recipe.config)
    try:
        model, _ = _answering(recipe, config, seed, few)
    except Exception:  # whoever trains it says what is the matter
        return None, config.asked | config.listed | {"batch_size"}
    settings = {"batch_size"} if model.compiled else setting_names(Training)
    return model, config.asked | config.listed | settings


def _answering(recipe: Recipe, config: Config, seed: int, few: Split) -> tuple[keras.Model, Any]:
    """Return a model that no other trial trains, and what it makes of a few examples."""
    with defaults():
        model = _built(recipe, config, seed)
        said = _said(model, few.x)
    check_afresh(model)
    draw_afresh(model, derive(seed, "model"))
    return model, said


def _built(recipe: Recipe, config: Config, seed: int) -> keras.Model:
    networks.draw_from(derive(seed, "model"))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what it prints is no part of a result
            model: object = recipe.model(config)  # type: ignore[operator]  # it is no MLP
    except SystemExit as error:
        raise ModelError(f"build(config) ends the program: sys.exit({error.code!r})") from error
    if not isinstance(model, keras.Model):
        raise ModelError(
            f"build(config) returns a {type(model).__name__}: it must return a keras.Model"
        )
    for what in ("inputs", "outputs"):
        tensors = getattr(model, what, None)  # a subclassed model has none to show
        if tensors is not None and len(tensors) != 1:
            raise ModelError(
                f"the model has {len(tensors)} {what}, and the data set has one array for them: "
                f"give it one of its {what}"
            )
        if tensors is not None and tensors[0].shape[0] is not None:
            raise ModelError(
                f"the model takes {tensors[0].shape[0]} examples at a time and no other number: "
                "leave the batch size out of its Input, and stateful=True out of its layers"
            )
    return model


def _said(model: keras.Model, few: NDArray[Any]) -> Any:
    """Return what a model makes of a few examples; it builds one that has no input layer."""
    try:
        said = model(few)
    except Exception as error:
        if (few == np.floor(few)).all() and _takes(model, few.astype(np.int32)):
            raise ModelError(
                "whole numbers reach the model as float32, and it takes them as int32 alone: let "
                "its call() begin with x = keras.ops.cast(x, 'int32')"
            ) from error
        raise ModelError(
            f"the model must take examples of shape {few.shape[1:]}, and it says "
            f"{reason_of(error, QUOTED)}"
        ) from error
    if said is None:
        raise ModelError("the model's call() returns None: let it return its outputs")
    return said


def _takes(model: keras.Model, few: NDArray[Any]) -> bool:
    try:
        model(few)
    except Exception:
        return False
    return True


def _check_predicts(model: keras.Model, few: NDArray[Any], said: Any) -> None:
    """Refuse a model that answers otherwise than it is trained to.

    Losses are about what the model itself gives, and scores about what it predicts.

    Raises:
        ModelError: it is such a model.

    """
    if not (changed := [name for name in _PREDICTS if _is_changed(model, name)]):
        return
    trained = keras.ops.convert_to_numpy(said).astype(np.float64)
    predicted = answers_of(model, few)
    if changed == ["predict"]:  # which whoever loads the model calls, and shows its progress
        with contextlib.redirect_stdout(io.StringIO()):
            predicted = np.asarray(model.predict(few))
    if predicted.shape != trained.shape or not close(trained, predicted):
        raise ModelError(
            f"its {changed[0]} gives other answers than the model itself, which is what is "
            "trained: leave it out, and let call() return what is to be judged"
        )


# Where an author may change what a model predicts.
_PREDICTS = ("predict_step", "predict_on_batch", "make_predict_function", "predict")


# Where an author may measure otherwise.
_MEASURES = ("compute_metrics", "train_step", "test_step")


def _is_changed(model: keras.Model, name: str) -> bool:
    method = getattr(model, name)
    return getattr(method, "__func__", method) is not getattr(keras.Model, name)


def _measured(model: keras.Model, problem: Problem, few: Split, said: Any) -> Problem:
    """Have Keras make the variables of a model's metrics; see `networks.compile_for`.

    Those that an author's own code makes, in its own way, are left to it.

    Returns:
        The problem with answers in the shape that the metrics take. Losses take either.

    Raises:
        ModelError: one of them has the name under which the loss is reported, or Keras cannot
            compute them.

    """
    found, flaw = None, ""
    for one in (problem, replace(problem, upright=True)):
        try:
            model.compute_metrics(None, one.wanted(few), said)
        except Exception as error:
            flaw = reason_of(error, QUOTED)
        else:
            found = one
            break
    if found is None and not any(_is_changed(model, name) for name in _MEASURES):
        raise ModelError(
            "it is compiled with metrics that cannot be computed of its outputs and the answers, "
            "which are class numbers or one target each: leave them out, since the study's own "
            f"metric scores, or take those whose names begin with Sparse; Keras says {flaw}"
        )
    model.reset_metrics()
    if any(part.name == "loss" for one in model.metrics for part in getattr(one, "metrics", ())):
        raise ModelError(
            "a metric that it is compiled with is called loss and hides the loss itself: give it "
            "another name"
        )
    return found or problem


def _raw(problem: Problem) -> Problem:
    """Return the problem with targets in their own unit."""
    return replace(problem, target_mean=0.0, target_scale=1.0)


def _check_left_alone(training: Training) -> None:
    """Refuse settings that a model which its author compiled would not heed.

    Raises:
        SpecError: there is one.

    """
    if is_constant(training) and not training.limits:
        return
    scheduled = "decay" if training.schedule == "exponential" else "schedule"
    what = next(iter(training.limits), scheduled)
    raise SpecError(
        f"build compiles its model, whose optimizer keeps its own settings, and the study's "
        f"Training sets {what}: give that to the optimizer in build, or leave compiling to the "
        "study"
    )


def _settled(recipe: Recipe, config: _Watched) -> Training:
    """Return the study's training with the settings that ``build`` leaves to it."""
    names = setting_names(Training) & set(config) - config.asked
    left = {name: recipe.config[name] for name in names}
    check_chosen(left, ", and build(config) does not ask for it")
    try:
        return replace(recipe.training, **left)
    except SpecError as error:
        raise ModelError(f"build(config) does not ask for {min(left)}: {error}") from error


def _loss(outputs: Outputs) -> "str | keras.losses.Loss":
    """Return the loss that fits what the outputs mean."""
    match outputs.meaning:
        case Meaning.NUMBER:
            return "mse"
        case Meaning.PROBABILITY:
            return "binary_crossentropy"
        case Meaning.LOGIT:
            return keras.losses.BinaryCrossentropy(from_logits=True)
        case Meaning.SHARES:
            return "sparse_categorical_crossentropy"
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
