"""The specification of a study: data, space, model, training, budget and target, in one record.

A study is a Python file that holds ``STUDY = StudySpec(...)`` and no control flow. It is frozen
with the store when the study is created: `StudySpec.describe` is what is stored and compared.
"""

import hashlib
import inspect
import math
import re
import runpy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from search.errors import SearchError, SpecError, StudyNotFound
from search.study.space import Choice, Config, Space

if TYPE_CHECKING:
    import keras

BuildModel: TypeAlias = Callable[[Config], "keras.Model"]

ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "sigmoid",
    "tanh",
    "gelu",
    "swish",
    "softplus",
    "mish",
    "prelu",
    "maxout",
)
INITIALIZERS = (
    "lecun_normal",
    "lecun_uniform",
    "he_normal",
    "he_uniform",
    "glorot_normal",
    "glorot_uniform",
    "he_avg_uniform",
    "random_normal",
    "random_uniform",
    "normal",
    "paired",
)
CLIPPINGS = ("clipnorm", "clipvalue", "global_clipnorm", "none")
OPTIMIZERS = ("sgd", "rmsprop", "adam", "nadam", "adamw")
SCHEDULES = ("constant", "exponential", "cosine", "1cycle", "plateau")
SAMPLERS = ("tpe", "random", "randomized", "cmaes", "qmc", "grid")
PRUNERS = ("asha", "median", "hyperband", "none")
FULL = ("epochs", "trials")  # what a study's full budget may set


@dataclass(frozen=True, kw_only=True)
class MLP:
    """A multilayer perceptron: dense hidden layers, and a softmax over the classes.

    Of a regression it is one linear unit instead, see `search.trainers.model`.

    Its layers are given one by one, as ``hidden``, or all alike, as ``depth`` and ``width``; then
    ``hidden`` follows from these.

    `search.trainers.model` has the sources of its initializers and of its penalties,
    `search.lanes.activations` those of its activations, `search.lanes.dropout` those of dropout.
    """

    hidden: tuple[int, ...] = ()  # units of each hidden layer
    depth: int | None = None  # hidden layers
    width: int | None = None  # units of each of them
    activation: str = "relu"
    negative_slope: float = 0.2  # of "leaky_relu"
    maxout_pieces: int = 2  # of each unit of "maxout", which takes the largest
    initializer: str = "glorot_uniform"  # of every kernel; biases start at zero
    batch_norm: bool = False  # before the activation, in the bias's place
    batch_norm_after: bool = False  # behind the activation instead
    batch_norm_momentum: float = 0.99  # of the moving statistics, by which a trained model norms
    input_batch_norm: bool = False  # of the inputs
    layer_norm: bool = False  # before the activation
    dropout: float | None = None  # share of hidden outputs that a step leaves out; None = off
    alpha_dropout: bool = False  # drop as selu needs it
    l2: float | None = None  # of every kernel, times its sum of squares is added to the loss
    max_norm: float | None = None  # largest norm of the weights into a hidden unit; None = off
    standardize: bool | str = True  # inputs to mean 0, variance 1 over the training split: all
    # of them alike, as the pixels of an image; or "feature", each by itself

    def __post_init__(self) -> None:
        self._settle_layers()
        _one_of("activation", self.activation, ACTIVATIONS)
        if self.standardize not in (True, False, "feature"):
            raise SpecError(
                f"standardize is {self.standardize!r}; it must be True, False or 'feature'"
            )
        _within("negative_slope", self.negative_slope, 0, 1)
        _whole("maxout_pieces", self.maxout_pieces, 2)
        if self.dropout is not None and not (_is_number(self.dropout) and 0 < self.dropout < 1):
            raise SpecError(f"dropout is {self.dropout!r}; it must be between 0 and 1, or None")
        _within("batch_norm_momentum", self.batch_norm_momentum, 0, 1)
        for name in ("l2", "max_norm"):
            if (value := getattr(self, name)) is not None:
                _positive(name, value)
        _one_of("initializer", self.initializer, INITIALIZERS)

    def _settle_layers(self) -> None:
        if self.depth is not None or self.width is not None:
            if self.hidden:
                raise SpecError(
                    "hidden gives each layer's units, and depth and width give them too; "
                    "leave one of the two ways"
                )
            depth, width = _whole("depth", self.depth), _whole("width", self.width)
            object.__setattr__(self, "hidden", (width,) * depth)
        if not isinstance(self.hidden, tuple) or not self.hidden:
            raise SpecError(
                f"hidden is {self.hidden}; give each layer's units, like (300, 100), or depth "
                "and width"
            )
        for units in self.hidden:
            _whole("hidden", units)

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the network with other settings.

        Raises:
            SpecError: a changed setting is not usable.

        """
        # What follows from depth and width is given anew.
        layers = {"hidden": ()} if self.depth is not None else {}
        return replace(self, **layers | dict(settings))


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one configuration is trained."""

    epochs: int  # at most; the pruner or early stopping may end a trial sooner
    batch_size: int = 32
    optimizer: str = "sgd"
    learning_rate: float = 0.01  # the first one; with the schedule "1cycle" the highest one
    schedule: str = "exponential"  # of the learning rate, see `search.trainers.schedules`
    decay: float = 1.0  # factor of "exponential" after each epoch, of "plateau" where it is stuck
    plateau_epochs: int = 3  # without a lower validation loss until "plateau" takes it for stuck
    momentum: float = 0.0  # of "sgd", the others have their own
    nesterov: bool = False  # of "sgd"
    weight_decay: float = 0.004  # of "adamw"
    clipnorm: float | None = None  # largest norm of each variable's gradient; None = off
    clipvalue: float | None = None  # largest size of each number of a gradient; None = off
    global_clipnorm: float | None = None  # largest norm of the whole gradient; None = off
    clipping: str | None = None  # which of these three applies; None = the only one there is
    patience: int | None = None  # epochs without a better validation score before it stops
    best_weights: bool = True  # keep the best epoch's weights and score, not the last one's
    repetition: int = 0  # tells trials of one configuration apart; each has a seed of its own

    def __post_init__(self) -> None:
        _whole("epochs", self.epochs)
        _whole("batch_size", self.batch_size)
        _whole("repetition", self.repetition, 0)
        _positive("learning_rate", self.learning_rate)
        _positive("decay", self.decay)
        _one_of("schedule", self.schedule, SCHEDULES)
        _whole("plateau_epochs", self.plateau_epochs)
        if self.schedule == "plateau" and self.decay >= 1:
            raise SpecError(f"decay is {self.decay!r}; the schedule plateau needs one below 1")
        _within("weight_decay", self.weight_decay, 0, 1)
        for name, limit in self._limits.items():
            _positive(name, limit)
        if self.clipping is not None:
            _one_of("clipping", self.clipping, CLIPPINGS)
        elif len(self._limits) > 1:
            raise SpecError(
                f"{' and '.join(self._limits)} are both set, and a gradient is clipped in one way; "
                "leave one, or say which one applies: clipping"
            )
        if self.patience is not None:
            _whole("patience", self.patience)
        if not isinstance(self.momentum, int | float) or not 0 <= self.momentum < 1:
            raise SpecError(f"momentum is {self.momentum!r}; it must be in [0, 1)")
        _one_of("optimizer", self.optimizer, OPTIMIZERS)

    @property
    def _limits(self) -> dict[str, float]:
        limits = {name: getattr(self, name) for name in CLIPPINGS[:-1]}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def limit(self) -> dict[str, float]:
        """The one limit that applies to gradients, by its name; empty where there is none."""
        chosen = {self.clipping} if self.clipping else CLIPPINGS
        return {name: limit for name, limit in self._limits.items() if name in chosen}


@dataclass(frozen=True, kw_only=True)
class Confirm:
    """How the winner is proven."""

    candidates: int = 3  # best configurations by validation that are trained again
    seeds: int = 3  # fresh seeds for each of them
    confidence: float = 0.95  # of the interval around the test score

    def __post_init__(self) -> None:
        _whole("candidates", self.candidates)
        _whole("seeds", self.seeds, 2)  # the interval covers their spread
        if not 0 < self.confidence < 1:
            raise SpecError(f"confidence is {self.confidence}; it must be between 0 and 1")


@dataclass(frozen=True)
class Recipe:
    """One configuration with everything the study fixes: all a trainer needs besides a seed."""

    config: Config
    model: MLP | BuildModel
    training: Training


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """Everything that defines a study.

    A key of ``space`` that is a field of `MLP` or `Training` overrides that field in each trial.
    With a ``model`` of your own, ``build(config) -> keras.Model``, all other keys are yours.

    Raises:
        SpecError: a setting is not usable, alone or together with the space.

    """

    name: str
    data: str  # a name that `search.data` knows
    space: Mapping[str, Any]
    model: MLP | BuildModel
    training: Training
    trials: int  # budget over all workers and restarts; see `StudySpec.budget`
    target: float | None = None  # accuracy, or R² of a regression, to reach
    sampler: str = "tpe"
    pruner: str = "asha"
    reduction_factor: int = 3  # asha and hyperband keep one in so many trials at each rung
    prune_unhealthy: bool = False  # stop trials whose gradients say that no training can help
    folds: int = 1  # that a trial is validated on, each in its turn; 1 = the validation split
    seed: int = 0  # every trial's own seed is derived from it
    confirm: Confirm = field(default_factory=Confirm)
    trial_seconds: float | None = None  # that a trial may take; None = as long as it likes
    expected: str | None = None  # what the literature says will be seen, with its source
    full: Mapping[str, int] = field(default_factory=dict)  # the budget of ``--full``

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            raise SpecError(
                f"name is {self.name!r}; use up to 100 letters, digits, '.', '_' and '-'"
            )
        _whole("trials", self.trials)
        _whole("reduction_factor", self.reduction_factor, 2)
        _whole("folds", self.folds)
        _whole("seed", self.seed, 0)
        if self.trial_seconds is not None:
            _positive("trial_seconds", self.trial_seconds)
        if self.target is not None and not 0 < self.target <= 1:
            raise SpecError(
                f"target is {self.target}; an accuracy or R² is in (0, 1], 98 % is 0.98"
            )
        _one_of("sampler", self.sampler, SAMPLERS)
        _one_of("pruner", self.pruner, PRUNERS)
        if not isinstance(self.model, MLP):
            _source(self.model)
        self._check_space()
        self._check_full()

    def _check_space(self) -> None:
        names = {dimension.name for dimension in self.search_space.dimensions}
        training = self.training
        self._check_owners(names)
        known = _field_names(Training)
        if isinstance(self.model, MLP):
            known |= _field_names(MLP)
            if unknown := names - known:
                searchable = ", ".join(sorted(known - _UNSEARCHABLE))
                raise SpecError(f"space: an MLP has no {min(unknown)}; it has {searchable}")
            if self.model.depth is None and (layers := names & {"depth", "width"}):
                raise SpecError(
                    f"space: it searches {min(layers)}, but the model gives each layer's units; "
                    "say MLP(depth=3, width=100) instead of hidden"
                )
            if self._values("alpha_dropout", self.model.alpha_dropout) != {False} and not (
                self.model.dropout or "dropout" in names
            ):
                raise SpecError("alpha_dropout says how to drop; say how much: dropout")
        if fixed := names & known & _UNSEARCHABLE:
            raise SpecError(f"space: {min(fixed)} is a setting of the study, not of a trial")
        for name, parameter in self.search_space.parameters.items():
            if self.sampler == "grid" and not isinstance(parameter, Choice):
                raise SpecError(
                    "the sampler grid needs a list of choices for each hyperparameter, but "
                    f"{name} has a range; list its values, or take the sampler random"
                )
        if self.sampler == "randomized" and not self.search_space.has_distribution:
            raise SpecError(
                "the sampler randomized needs a distribution for at least one hyperparameter: "
                "scikit-learn draws lists alone without replacement, as many as the budget has; "
                "take the sampler grid or random"
            )
        limits = names & set(CLIPPINGS) | set(training._limits)
        if len(limits) > 1 and None in self._values("clipping", training.clipping):
            raise SpecError(
                f"space: {' and '.join(sorted(limits))} may be on at once; search clipping too, "
                "which says what applies, like ['clipnorm', 'clipvalue', 'none']"
            )
        for corner in self.corners():
            try:
                self.recipe(corner)
            except SpecError as error:
                raise SpecError(f"space: {error}") from None

    def _check_full(self) -> None:
        if not self.full:
            return
        if unknown := self.full.keys() - set(FULL):
            raise SpecError(f"full: it sets {min(unknown)}; it may set {' and '.join(FULL)}")
        try:
            full = replace(self, full={}).with_settings(self.full)
        except SpecError as error:
            raise SpecError(f"full: {error}") from None
        if full.trials < self.trials:
            raise SpecError(
                f"full: {full.trials} trials are fewer than the {self.trials} without --full"
            )

    def _check_owners(self, names: set[str]) -> None:
        """Refuse settings that no trial could use."""
        records: list[Any] = [self.training]
        if isinstance(self.model, MLP):
            records.append(self.model)
        for record in records:
            for name, (owner, values) in _OWNERS.items():
                if not hasattr(record, name):
                    continue
                possible = self._values(owner, getattr(record, owner))
                named = name in names or getattr(record, name) != _default(record, name)
                if named and not values & possible:
                    owners = sorted(owner if value is True else value for value in values)
                    raise SpecError(
                        f"{name} belongs to {' and '.join(owners)}, which no trial has: "
                        f"{owner} is {' or '.join(map(str, possible))}"
                    )

    def _values(self, name: str, fixed: Any) -> set[Any]:
        """Return the values that a setting may have in a trial, as far as they can be listed."""
        for dimension in self.search_space.dimensions:
            if dimension.name == name:
                return set(dimension.extremes())
        return {fixed}

    def corners(self) -> Iterator[Config]:
        """Yield the space's first values, and each extreme of a hyperparameter beside them."""
        extremes = {d.name: d.extremes() for d in self.search_space.dimensions}
        first = {name: values[0] for name, values in extremes.items()}
        yield Config(first)
        for name, values in extremes.items():
            yield from (Config(first | {name: value}) for value in values[1:])

    @cached_property
    def search_space(self) -> Space:
        """The search space, checked."""
        return Space(self.space)

    def recipe(self, config: Config) -> Recipe:
        """Return what a trainer needs to train ``config``.

        Raises:
            SpecError: a value of the configuration is not usable.

        """
        model = self.model
        if isinstance(model, MLP):
            model = model.with_settings(_fields_in(config, MLP))
        return Recipe(config, model, replace(self.training, **_fields_in(config, Training)))

    @property
    def warnings(self) -> list[str]:
        """What keeps each of the study's selu networks from normalizing itself, a line each.

        The conditions: Klambauer et al. 2017 (Self-Normalizing Neural Networks, sections 2 and 3).
        Layers that normalize take that over, and limits and penalties draw the weights away from
        those of mean 0 and variance 1 over the inputs that theorem 1 is about.
        """
        model = self.model
        if not isinstance(model, MLP) or "selu" not in self._values("activation", model.activation):
            return []

        def values(name: str) -> set[Any]:
            return self._values(name, getattr(model, name))

        dropout = bool(values("dropout") - {None})
        broken = {
            "with the initializer lecun_normal (or paired)": not values("initializer")
            & {"lecun_normal", "paired"},
            "with standardize=True": values("standardize") == {False}
            and True not in values("input_batch_norm"),
            "with alpha_dropout=True": dropout and True not in values("alpha_dropout"),
        }
        for name in ("batch_norm", "layer_norm", "l2", "max_norm"):
            broken[f"without {name}"] = not values(name) & {False, None}
        return [
            f"Warning: selu normalizes itself only {needed}."
            for needed, is_broken in broken.items()
            if is_broken
        ]

    @property
    def budget(self) -> int:
        """Trials over all workers and restarts: no more than a grid has points."""
        if self.sampler != "grid":
            return self.trials
        choices = [
            p.choices for p in self.search_space.parameters.values() if isinstance(p, Choice)
        ]
        return min(self.trials, math.prod(map(len, choices)))

    def with_settings(self, settings: Mapping[str, Any]) -> Self:
        """Return the study with the command line's changes.

        Args:
            settings: field of the study -> value; "epochs" is the training's.

        Raises:
            SpecError: a changed setting is not usable.

        """
        own = {name: value for name, value in settings.items() if name != "epochs"}
        training = self.training
        if "epochs" in settings:
            training = replace(training, epochs=settings["epochs"])
        return replace(self, training=training, **own)

    def describe(self) -> dict[str, Any]:
        """Return what defines a trial's result, in flat JSON: equal for equal studies.

        The budget, the target and the proof's settings are left out, since trials of one study
        remain comparable when these change.
        """
        if isinstance(self.model, MLP):
            model = {f"model.{name}": value for name, value in asdict(self.model).items()}
            model["model.hidden"] = list(self.model.hidden)
        else:
            source = _source(self.model)
            model = {"model.source": hashlib.sha256(source.encode()).hexdigest()}
        return {
            "data": self.data,
            **{f"space.{name}": value for name, value in self.search_space.describe().items()},
            **model,
            **{f"training.{name}": value for name, value in asdict(self.training).items()},
            "sampler": self.sampler,
            "pruner": self.pruner,
            "reduction_factor": self.reduction_factor,
            "prune_unhealthy": self.prune_unhealthy,
            "folds": self.folds,
            "seed": self.seed,
        }


# Settings of one value of another setting: where that one is searched, the trials with this value
# use them.
_OWNERS: dict[str, tuple[str, set[Any]]] = {
    "momentum": ("optimizer", {"sgd"}),
    "nesterov": ("optimizer", {"sgd"}),
    "weight_decay": ("optimizer", {"adamw"}),
    "decay": ("schedule", {"exponential", "plateau"}),
    "plateau_epochs": ("schedule", {"plateau"}),
    "negative_slope": ("activation", {"leaky_relu"}),
    "maxout_pieces": ("activation", {"maxout"}),
    "batch_norm_after": ("batch_norm", {True}),
}

# A trial must not choose how long it may run, nor how it is judged.
_UNSEARCHABLE = {"epochs", "patience", "best_weights", "hidden"}


def load_study(name_or_path: str) -> StudySpec:
    """Return the study of that name, or the one in the file at that path.

    A name is looked up in ``studies/`` of the working directory, then among our own.

    Raises:
        StudyNotFound: there is no such file.
        SpecError: the file is not a study.

    """
    path = _find(name_or_path)
    try:
        study = runpy.run_path(str(path)).get("STUDY")
    except SearchError as error:
        raise type(error)(f"{path}: {error}") from error
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise SpecError(f"{error.filename or path}{line}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise SpecError(f"{path}: {type(error).__name__}: {error}") from error
    if not isinstance(study, StudySpec):
        raise SpecError(f"{path} defines no study; it must say STUDY = StudySpec(...)")
    return study


def _find(name_or_path: str) -> Path:
    if name_or_path.endswith(".py"):
        path = Path(name_or_path)
        if not path.is_file():
            raise StudyNotFound(f"there is no study file {path}")
        return path
    folders = [Path("studies"), Path(__file__).parents[2] / "studies"]
    for folder in folders:
        if (path := folder / f"{name_or_path}.py").is_file():
            return path
    names = {path.stem for folder in folders for path in folder.glob("[!_]*.py")}
    raise StudyNotFound(
        f"there is no study {name_or_path!r}; there are {', '.join(sorted(names))}, "
        "or give the path of a study file"
    )


def _whole(name: str, value: object, least: int = 1) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise SpecError(f"{name} is {value!r}; it must be a whole number from {least} upwards")
    return value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not isinstance(value, int | float) or not low <= value <= high:
        raise SpecError(f"{name} is {value!r}; it must be from {low} to {high}")


def _positive(name: str, value: float) -> None:
    if not isinstance(value, int | float) or not 0 < value < math.inf:
        raise SpecError(f"{name} is {value!r}; it must be a positive number")


def _source(build: BuildModel) -> str:
    """Return the text of a study's own model, by which a change of it is noticed."""
    if not callable(build):
        raise SpecError(
            f"model is a {type(build).__name__}; give MLP(...) or a function that takes a "
            "configuration and returns a Keras model"
        )
    try:
        return inspect.getsource(build)
    except (OSError, TypeError) as error:
        raise SpecError(
            f"model is {build!r}, whose source is not to be found; define it with def in the "
            "study's file"
        ) from error


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SpecError(f"{name} {value!r} is unknown; known are {', '.join(known)}")


def _default(record: MLP | Training, name: str) -> Any:
    return next(field.default for field in fields(record) if field.name == name)


def _field_names(record: type[MLP] | type[Training]) -> set[str]:
    return {field.name for field in fields(record)}


def _fields_in(config: Config, record: type[MLP] | type[Training]) -> dict[str, Any]:
    names = _field_names(record)
    return {name: value for name, value in config.items() if name in names}
