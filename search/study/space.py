"""The search space: what may vary from trial to trial, and from which distribution it is drawn.

A space maps the name of each hyperparameter to one of

- a sequence of choices, ``("relu", "elu")``, which may be tuples, ``[(64,), (64, 32)]``;
- a frozen `scipy.stats` distribution, ``scipy.stats.reciprocal(1e-4, 1e-1)``;
- one of `optuna.distributions`, ``IntDistribution(8, 512, log=True)``;
- ``off_or(distribution)``, a hyperparameter that may also be switched off (``None``).

A sampler does not see the space but its *parameters*, a flat list of plain ranges and choices
that never depend on one another: samplers that model parameters jointly lose every parameter
that only some trials have.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from search.errors import SpaceError, spelled

if TYPE_CHECKING:  # importing scipy.stats takes longer than printing --help may
    from scipy.stats.distributions import rv_frozen

    Distribution: TypeAlias = rv_frozen[Any]

MOST_CHOICES = 10_000  # of a hyperparameter: the report and the store have each of them

Scalar: TypeAlias = str | bool | int | float | None


class Config(Mapping[str, Any]):
    """One point of a search space: an immutable, hashable mapping of names to values.

    ``config["units"]``, ``config.get("units", 8)``, ``dict(config)``,
    ``config | {"units": 8}`` and ``config.copy()`` all do what they do with dictionaries.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        return f"Config({self._values!r})"

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def copy(self) -> dict[str, Any]:
        """Return a dictionary that may be changed."""
        return dict(self)


@dataclass(frozen=True)
class Choice:
    """A parameter that takes one of a few values."""

    choices: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """A numeric parameter in the closed interval [low, high]."""

    low: float
    high: float
    log: bool = False  # uniform in the logarithm
    integer: bool = False


Parameter: TypeAlias = Choice | Range


@dataclass(frozen=True)
class OffOr:
    """A hyperparameter that is either off (``None``) or drawn from a distribution."""

    distribution: "Distribution"


def off_or(distribution: "Distribution") -> OffOr:
    """Let a hyperparameter be off (``None``) or drawn from ``distribution``."""
    return OffOr(distribution)


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter of a space: its parameters, and the way back from them to its value."""

    name: str
    parameters: Mapping[str, Parameter]
    switched: bool = False  # a parameter of its own says whether it is on
    quantile_of: "Distribution | None" = None  # the parameter is a quantile of this distribution
    tuples: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # by the text that stands
    # for each in the store, which holds none

    @property
    def plain(self) -> bool:
        """Whether its one parameter is the hyperparameter itself."""
        return self.parameters.keys() == {self.name}

    def value(self, values: Mapping[str, Any]) -> Any:
        """Return the hyperparameter's value at the point ``values`` (parameter name -> value)."""
        if self.switched and not values[f"{self.name}_on"]:
            return None
        if self.quantile_of is None:
            chosen = values[self.name]
            return self.tuples[chosen] if self.tuples else chosen
        # The ends of an unbounded distribution are infinite; stay a rounding error inside.
        quantile = min(max(values[f"{self.name}_quantile"], 1e-9), 1 - 1e-9)
        drawn = self.quantile_of.ppf(quantile)
        return int(drawn) if _discrete(self.quantile_of) else float(drawn)

    def parameters_of(self, value: Any) -> dict[str, Any]:
        """Return a point at which the hyperparameter has this value, parameter name -> value.

        A quantile gives the value back to within rounding, and exactly where values are whole.
        """
        *_switch, (name, parameter) = self.parameters.items()
        point = {f"{self.name}_on": value is not None} if self.switched else {}
        if self.switched and value is None:  # wherever it would be if it were on
            return point | {name: _first(parameter)}
        if (drawn := self.quantile_of) is not None:
            # Whole values have steps for quantiles; the middle of one is theirs for certain.
            step = drawn.pmf(value) if _discrete(drawn) else 0.0  # type: ignore[attr-defined]
            value = float(drawn.cdf(value) - step / 2)
        if self.tuples:
            value = str(tuple(value))
        if isinstance(parameter, Range):
            number = int if parameter.integer else float
            value = number(min(max(value, parameter.low), parameter.high))
        return point | {name: value}

    @property
    def count(self) -> float:
        """How many values there are; infinite where they are not whole or have no end."""
        *_switch, parameter = self.parameters.values()
        found = math.inf
        if isinstance(parameter, Choice):
            found = len(parameter.choices)
        elif parameter.integer:
            found = parameter.high - parameter.low + 1
        return found + self.switched

    def extremes(self) -> list[Any]:
        """Return all choices, or the ends of the range, as values of the hyperparameter."""
        *_switch, (name, parameter) = self.parameters.items()
        ends: Sequence[Scalar]
        if isinstance(parameter, Choice):
            ends = parameter.choices
        else:
            number = int if parameter.integer else float
            ends = [number(parameter.low), number(parameter.high)]
        values = [self.value({f"{self.name}_on": True, name: end}) for end in ends]
        return [*values, None] if self.switched else values


def _first(parameter: Parameter) -> Scalar:
    if isinstance(parameter, Choice):
        return parameter.choices[0]
    return int(parameter.low) if parameter.integer else float(parameter.low)


def _dimension(name: str, definition: Any) -> Dimension:
    if isinstance(definition, OffOr):
        inner = _dimension(name, definition.distribution)
        switch: dict[str, Parameter] = {f"{name}_on": Choice((True, False))}
        return replace(inner, parameters=switch | dict(inner.parameters), switched=True)
    if hasattr(definition, "dist") and hasattr(definition, "ppf"):
        return _drawn(name, definition)
    if type(definition).__module__ == "numpy" and getattr(definition, "ndim", 0) == 1:
        definition = definition.tolist()
    if isinstance(definition, Sequence) and not isinstance(definition, str | bytes):
        return _listed(name, definition)
    if type(definition).__module__ == "optuna.distributions":
        return _of_optuna(name, definition)
    raise SpaceError(
        f"space: {name} is a {type(definition).__name__}; give a list of choices, a frozen "
        "scipy.stats distribution, one of optuna.distributions, or off_or(distribution)"
    )


def _listed(name: str, choices: Sequence[Any]) -> Dimension:
    """Return a hyperparameter with choices; of tuples the store has their texts."""
    if choices[MOST_CHOICES : MOST_CHOICES + 1]:  # of a range that may be longer than len() tells
        raise SpaceError(
            f"space: {name} offers more than {MOST_CHOICES:,} choices; give a distribution, like "
            "scipy.stats.randint(low, high)"
        )
    if any(isinstance(choice, tuple | list) for choice in choices):
        if not all(isinstance(choice, tuple | list) for choice in choices):
            raise SpaceError(f"space: {name} offers tuples and other values; make all tuples")
        tuples = [tuple(map(_plain, choice)) for choice in choices]
        for choice in tuples:
            if not choice or not all(isinstance(one, str | bool | int | float) for one in choice):
                raise SpaceError(
                    f"space: {name} offers {spelled(choice)}; a tuple holds numbers or text"
                )
        texts = {str(choice): choice for choice in tuples}
        return Dimension(name, {name: _choice(name, list(map(str, tuples)))}, tuples=texts)
    return Dimension(name, {name: _choice(name, choices)})


def _of_optuna(name: str, given: Any) -> Dimension:
    """Search one of Optuna's own distributions, of which whole numbers may be logarithmic."""
    if hasattr(given, "choices"):
        return _listed(name, given.choices)
    whole = type(given).__name__ == "IntDistribution"
    if given.step not in (None, 1 if whole else None):
        count = round((given.high - given.low) / given.step) + 1
        number = int if whole else float
        return _listed(name, [number(given.low + place * given.step) for place in range(count)])
    return Dimension(name, {name: Range(given.low, given.high, log=given.log, integer=whole)})


def _drawn(name: str, frozen: "Distribution") -> Dimension:
    """Search a distribution by its range where that says it all, otherwise by its quantile."""
    low, high = (float(end) for end in frozen.support())
    if not low <= high:  # true for NaN too, scipy's answer to a reversed range
        raise SpaceError(
            f"space: {name} has an impossible range {_arguments(frozen)}; the lower end must "
            "come first, and be positive where the range is logarithmic"
        )
    family = frozen.dist.name
    if family == "uniform":
        return Dimension(name, {name: Range(low, high)})
    if family == "randint":
        return Dimension(name, {name: Range(low, high, integer=True)})
    if family in {"reciprocal", "loguniform"} and _unshifted(frozen):
        return Dimension(name, {name: Range(low, high, log=True)})
    # Searching the quantile keeps the distribution's own density as the sampler's prior.
    return Dimension(name, {f"{name}_quantile": Range(0.0, 1.0)}, quantile_of=frozen)


class Space:
    """A search space: an ordered set of dimensions.

    Args:
        definition: hyperparameter name -> choices, frozen distribution or `off_or(...)`.

    Raises:
        SpaceError: a dimension is not usable, or two of them would share a parameter.

    """

    def __init__(self, definition: Mapping[str, Any]) -> None:
        if not isinstance(definition, Mapping):
            raise SpaceError(
                f"space is a {type(definition).__name__}; write it as a dictionary from each "
                "hyperparameter's name to its choices or distribution"
            )
        if unnamed := [name for name in definition if not isinstance(name, str) or not name]:
            raise SpaceError(
                f"space: a hyperparameter is called {spelled(unnamed[0])}; give it a name"
            )
        if not definition:
            raise SpaceError("space: it is empty; name at least one hyperparameter to search")
        self.dimensions = tuple(_dimension(name, value) for name, value in definition.items())
        self.parameters: dict[str, Parameter] = {}
        for dimension in self.dimensions:
            if clash := self.parameters.keys() & dimension.parameters.keys():
                raise SpaceError(f"space: two hyperparameters share the parameter {min(clash)}")
            self.parameters |= dimension.parameters

    @property
    def names(self) -> set[str]:
        """The hyperparameters' names."""
        return {dimension.name for dimension in self.dimensions}

    @property
    def has_distribution(self) -> bool:
        """Whether any hyperparameter is drawn from a distribution rather than a list."""
        last = (list(dimension.parameters.values())[-1] for dimension in self.dimensions)
        return any(isinstance(parameter, Range) for parameter in last)

    def config(self, values: Mapping[str, Any]) -> Config:
        """Return the configuration at the point ``values`` (parameter name -> value)."""
        return Config({dimension.name: dimension.value(values) for dimension in self.dimensions})

    def values(self, name: str, fixed: Any) -> set[Any]:
        """Return the values that a setting may have in a trial, as far as they can be listed.

        One that is not searched has the value that is ``fixed``.
        """
        for dimension in self.dimensions:
            if dimension.name == name:
                return set(dimension.extremes())
        return {fixed}

    def corners(self) -> Iterator[Config]:
        """Yield the first values, and each extreme of a hyperparameter beside them."""
        extremes = {dimension.name: dimension.extremes() for dimension in self.dimensions}
        first = {name: values[0] for name, values in extremes.items()}
        yield Config(first)
        for name, values in extremes.items():
            yield from (Config(first | {name: value}) for value in values[1:])

    def mixtures(self, count: int) -> Iterator[Config]:
        """Yield so many mixtures of all extremes, which are the same ones each time."""
        extremes = {dimension.name: dimension.extremes() for dimension in self.dimensions}
        chance = random.Random(0)
        for _ in range(count):
            yield Config({name: chance.choice(values) for name, values in extremes.items()})

    def describe(self) -> dict[str, Any]:
        """Return the space in plain JSON, equal for equal spaces."""
        described: dict[str, Any] = {}
        for name, parameter in self.parameters.items():
            if isinstance(parameter, Choice):
                described[name] = list(parameter.choices)
            else:
                kind = ("log " if parameter.log else "") + ("int" if parameter.integer else "float")
                described[name] = [kind, parameter.low, parameter.high]
        for dimension in self.dimensions:
            if (drawn := dimension.quantile_of) is not None:
                described[f"{dimension.name}_quantile"] = [drawn.dist.name, *_settings(drawn)]
        return described


def _choice(name: str, choices: Sequence[Any]) -> Choice:
    choices = [_plain(value) for value in choices]
    if not choices:
        raise SpaceError(f"space: {name} has no choices; give at least one")
    for value in choices:
        if not isinstance(value, str | bool | int | float | None):
            raise SpaceError(
                f"space: {name} offers {spelled(value)}; a choice is a string, a number, True, "
                "False or None"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise SpaceError(f"space: {name} offers {value}; a choice is a finite number")
    if len(set(choices)) != len(choices):  # by value: a store cannot tell True from 1
        raise SpaceError(f"space: {name} offers a choice twice")
    return Choice(tuple(choices))


def _plain(value: Any) -> Any:
    """Return a number of NumPy's as Python's own."""
    kind = type(value)
    if kind.__module__ == "numpy" and hasattr(value, "item") and not getattr(value, "shape", ()):
        return value.item()
    return value


def _unshifted(frozen: "Distribution") -> bool:
    """Say whether a distribution has no ``loc``, which would bend a logarithmic range."""
    *_shape, loc, _scale = _settings(frozen)
    return loc == 0


def _settings(frozen: "Distribution") -> list[float]:
    """Return a distribution's shapes, ``loc`` and scale, however they were given."""
    names = [*(frozen.dist.shapes or "").replace(",", " ").split(), "loc", "scale"]
    given = {"loc": 0.0, "scale": 1.0} | dict(zip(names, frozen.args, strict=False)) | frozen.kwds
    return [float(given[name]) for name in names]


def _discrete(frozen: "Distribution") -> bool:
    return hasattr(frozen.dist, "pmf")


def _arguments(frozen: "Distribution") -> str:
    named = [f"{name}={value!r}" for name, value in frozen.kwds.items()]
    return "(" + ", ".join([*(repr(value) for value in frozen.args), *named]) + ")"
