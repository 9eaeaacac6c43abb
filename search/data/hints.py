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

SURE = 0.999  # share of the label, or of its ranks' variance, from which a column gives it away
FEWER = 0.1  # mistakes for each of whoever always says the most frequent class
EVIDENCE = 20  # rows of the most frequent class, and of the others, or numbers besides that one
FEWEST_PARTS, ROWS_OF_A_PART = 4, 20  # of a column's range, in which classes are told
SEEN = 0.5  # share of rows from which it is enough that these are told
LOOKED_AT = 4000  # rows
UNMET = 0.1  # share of a split's rows whose values training lacks, from which that is said
FEWEST_UNMET = 5  # of these rows; one or two in a small split are beyond the range by chance


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
    looked = _looked_at(train.y)
    if names := [column.name for column in columns if _tells(column, train, looked)]:
        one = len(names) == 1
        yield (
            f"{', '.join(names)} {'tells' if one else 'each tell'} the label alone, in as many as "
            f"{len(looked)} training rows; if that is not known before the label is, leave it out: "
            "columns={..: 'drop'}"
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

    Dates are left alone: those of a split by time are later than all of training.

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
    known, values = pd.Series(train.columns[column.name]), pd.Series(split.columns[column.name])
    if column.text:
        known, values = known[known != ""], values.where(values != "")
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
    if len(new) < max(UNMET * len(values), min(FEWEST_UNMET, len(values))):
        return None
    odd = new.iloc[0]
    shown = repr(odd) if column.text else f"{odd:g}"
    return (
        f"{column.name} has {what} in {len(new)} of the {len(values)} {name} rows, like {shown}: "
        f"{then}, and the score says that much less of values that were learned"
    )


def _looked_at(y: NDArray[Any]) -> NDArray[np.int64]:
    """Return some rows by chance; of a class that few are of, as many as there are."""
    rows = np.random.default_rng(0).permutation(len(y))
    if y.dtype.kind == "f":
        return rows[:LOOKED_AT]
    usual = y[rows] == np.bincount(y).argmax()
    others = rows[~usual][: LOOKED_AT // 2]
    chosen = np.concatenate([others, rows[usual][: LOOKED_AT - len(others)]])
    return np.random.default_rng(0).permutation(chosen)


def _tells(column: Column, train: "Split", looked: NDArray[np.int64]) -> bool:
    """Say whether a column tells the label alone, in all rows or in those that have a value of it.

    Args:
        column: of the table.
        train: the training split.
        looked: its rows that are looked at.

    """
    if column.kind is ColumnKind.DROP:
        return False
    assert train.columns is not None, "it is of a table"
    values, y = train.columns[column.name][looked], train.y[looked]
    there = values != "" if column.text else ~np.isnan(values)
    parts = [np.ones(len(y), bool), *([there] if SEEN <= there.mean() < 1 else ())]
    if y.dtype.kind == "f":
        return any(_tells_number(column, values[part], y[part]) for part in parts)
    usual = int(np.bincount(train.y).argmax())
    others = float((train.y != usual).mean())
    return any(_tells_class(column, values[part], y[part], usual, others) for part in parts)


def _tells_class(
    column: Column, values: NDArray[Any], y: NDArray[np.int64], usual: int, others: float
) -> bool:
    """Say whether rows fall into classes by a column's values, or by a few parts of their range.

    Nothing is held back: parts of so many rows are not of one class by chance, and of few rows that
    are held back a border would cost too many.

    Args:
        column: of the table.
        values: of it, ``[row]``.
        y: the classes of these rows.
        usual: the most frequent class.
        others: the share of all other classes, of all rows.

    """
    if np.count_nonzero(y != usual) < EVIDENCE or np.count_nonzero(y == usual) < EVIDENCE:
        return False

    def sure(wrong: NDArray[np.bool_], y: NDArray[np.int64]) -> bool:
        if not np.ptp(y):
            return False
        mistakes = [wrong[which].mean() for which in (y != usual, y == usual) if which.any()]
        # Where nearly all rows are of one class, whoever always says that is hardly ever wrong.
        allowed = min(1 - SURE, FEWER * others)
        return float(np.dot(mistakes, [others, 1 - others][: len(mistakes)])) <= allowed

    codes, counts = _grouped(values)
    again = counts[codes] > 1
    if again.mean() >= SEEN:
        alike = pd.Series(y).groupby([codes, y]).transform("size").to_numpy()
        if sure((2 * alike <= counts[codes])[again], y[again]):
            return True
    if column.text:
        return False
    from sklearn.tree import DecisionTreeClassifier

    _, features = Encoding.of([column], {column.name: values})
    if not features.shape[1]:
        return False
    parts = max(FEWEST_PARTS, len(y) // ROWS_OF_A_PART)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of many classes, which are said elsewhere
        tree = DecisionTreeClassifier(min_samples_leaf=3, max_leaf_nodes=parts, random_state=0)
        # By itself, too, since of a date's place in the week and the year a tree would begin with
        # what is best at first.
        return any(sure(tree.fit(x, y).predict(x) != y, y) for x in (features, features[:, :1]))


def _tells_number(column: Column, values: NDArray[Any], y: NDArray[np.float64]) -> bool:
    """Say whether numbers follow a column, without their most frequent value (often 0), too.

    They do if each has its place among those of the rows beside it. What is compared are the ranks
    of numbers: among prices a few large ones would count for all others.
    """
    differing, counts = np.unique(y, return_counts=True)
    return all(
        np.count_nonzero(part) >= EVIDENCE and _follows(column, values[part], y[part])
        for part in (np.ones(len(y), bool), y != differing[counts.argmax()])
    )


def _follows(column: Column, values: NDArray[Any], y: NDArray[np.float64]) -> bool:
    ranks = pd.Series(y).rank().to_numpy()
    codes, counts = _grouped(values)
    again = counts[codes] > 1
    if again.mean() >= SEEN:
        others = (np.bincount(codes, ranks)[codes] - ranks)[again] / (counts[codes][again] - 1)
        if _explained(ranks[again], others) >= SURE:
            return True
    if column.text:
        return False
    placed = ranks[np.argsort(values, kind="stable")]  # equal ones are as they were shuffled
    beside = np.stack([placed[:-2], placed[2:]])
    return (
        _explained(placed[1:-1], placed[1:-1].clip(beside.min(axis=0), beside.max(axis=0))) >= SURE
    )


def _grouped(values: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the number of each row's value, and how many rows have each."""
    codes = pd.factorize(values, use_na_sentinel=False)[0].astype(np.int64)
    return codes, np.bincount(codes)


def _explained(found: NDArray[np.floating[Any]], guessed: NDArray[np.floating[Any]]) -> float:
    """Return the share of the variance that guesses explain, R²."""
    spread = float(np.square(found - found.mean()).sum())
    return 1 - float(np.square(found - guessed).sum()) / spread if spread else 0.0
