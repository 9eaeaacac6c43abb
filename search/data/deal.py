"""Which rows of a table are for which split: by chance, by group, or by time."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.dates import (
    IN_FULL,
    are_seasons,
    century_of,
    dates_of,
    day_first,
    first_years,
    no_date,
    short_years,
)
from search.errors import DataCorrupt
from search.study.table import Table

Places = NDArray[np.int64]
SHUFFLE = 0  # its seed, which is always the same
DEALS = 10  # of groups, of which the one is taken that comes nearest to the share asked for
FEWEST_OF_A_CLASS = 4  # rows; classes with fewer are dealt together, as if they were one


class Part(StrEnum):
    """What rows are for."""

    TRAIN = "training"
    VALIDATION = "validation"
    TEST = "test"


def deal(
    frame: pd.DataFrame, spec: Table, shares: Mapping[Part, float], classes: bool
) -> tuple[Places, dict[Part, Places]]:
    """Deal the rows of a table.

    Args:
        frame: the table.
        spec: what the study says of it.
        shares: what each split is to have of the rows that the ones before it have left.
        classes: whether the label holds classes; then the splits have them in equal shares, as far
            as whole rows allow, and one row of each class at least is trained on.

    Returns:
        The rows that are left for training, and those of each split; in the order of the table.

    Raises:
        DataCorrupt: there are too few rows, or groups.

    """
    rest = np.arange(len(frame))
    rare = np.zeros(len(frame), np.bool_)
    if classes:
        codes = pd.factorize(frame[spec.label])[0]
        rare = np.bincount(codes)[codes] < FEWEST_OF_A_CLASS
    dealt = {}
    for part, share in shares.items():
        if spec.time is not None:
            chosen = _last(frame[spec.time].iloc[rest], share, spec.time, spec.dayfirst)
        elif spec.group is not None:
            labels = frame[spec.label].iloc[rest] if classes else None
            chosen = _groups(frame[spec.group].iloc[rest], labels, share, spec.group, part)
        else:
            labels = frame[spec.label].iloc[rest] if classes else None
            chosen = _shuffled(len(rest), labels, rare[rest], share)
        if len(chosen) < 2 or len(rest) - len(chosen) < 2:
            if spec.time is not None and 2 <= round(share * len(rest)) <= len(rest) - 2:
                moments = frame[spec.time].iloc[rest].nunique()
                raise DataCorrupt(
                    f"the column {spec.time!r} has {moments} different times in the {len(rest)} "
                    f"rows that are left when rows are dealt for {part}, and rows of one time stay "
                    f"together; give finer times or {part} rows of their own, or leave out time"
                )
            raise DataCorrupt(
                f"{len(frame)} rows are too few: a share of {share:g} for {part} leaves "
                f"{len(chosen)} of them there and {len(rest) - len(chosen)} elsewhere; supply more"
            )
        dealt[part], rest = rest[chosen], np.delete(rest, chosen)
    return rest, dealt


def _shuffled(rows: int, labels: pd.Series | None, rare: NDArray[np.bool_], share: float) -> Places:
    """Return rows by chance: the same share of each class, and of all that are rare together.

    Args:
        rows: how many there are.
        labels: of these rows; None of a regression.
        rare: which of them are of a rare class.
        share: of them that is wanted.

    """
    from sklearn.model_selection import train_test_split

    count = max(2, round(share * rows))
    eligible, codes, few = np.arange(rows), None, np.empty(0, np.int64)
    if labels is not None:
        codes = pd.factorize(labels)[0]
        spare = _spare(codes, np.flatnonzero(rare))
        eligible = np.flatnonzero((np.bincount(codes)[codes] >= FEWEST_OF_A_CLASS) & ~rare)
        few = spare[: round(share * np.count_nonzero(rare)) if len(eligible) else count]
        count -= len(few)
        if count < 1 or not len(eligible):
            return np.sort(few)
        kinds = len(np.unique(codes[eligible]))
        if not kinds <= count <= len(eligible) - kinds:  # fewer places than classes
            eligible, codes = np.setdiff1d(np.append(np.flatnonzero(~rare), spare), few), None
    if count >= len(eligible):
        return np.arange(rows)
    stratify = None if codes is None else codes[eligible]
    _, chosen = train_test_split(eligible, test_size=count, random_state=SHUFFLE, stratify=stratify)
    return np.sort(np.append(chosen, few))


def _spare(codes: Places, rare: Places) -> Places:
    """Return the rows of rare classes by chance, but for one of each, which is trained on."""
    shuffled = np.random.RandomState(SHUFFLE).permutation(rare)
    _, firsts = np.unique(codes[shuffled], return_index=True)
    spare: Places = np.delete(shuffled, firsts)
    return spare


def _groups(
    groups: pd.Series, labels: pd.Series | None, share: float, name: str, part: Part
) -> Places:
    """Return whole groups by chance."""
    from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

    codes = pd.factorize(groups, use_na_sentinel=False)[0]
    if codes.max() < 1:
        raise DataCorrupt(
            f"the column {name!r} has one group left when rows are dealt for {part}; supply more "
            "groups, or leave out group"
        )
    folds = round(1 / share)
    splits: Iterable[tuple[Any, Places]] | None = None
    if labels is not None and 2 <= folds <= codes.max() + 1:
        kinds = pd.factorize(labels)[0]
        if np.bincount(kinds).min() >= folds:
            splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=SHUFFLE)
            splits = splitter.split(kinds, kinds, codes)
    if splits is None:
        shuffle = GroupShuffleSplit(DEALS, test_size=share, random_state=SHUFFLE)
        splits = shuffle.split(codes, groups=codes)
    # A large group is as many rows too many wherever it comes.
    chosen = min((rows for _, rows in splits), key=lambda rows: abs(len(rows) - share * len(codes)))
    return np.sort(chosen)


def _last(moments: pd.Series, share: float, name: str, dayfirst: bool | None) -> Places:
    """Return the last rows in time; rows of one moment stay together."""
    times = times_of(moments, name, dayfirst)
    ordered = np.sort(times)
    border = ordered[min(len(times) - 1, max(0, round((1 - share) * len(times))))]
    return np.flatnonzero(times >= border)


def times_of(moments: pd.Series, name: str, dayfirst: bool | None) -> NDArray[np.float64]:
    """Return moments as numbers that grow with time.

    Raises:
        DataCorrupt: one is missing, or no date.

    """
    if moments.isna().any():
        raise DataCorrupt(f"the column {name!r} lacks the time of some rows; leave these rows out")
    if pd.api.types.is_numeric_dtype(moments.dtype):
        return moments.to_numpy(np.float64)
    if are_seasons(moments):
        return first_years(moments)
    first, century = day_first(moments, dayfirst), century_of(short_years(moments))
    if century is None:
        raise DataCorrupt(
            f"the column {name!r} holds dates like {moments.iloc[0]}: {IN_FULL}, or leave out time"
        )
    parsed = dates_of(moments, first, century)
    if parsed.isna().any():
        raise DataCorrupt(f"the column {name!r} holds {no_date(moments[parsed.isna()], first)}")
    times: NDArray[Any] = parsed.dt.tz_localize(None).to_numpy("datetime64[us]")
    return times.astype(np.float64)
