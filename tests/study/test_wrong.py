"""Anything at all in place of anything: a study takes it or refuses it in one line."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from scipy import stats

from search.errors import LONGEST_LINE, UsageError, one_line
from search.study.mlp import MLP
from search.study.space import off_or
from search.study.spec import Confirm, StudySpec
from search.study.training import Training


class Mute:
    """Says nothing of itself, not even by an exception."""

    __repr__ = __str__ = exit


MODEL = MLP(hidden=(8,))
SPEC = StudySpec(
    name="study",
    data="blobs",
    space={"learning_rate": [0.1, 0.2]},
    model=MODEL,
    training=Training(epochs=3),
    trials=4,
)
WRONG: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, 10**30, -(10**30), 2**63, 1 + 2j),
    *(10**400, -(10**5000), Fraction(10**5000)),
    *(math.nan, math.inf, -math.inf, np.int64(3), np.float32(0.5), np.array([1.0]), Fraction(1, 3)),
    *("", " ", "x", "3", "\x1b[2J\n\0", "é" * 5000, b"x", "../x", "a/b", "None", "True"),
    *(
        (),
        [],
        {},
        set(),
        (1,),
        [None],
        {"a": 1},
        {1: 2},
        range(3),
        object(),
        print,
        Exception,
        int,
        Mute(),
    ),
    *(MODEL, Training(epochs=1), Confirm(), stats.norm(), stats.norm, off_or(stats.norm())),
)
DIMENSIONS: tuple[Any, ...] = (
    *([value] for value in WRONG),
    *([0.1, value] for value in WRONG),
    *([0.1] * 2, [[]], [[0.1]], [float("1e-400"), 0], np.zeros((2, 2)), np.array(["a", "b"])),
    *(stats.uniform(0, -1), stats.randint(5, 2), stats.reciprocal(0, 1), stats.reciprocal(2, 1)),
    *(stats.norm(0, -1), stats.uniform(math.nan), stats.reciprocal(0.1, math.inf)),
    *(off_or(off_or(stats.norm())), off_or([1, 2]), off_or(None), off_or(3)),  # type: ignore[arg-type]
    *(stats.multivariate_normal(), iter([1, 2]), "abc", b"abc", {0.1, 0.2}, {"a": 1}.keys()),
)


def places() -> Iterator[tuple[str, Any, str]]:
    """Yield what can be written in a study: a record and the name of a setting of it."""
    for record in (SPEC, MODEL, SPEC.training, SPEC.confirm):
        for field in fields(record):
            yield f"{type(record).__name__}.{field.name}", record, field.name


PLACES = list(places())


def assert_said(error: UsageError) -> None:
    said = str(error)
    assert one_line(said, len(said) * 10) == said or "\n" not in one_line(said)
    assert one_line(said).isprintable()
    assert len(one_line(said)) < LONGEST_LINE + 10
    assert error.exit_status == 2


def tried(spec: StudySpec) -> None:
    """Do with a study what is done before anything is trained."""
    spec.describe()
    for config in spec.search_space.corners():
        spec.recipe(config)


@pytest.mark.parametrize(("record", "name"), [place[1:] for place in PLACES], ids=str)
def test_any_value_is_taken_or_refused_in_one_line(record: Any, name: str) -> None:
    parts = {"MLP": "model", "Training": "training", "Confirm": "confirm"}
    part = parts.get(type(record).__name__)
    for value in WRONG:
        try:
            changed = replace(record, **{name: value})
            tried(replace(SPEC, **{part: changed}) if part else changed)
        except UsageError as error:
            assert_said(error)
        except Exception as error:
            raise AssertionError(f"{type(record).__name__}.{name} = {value!r}") from error


@pytest.mark.parametrize("model", ["mlp", "own"])
def test_any_dimension_is_taken_or_refused_in_one_line(model: str) -> None:
    names: tuple[Any, ...] = (
        "learning_rate",
        "activation",
        "batch_size",
        "clipnorm",
        "mine",
        3,
        "",
    )
    for dimension in DIMENSIONS:
        for name in names:
            try:
                spec = (
                    replace(SPEC, space={name: dimension})
                    if model == "mlp"
                    else _own(name, dimension)
                )
                tried(spec)
            except UsageError as error:
                assert_said(error)
            except Exception as error:
                raise AssertionError(f"space {name!r}: {dimension!r}") from error


def _own(name: Any, dimension: Any) -> StudySpec:
    return replace(SPEC, model=build, space={name: dimension})


def build(config: Any) -> Any:
    return config
