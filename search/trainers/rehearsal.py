"""A rehearsal of a study's own model, before anything is stored: whatever is to fail fails now.

One model is built from one configuration, trained on one batch, saved, loaded back and compared.
Another one is built before, and must stay what it is; one of another seed must be another.
"""

import logging
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from search.data.splits import Dataset, Given, Split
from search.errors import QUOTED, ModelError, ModelRefused, SpecError, UsageError, reason_of
from search.study.recipe import Recipe, setting_names
from search.study.seeds import derive
from search.study.spec import StudySpec
from search.study.training import Training
from search.trainers.afresh import Untouched
from search.trainers.chance import Drawn
from search.trainers.files import loaded, saved
from search.trainers.fit import GLANCE, FitTrainer
from search.trainers.outputs import Outputs, answers_of, close
from search.trainers.own import attempt, own_model
from search.trainers.problem import Problem

_logger = logging.getLogger(__name__)

CONFIGURATIONS = 24  # corners of the space, and as many mixtures of them, that may be tried
UNTOLD = 1e-4  # of a step, by which rounding may turn it
_REGISTER = "@keras.saving.register_keras_serializable()"


def rehearse(spec: StudySpec, dataset: Dataset) -> None:
    """Try the model of a study's first configuration.

    Raises:
        SpecError: it cannot be trained on these data, or would not be the same when it is loaded
            from a file; the message says what to change.

    """
    recipe = spec.recipe(next(spec.search_space.corners()))
    few = _few(dataset, recipe.training.batch_size)
    try:
        other, heeded = attempt(recipe, spec.seed, few.validation)
        untouched = Untouched(other) if other else None
        note = _check_chance(other, recipe, spec.seed, few) if other else ""
        # As in training its steps are counted; its gradients are looked at there.
        trainer = FitTrainer(few, lambda *_: False, Problem.of(dataset))
        trainer.start(0, recipe, spec.seed)
        trainer.epoch()
        if untouched:
            untouched.check()
        unit = 1.0 if few.classes else float(dataset.train.y.std())
        model = trainer.model(0)
        said = answers_of(model, few.validation.given)
        _check_alone(model, said, few.validation, unit)
        _check_finished(model, said, trainer.answers(0, few.validation), few, unit)
        _check_kept(model, said, few.validation.given, unit)
        if dataset.raw is not None:
            _check_raw(model, dataset.raw, unit)
        _check_heeded(spec, heeded, few)
        if other and (what := _weights(spec, dataset)):
            _check_weighed(other, recipe, spec.seed, few, what)
        for line in (note, _unused(other, spec.training) if other else ""):
            if line:
                _logger.warning("%s", line)
    except UsageError:
        raise
    except ModelError as error:
        raise ModelRefused(f"model: {error}{_or_other_task(spec, dataset, str(error))}") from error
    except Exception as error:
        raise ModelRefused(
            f"model: build(config) must give a model that can be trained; "
            f"{_hint(error, _weights(spec, dataset))}with the "
            f"first configuration, {dict(recipe.config)}, it says {reason_of(error, QUOTED)}"
        ) from error


def _check_heeded(spec: StudySpec, heeded: set[str], few: Dataset) -> None:
    """Refuse a hyperparameter that changes no trial: chance would choose among its values.

    One that ``build`` asks for in some configurations alone is looked for in many. A key that has
    one value and is no setting is nothing that is searched.

    Args:
        spec: the study.
        heeded: the keys that bear on the trial of its first configuration.
        few: examples.

    Raises:
        SpecError: there is one.

    """
    space, settings = spec.search_space, setting_names(Training)
    left = {one.name for one in space.dimensions if one.count > 1 or one.name in settings} - heeded
    corners = islice(space.corners(), 1, CONFIGURATIONS)
    for config in chain(corners, space.mixtures(CONFIGURATIONS)):
        if not left:
            return
        left -= attempt(spec.recipe(config), spec.seed, few.validation)[1]
    if left:
        raise SpecError(
            f"space: build(config) asks for {min(left)} in no configuration that was tried, and no "
            "trial depends on it; ask for it at the top of build, or leave it out of the space"
        )


def _unused(model: keras.Model, training: Training) -> str:
    """Return which of the study's settings say nothing of a model, as its author compiled it."""
    names = ("optimizer", "learning_rate", "momentum", "nesterov", "weight_decay")
    usual = Training(epochs=1)
    named = [one for one in names if getattr(training, one) != getattr(usual, one)]
    if not (model.compiled and named):
        return ""
    return (
        "build compiles its model, whose optimizer keeps its own settings; not used of the study's "
        f"Training: {', '.join(named)}"
    )


def _check_chance(model: keras.Model, recipe: Recipe, seed: int, few: Dataset) -> str:
    """Make sure that another seed makes another network of a configuration.

    Args:
        model: of the seed, built this moment.
        recipe: of the configuration.
        seed: that it was built with.
        few: examples.

    Returns:
        What the user had better know; nothing where there is nothing.

    Raises:
        ModelError: it makes the same one.

    """
    drawn = Drawn.just(model)
    other, _ = attempt(recipe, derive(seed, "another"), few.validation)
    return "" if other is None else drawn.check(Drawn.just(other))


def _weights(spec: StudySpec, dataset: Dataset) -> str:
    """Return what gives examples weights, in words; nothing where nothing does."""
    corners = islice(spec.search_space.corners(), CONFIGURATIONS)
    if any(spec.recipe(one).training.class_weight for one in corners):
        return "class_weight"
    return "" if dataset.train.weight is None else "the weights of the examples"


def _check_weighed(
    untrained: keras.Model, recipe: Recipe, seed: int, few: Dataset, what: str
) -> None:
    """Make sure that it matters to a model's training which of the examples have weight.

    It is trained on a batch of which one half has none, and then the other half. By a loss that is
    one number of a batch, or a step that leaves the weights out, it comes to the same.

    Args:
        untrained: the model, as it is before.
        recipe: of its configuration.
        seed: that it was built with.
        few: examples, a batch of them to train on.
        what: gives them weights, in words.

    Raises:
        ModelError: it makes no difference.

    """
    train, after = few.train, []
    halves = (np.arange(len(train)) % 2).astype(np.float32)
    others = 1 - halves
    others[len(train) // 2 * 2 :] = 0  # as many as in the one half
    for weight in (halves, others):
        own = own_model(recipe, Problem.of(few), seed, few.validation)
        # The first step of others, Adam's say, has one length however large the gradient is.
        own.model.optimizer = keras.optimizers.SGD(1.0)
        own.model.fit(
            train.x,
            own.problem.wanted(train),
            sample_weight=weight,
            batch_size=len(train),
            shuffle=False,
            verbose=0,
        )
        after.append(_trained(own.model))
    before = _trained(untrained)
    moved, apart = (float(np.linalg.norm(after[0] - one)) for one in (before, after[1]))
    if apart < UNTOLD * moved:
        raise ModelError(
            f"{what} would change nothing: it is trained alike whichever examples have weight; let "
            "its loss return a number for each example, and its compute_loss or train_step heed "
            f"sample_weight, or leave {what} out"
        )


def _trained(model: keras.Model) -> NDArray[np.float64]:
    """Return all that is trained of a model, one behind another."""
    values = (keras.ops.convert_to_numpy(one).ravel() for one in model.trainable_variables)
    return np.concatenate([one.astype(np.float64) for one in values])


def _few(dataset: Dataset, batch: int) -> Dataset:
    """Return a data set of one batch."""
    train = dataset.train.take(np.arange(min(batch, len(dataset.train))))
    validation = dataset.validation.part(slice(GLANCE))
    return replace(dataset, train=train, validation=validation)


def _check_finished(
    model: keras.Model, said: NDArray[Any], trained: NDArray[Any], few: Dataset, unit: float
) -> None:
    """Make sure that a finished model says what the network said that was trained.

    Raises:
        ModelError: it does not.

    """
    if not close(trained, Outputs.of(model, few.labels, said).answers(said, few.metric), unit):
        raise ModelError(
            "with answers in the unit of the targets it says otherwise than it was trained to; "
            "compile it in build, and it is trained in that unit itself"
        )


def _check_alone(model: keras.Model, said: NDArray[Any], few: Split, unit: float) -> None:
    """Make sure that what a model says of an example depends on that example alone.

    Otherwise its score is one of many, and whoever loads the model finds another one.

    Raises:
        ModelError: it depends on chance, on what was asked before, or on the other examples.

    """
    if not close(said, answers_of(model, few.given), unit):
        raise ModelError(
            "asked again it says otherwise of the same examples: leave out training=True, "
            "stateful=True and whatever else draws or counts while it predicts"
        )
    last = slice(len(few) // 2, None)
    if not close(said[last], answers_of(model, few.part(last).given), unit):
        raise ModelError(
            "what it says of an example depends on the others of its batch: leave out "
            "training=True of BatchNormalization, and compute nothing over axis 0"
        )


def _check_kept(model: keras.Model, said: NDArray[Any], x: Given, unit: float) -> None:
    """Make sure that a model survives its file.

    Raises:
        ModelError: it does not.

    """
    try:
        content = saved(model)
    except Exception as error:
        raise ModelError(
            f"it cannot be saved; give its layers a get_config(): {reason_of(error)}"
        ) from error
    try:
        again = loaded(content)
    except Exception as error:
        raise ModelError(_unloadable(model, reason_of(error))) from error
    if not close(said, answers_of(again, x), unit):
        raise ModelError(
            "loaded from its file it answers otherwise; what training changes must be a weight "
            "(self.add_weight), and what the constructor takes must be in get_config()"
        )


def _check_raw(model: keras.Model, raw: NDArray[Any], unit: float) -> None:
    """Make sure that a model says of a file's own numbers what it says of float32.

    That is what it is trained and judged on, while its user gives it what the file has. A model
    that does not take these says nothing false of them.

    Raises:
        ModelError: it says otherwise.

    """
    try:
        said = answers_of(model, raw)
    except Exception:
        return
    if not close(answers_of(model, raw.astype(np.float32)), said, unit):
        raise ModelError(
            f"x_train holds {raw.dtype}, of which it says otherwise than of the same numbers as "
            "float32, which networks are trained on; turn all inputs into float32 in the file, or "
            "the model's first step into keras.ops.cast(x, 'float32')"
        )


def _unloadable(model: keras.Model, reason: str) -> str:
    """Say what to change about a model that cannot be loaded back."""
    for layer in model._flatten_layers():
        function = getattr(layer, "activation", None)
        module, name = (str(getattr(function, what, "")) for what in ("__module__", "__name__"))
        name = name.removesuffix("_v2")
        if module.startswith(("tensorflow.", "jax.")) and hasattr(keras.activations, name):
            return (
                f"the layer {layer.name} has its activation from {module.split('.')[0]}, which "
                f"Keras cannot load from a file: say activation='{name}'"
            )
    if "Lambda" in reason:  # Keras' own advice, unsafe loading, would be everybody's who loads it
        return (
            "a Lambda layer with a Python function cannot be loaded from a file; write it as a "
            f"layer of your own, decorated with {_REGISTER}, or with keras.ops"
        )
    if "Could not locate" in reason or "could not be deserialized" in reason:
        return (
            f"decorate your own layers, models, losses, metrics and functions with {_REGISTER}, "
            f"and give classes a get_config(), so that the model can be loaded: {reason}"
        )
    return f"it cannot be loaded from its file; mend get_config() and build(): {reason}"


def _or_other_task(spec: StudySpec, dataset: Dataset, said: str) -> str:
    """Say how the study names its task, where a model's outputs are those of the other one."""
    labels = dataset.labels or ("",)
    if spec.task is not None:
        return ""
    if said.startswith("a regression needs one output"):
        return ', or say task="classification" in the study if y_train holds classes'
    if said.startswith("the model has 1 output for ") and all(type(one) is int for one in labels):
        return ', or say task="regression" in the study if y_train holds numbers to predict'
    return ""


def _hint(error: Exception, weights: str) -> str:
    """Say what most often is the matter.

    Args:
        error: that came.
        weights: what gives the examples weights, in words.

    """
    if weights and "too many values to unpack" in str(error):
        return (
            "its train_step is given inputs, answers and, by "
            f"{weights}, weights: let it take x, y, sample_weight and heed the last; "
        )
    if isinstance(error, TypeError) and "positional argument" in str(error):
        return "build takes one argument, the configuration; "
    if "stateful" in str(error):
        return "leave out stateful=True, since examples come in no order; "
    return ""
