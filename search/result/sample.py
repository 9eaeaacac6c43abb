"""Some of many trials, evenly chosen by their places, and the score by which they are ordered."""

from collections.abc import Sequence

from search.result.result import TrialRow

MOST_DRAWN = 500  # trials that a figure draws one by one, in each of its colours
RANKED = 1000  # trials that importances are reckoned from


def few(rows: Sequence[TrialRow], most: int = MOST_DRAWN) -> Sequence[TrialRow]:
    """Return some of the trials, evenly by their places: a page of all would be too large."""
    if len(rows) <= most:
        return rows
    return [rows[round(place * (len(rows) - 1) / (most - 1))] for place in range(most)]


def score(row: TrialRow) -> float:
    """Return the score of a trial that has one."""
    return row.value or 0.0
