from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from scipy import stats

from search.errors import SpaceError
from search.study.space import Choice, Config, Range, Space, off_or

QUANTILES = {
    "norm": stats.norm(3, 2),
    "expon": stats.expon(scale=0.1),
    "truncnorm": stats.truncnorm(-1, 2),
    "shifted reciprocal": stats.reciprocal(1e-3, 1.0, loc=0.5),
    "gamma": stats.gamma(2),
}


@pytest.mark.parametrize(
    ("definition", "parameters"),
    [
        (["relu", "elu"], {"x": Choice(("relu", "elu"))}),
        ((None, True, 2, 0.5), {"x": Choice((None, True, 2, 0.5))}),
        (stats.uniform(2, 3), {"x": Range(2, 5)}),
        (stats.randint(2, 5), {"x": Range(2, 4, integer=True)}),
        (stats.reciprocal(1e-3, 1.0), {"x": Range(1e-3, 1.0, log=True)}),
        (stats.loguniform(1, 10, scale=2), {"x": Range(2, 20, log=True)}),
        (stats.norm(), {"x_quantile": Range(0, 1)}),
        ([(64, 32), (8,)], {"x": Choice(("(64, 32)", "(8,)"))}),
        (np.array([8, 16]), {"x": Choice((8, 16))}),
        (IntDistribution(8, 512, log=True), {"x": Range(8, 512, log=True, integer=True)}),
        (IntDistribution(8, 20, step=6), {"x": Choice((8, 14, 20))}),
        (FloatDistribution(0.1, 2, log=True), {"x": Range(0.1, 2, log=True)}),
        (FloatDistribution(0, 0.5, step=0.25), {"x": Choice((0.0, 0.25, 0.5))}),
        (CategoricalDistribution(("a", "b")), {"x": Choice(("a", "b"))}),
        (stats.reciprocal(1, 10, loc=1), {"x_quantile": Range(0, 1)}),
        (off_or(stats.uniform()), {"x_on": Choice((True, False)), "x": Range(0, 1)}),
        (off_or(stats.norm()), {"x_on": Choice((True, False)), "x_quantile": Range(0, 1)}),
    ],
)
def test_a_definition_becomes_plain_parameters(definition: Any, parameters: Any) -> None:
    assert Space({"x": definition}).parameters == parameters


@pytest.mark.parametrize("kind", [np.int64, np.float32, np.bool_, np.str_])
def test_a_choice_of_numpy_s_is_python_s(kind: Any) -> None:
    (dimension,) = Space({"x": [kind(1), kind(0)]}).parameters.values()
    assert isinstance(dimension, Choice)
    assert {type(one) for one in dimension.choices} == {type(kind(1).item())}


SPACE: dict[str, Any] = {
    "choice": ["a", None, 3],
    "uniform": stats.uniform(-1, 3),
    "randint": stats.randint(-2, 7),
    "reciprocal": stats.reciprocal(1e-4, 1e2),
    "off or uniform": off_or(stats.uniform(1, 2)),
    "off or gamma": off_or(stats.gamma(2)),
    "poisson": stats.poisson(4),
    "binom": stats.binom(5, 0.3, loc=2),
    **QUANTILES,
}


def _points(space: Space) -> st.SearchStrategy[dict[str, Any]]:
    def values(parameter: Choice | Range) -> st.SearchStrategy[Any]:
        if isinstance(parameter, Choice):
            return st.sampled_from(parameter.choices)
        if parameter.integer:
            return st.integers(int(parameter.low), int(parameter.high))
        return st.floats(parameter.low, parameter.high)

    return st.fixed_dictionaries({name: values(p) for name, p in space.parameters.items()})


@given(_points(Space(SPACE)))
def test_every_point_is_a_configuration_inside_the_support(point: dict[str, Any]) -> None:
    config = Space(SPACE).config(point)

    assert list(config) == list(SPACE)
    assert config["choice"] in ["a", None, 3]
    for name, definition in SPACE.items():
        if name.startswith("off"):
            assert (config[name] is None) == (not point[f"{name}_on"])
        frozen = getattr(definition, "distribution", definition)
        if name != "choice" and config[name] is not None:
            low, high = frozen.support()
            assert low <= config[name] <= high
            assert np.isfinite(config[name])
    for name in ("randint", "poisson", "binom"):
        assert type(config[name]) is int


@pytest.mark.parametrize("name", QUANTILES)
def test_even_quantiles_give_the_distribution_itself(name: str) -> None:
    space = Space({"x": QUANTILES[name]})
    quantiles = (np.arange(500) + 0.5) / 500

    drawn = [space.config({"x_quantile": float(quantile)})["x"] for quantile in quantiles]

    assert stats.kstest(drawn, QUANTILES[name].cdf).statistic < 0.002


def test_the_ends_of_an_unbounded_distribution_are_finite() -> None:
    (dimension,) = Space({"x": stats.norm()}).dimensions

    assert dimension.extremes() == [pytest.approx(-6.0, abs=0.1), pytest.approx(6.0, abs=0.1)]


@pytest.mark.parametrize(
    ("definition", "extremes"),
    [
        (["a", None], ["a", None]),
        (stats.randint(2, 5), [2, 4]),
        (stats.uniform(2, 3), [2.0, 5.0]),
        (off_or(stats.reciprocal(1, 2)), [1.0, 2.0, None]),
        (off_or(["a", "b"]), ["a", "b", None]),  # type: ignore[arg-type]
    ],
)
def test_extremes(definition: Any, extremes: list[Any]) -> None:
    (dimension,) = Space({"x": definition}).dimensions

    assert dimension.extremes() == extremes
    assert [type(value) for value in dimension.extremes()] == [type(value) for value in extremes]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (["a", "b"], ("a", "b")),
        (stats.reciprocal(1, 10), stats.loguniform(a=1, b=10)),
        (stats.uniform(0, 2), stats.uniform(scale=2)),
        (stats.norm(0, 2), stats.norm(scale=np.float64(2), loc=0)),
        ([16, 32], [np.int64(16), np.int32(32)]),
        ([0.5, True], [np.float64(0.5), np.bool_(True)]),
        ([1, 2], np.array([1, 2])),
    ],
)
def test_equal_spaces_are_described_alike(one: Any, other: Any) -> None:
    assert Space({"x": one}).describe() == Space({"x": other}).describe()


DIFFERENT: list[Any] = [
    ["a", "b"],
    ["b", "a"],
    [True, False],
    [0, 1],
    stats.uniform(0, 1),
    stats.uniform(0, 2),
    stats.randint(0, 2),
    stats.reciprocal(1, 2),
    stats.norm(0, 1),
    stats.norm(0, 2),
    stats.cauchy(0, 1),
    off_or(stats.norm(0, 1)),
    off_or(stats.uniform(0, 1)),
]


def test_different_spaces_are_described_differently() -> None:
    described = [repr(Space({"x": definition}).describe()) for definition in DIFFERENT]

    assert len(set(described)) == len(DIFFERENT)
    assert Space({"x": ["a"]}).describe() != Space({"y": ["a"]}).describe()


@pytest.mark.parametrize(
    ("definition", "said"),
    [
        ({}, "empty"),
        ({"x": []}, "x has no choices"),
        ({"x": "relu"}, "x is a str"),
        ({"x": 3}, "x is a int"),
        ({"x": stats.norm}, "frozen"),
        ({"x": off_or(3)}, "x is a int"),  # type: ignore[arg-type]
        ({"x": [{1, 2}]}, "x offers {1, 2}"),
        ({"x": [1.0, float("nan")]}, "x offers nan"),
        ({"x": ["a", "b", "a"]}, "x offers a choice twice"),
        ({"x": [1, True]}, "x offers a choice twice"),  # a store cannot tell them apart
        ({"x": stats.reciprocal(1.0, 1e-3)}, r"x has an impossible range \(1.0, 0.001\)"),
        ({"x": stats.reciprocal(-1.0, 1.0)}, "x has an impossible range"),
        ({"x": stats.uniform(0, -1)}, "x has an impossible range"),
        ({"x": stats.randint(5, 2)}, "x has an impossible range"),
        ({"x": stats.truncnorm(2, -2)}, "x has an impossible range"),
        ({"x": off_or(stats.norm(scale=-1))}, r"x has an impossible range \(scale=-1\)"),
        ({"x": off_or(stats.norm()), "x_on": ["a"]}, "share the parameter x_on"),
    ],
)
def test_an_unusable_space_is_refused_in_one_line(definition: Any, said: str) -> None:
    with pytest.raises(SpaceError, match=said) as refusal:
        Space(definition)
    assert "\n" not in str(refusal.value)


def test_a_choice_of_tuples_gives_tuples() -> None:
    space = Space({"hidden": [(64, 32), [8]]})
    (hidden,) = space.dimensions
    assert [config["hidden"] for config in space.corners()] == [(64, 32), (8,)]
    for value in ((64, 32), (8,), [8]):
        assert space.config(hidden.parameters_of(value))["hidden"] == tuple(value)
    for flawed in ([(1, 2), 3], [()], [((1,),)]):
        with pytest.raises(SpaceError, match="tuple"):
            Space({"hidden": flawed})


def test_a_configuration_is_an_immutable_value() -> None:
    config = Config({"a": 1, "b": None})

    assert config == Config({"b": None, "a": 1})
    assert hash(config) == hash(Config({"b": None, "a": 1}))
    assert config != Config({"a": 1})
    with pytest.raises(TypeError):
        config["a"] = 2  # type: ignore[index]
