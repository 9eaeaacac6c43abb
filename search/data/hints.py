"""What a table's score may say less than it seems to, and why.

Columns that alone tell the label, test rows known from training, and values that training lacks.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.columns import NAMED
from search.data.encoding import Encoding
from search.study.table import Column, ColumnKind

if TYPE_CHECKING:
    from search.data.splits import Split

SURE = 0.999  # share of the label, or of its variance, from which a column gives it away
FEWER = 0.1  # mistakes for each of whoever always says the most frequent class
LOOKED_AT = 4000  # rows
FEWEST_ROWS = 40
UNMET = 0.1  # share of a split's rows whose values training lacks, from which that is said


def hints(
    columns: Sequence[Column], train: "Split", validation: "Split", test: "Split"
) -> Iterator[str]:
    """Yield what speaks against a high score, a line each.

    Args:
        columns: of the table.
        train: the training split.
        validation: that trials are compared on.
        test: that is locked for the proof.

    """
    if known := _known((train, validation), test):
        yield (
            f"{known} of the {len(test)} test rows also stand in training or validation, label and "
            "all: the score says that much less of rows that are new; leave out what is twice"
        )
    for name, split in (("validation", validation), ("test", test)):
        lines = [line for column in columns if (line := _unmet(column, train, name, split))]
        yield from lines[:NAMED]
        if (more := len(lines) - NAMED) > 0:
            yield f"and so it is with {more:,} more columns of the {name} rows"
    if names := [column.name for column in columns if _tells(column, train)]:
        one = len(names) == 1
        yield (
            f"{', '.join(names)} {'tells' if one else 'each tell'} the label alone; if that is not "
            "known before the label is, leave it out: columns={..: 'drop'}"
        )


def _known(seen: "Iterable[Split]", test: "Split") -> int:
    known = np.concatenate([_hashes(split) for split in seen])
    return int(np.isin(_hashes(test), known).sum())


def _hashes(split: "Split") -> NDArray[np.integer[Any]]:
    """Return a number for each row, by what models are given and not by how files keep it."""
    assert split.columns is not None, "it is of a table"
    columns: list[NDArray[Any]] = [*split.columns.values()]
    # In float32 as networks answer, whatever a file has rounded the targets to.
    frame = pd.DataFrame(dict(enumerate([*columns, split.y.astype(np.float32)])))
    return pd.util.hash_pandas_object(frame, index=False).to_numpy()


def _unmet(column: Column, train: "Split", name: str, split: "Split") -> str | None:
    """Say how many rows hold what training lacks; None where they are few.

    Dates are left alone: those of a split by time are later than all of training, as they should be.

    Args:
        column: of the table.
        train: the training split.
        name: of the other split.
        split: that other one.

    """
    if column.kind in (ColumnKind.DROP, ColumnKind.DATE):
        return None
    assert train.columns is not None, "it is of a table"
    assert split.columns is not None, "so is this"
    known, values = (pd.Series(one.columns[column.name]) for one in (train, split))
    if column.text:
        known, values = known.replace("", None), values.replace("", None)
    known, there = known.dropna(), values.dropna()
    if not len(known):
        return None
    if not len(there):
        return (
            f"{column.name} is empty in all {len(values)} {name} rows, and training has values of "
            "it: the score says that much less of rows that have some"
        )
    if column.kind is ColumnKind.CATEGORY:
        new = there[~there.isin(known)]
        what = "values that training lacks"
        then = "networks take all of these for one"
    else:
        new = there[(there < known.min()) | (there > known.max())]
        what = f"numbers beyond those of training ({known.min():g} to {known.max():g})"
        then = "networks never learned there"
    if len(new) < UNMET * len(values):
        return None
    odd = new.iloc[0]
    shown = repr(odd) if column.text else f"{odd:g}"
    return (
        f"{column.name} has {what} in {len(new)} of the {len(values)} {name} rows, like {shown}: "
        f"{then}, and the score says that much less of values that were learned"
    )


def _tells(column: Column, train: "Split") -> bool:
    """Say whether a tree that sees one column alone is right on rows that it has not seen."""
    if column.kind is ColumnKind.DROP or len(train) < FEWEST_ROWS:
        return False
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    assert train.columns is not None, "it is of a table"
    rows = np.random.default_rng(0).permutation(len(train))[:LOOKED_AT]
    fit, held = np.array_split(rows, 2)
    values = {column.name: train.columns[column.name]}
    encoding, _ = Encoding.of([column], {column.name: values[column.name][fit]})
    if not encoding.kept:
        return False
    x, y = encoding.apply(values), train.y
    kind = DecisionTreeRegressor if y.dtype.kind == "f" else DecisionTreeClassifier
    if not np.ptp(y[held]) or not np.ptp(y[fit]):
        return False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many classes, which are said elsewhere
        tree = kind(max_leaf_nodes=1000, random_state=0).fit(x[fit], y[fit])
    if kind is DecisionTreeRegressor:
        return float(tree.score(x[held], y[held])) >= SURE
    wrong = float((tree.predict(x[held]) != y[held]).mean())
    # Where nearly all rows are of one class, whoever always says that class is hardly ever wrong.
    of_the_usual = float((y[held] != np.bincount(y[fit]).argmax()).mean())
    return wrong <= min(1 - SURE, FEWER * of_the_usual)
