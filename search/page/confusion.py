"""Whom the winner takes for whom: the table of classes, as far as a page has room for them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from search.data.quoting import shortened
from search.proof.mistakes import Mistakes
from search.study.task import Label

ROOM = 30  # classes


@dataclass(frozen=True)
class Confusion:
    """Some classes, and how many examples of each are taken for each."""

    labels: Sequence[Label] | None  # what the user calls all of them
    all: int  # classes
    classes: Sequence[int]  # that are shown, in order
    rows: Sequence[Sequence[int]]  # examples, [true class][guessed class], of these

    def name(self, number: int) -> str:
        """Return what the user calls a class."""
        known = self.labels is not None and number < len(self.labels)
        text = str(self.labels[number]) if self.labels is not None and known else str(number)
        return shortened(text)


def confusion(mistakes: Mistakes, labels: Sequence[Label] | None) -> Confusion:
    """Return the confusion of all classes, or of those most involved in mistakes."""
    counts = {(true, guessed): count for true, guessed, count in mistakes.confusion}
    found = 1 + max(max(pair) for pair in counts)
    classes = max(found, len(labels or ()))
    involved: Counter[int] = Counter()
    for (true, guessed), count in counts.items():
        if true != guessed:
            involved.update({true: count, guessed: count})
    # Where the page has room for more, those without a mistake come by their numbers.
    worst = sorted(range(classes), key=lambda number: (-involved[number], number))
    shown = sorted(worst[:ROOM])
    rows = [[counts.get((true, guessed), 0) for guessed in shown] for true in shown]
    return Confusion(labels, classes, shown, rows)
