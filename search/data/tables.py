"""A user's own table: read, understood, split, and encoded for networks."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from search.data.advice import left_to_say, rows_in_words
from search.data.amounts import in_brackets
from search.data.answers import Answers
from search.data.cells import checked, holds_numbers, need
from search.data.columns import told, understand, values_of
from search.data.deal import Part, deal, times_of
from search.data.encoding import Encoding, Features, Values
from search.data.encodings import FALLBACK
from search.data.extent import LARGEST, Extent
from search.data.figures import numbers_in
from search.data.formats import combine
from search.data.frames import ASSUMED, READ_AS, read_frame
from search.data.hints import hints
from search.data.labels import labels_of, settled
from search.data.own import place
from search.data.quoting import LENGTH, quoted
from search.data.splits import Dataset, Split
from search.errors import DataCorrupt
from search.study.table import Column, ColumnKind, Table, TableSource
from search.study.task import Task

FEW_GROUPS = 20  # of the test rows, below which intervals hold less than they say
PURPOSES = {
    "group": "it tells the groups that stay together",
    "time": "the splits follow it; columns may say that it is learned from, too",
    "weight": "it says how much rows count in training",
}


@dataclass(frozen=True)
class Opened:
    """A table whose rows have been dealt to the three splits.

    Args:
        spec: what the study says of it.
        data_dir: the folder of its files; None for the working directory.
        beside: where files are looked for that are not in the working directory.
        task: what is learned, where the labels do not tell.

    """

    spec: Table
    data_dir: Path | None
    beside: Path | None
    task: Task | None

    # -- its rows ----------------------------------------------------------------------------

    def _read(self, source: TableSource, first: pd.DataFrame | None = None) -> pd.DataFrame:
        """Return the rows of a source; those after the first one are read as that was."""
        if not isinstance(source, str):
            return checked(source, "the frame")
        path, reading = place(source, self.data_dir, self.beside), self.spec.reading
        named = {name for name, kind in self.spec.columns.items() if kind != ColumnKind.NUMBER}
        if self.task is Task.CLASSIFICATION:
            named.add(self.spec.label)
        label = self.spec.label
        if first is None:
            return read_frame(path, reading, label=label, named=named)
        text = [str(name) for name in first if pd.api.types.is_string_dtype(first[name].dtype)]
        return read_frame(path, {**self.read_as, **reading}, text, label, named)

    @property
    def read_as(self) -> Mapping[str, Any]:
        """What was found out of the source's file; nothing of a frame."""
        found: Mapping[str, Any] = self.whole.attrs.get(READ_AS, {})
        return found

    @cached_property
    def name(self) -> str:
        """What messages call it."""
        return self._called(self.spec.source, "the frame")

    def _called(self, source: TableSource, frame: str) -> str:
        """Return what messages call a source that may be a frame."""
        if not isinstance(source, str):
            return frame
        return str(place(source, self.data_dir, self.beside))

    @cached_property
    def whole(self) -> pd.DataFrame:
        """The rows of the source, with all columns that the study speaks of.

        Raises:
            DataCorrupt: one is not there.

        """
        spec = self.spec
        whole = self._read(spec.source)
        roles = {"label": spec.label, "group": spec.group, "time": spec.time, "weight": spec.weight}
        if (
            len(whole.columns) == 1
            and isinstance(spec.source, str)
            and spec.label not in whole.columns
        ):
            raise DataCorrupt(
                f"{self.name} has one column, {quoted(whole.columns[0])}; say what parts its "
                f"columns, like ' ' or '\\s+': {left_to_say('sep')}"
            )
        for role, column in roles.items():
            if column is not None:
                need([column], self.name, f" for {role}", whole.columns)
        need(spec.columns, self.name, "", whole.columns)
        if len(whole.columns) == 1:
            raise DataCorrupt(
                f"{self.name} has one column, the label; there is nothing to learn from"
            )
        return self._labelled(whole, self.name)

    def _labelled(self, frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """Return rows whose labels are all there, and of one type.

        Args:
            frame: the rows.
            name: what messages call them.

        Raises:
            DataCorrupt: their labels cannot be learned.

        """
        label = self.spec.label
        frame = frame.copy(deep=False)
        frame[label] = settled(frame[label], name, self.task)
        return frame

    @cached_property
    def _frames(self) -> Mapping[Part, pd.DataFrame]:
        """The rows of each split, all columns, numbered as in their file."""
        spec, whole = self.spec, self.whole
        own = {
            part: self._own(part, source)
            for part, source in ((Part.VALIDATION, spec.validation), (Part.TEST, spec.test))
            if not isinstance(source, float)
        }
        shares = {
            part: share
            for part, share in ((Part.TEST, spec.test), (Part.VALIDATION, spec.validation))
            if isinstance(share, float)
        }
        rest, dealt = deal(whole, spec, shares, self._is_classification(whole))
        frames = {Part.TRAIN: whole.iloc[rest]}
        frames |= {part: whole.iloc[rows] for part, rows in dealt.items()}
        return frames | own

    def _own(self, part: Part, source: TableSource) -> pd.DataFrame:
        """Return the rows of a source for one split, in columns that the table has, too.

        Raises:
            DataCorrupt: the label is not there, or what is learned from the rows.

        """
        spec, whole = self.spec, self.whole
        frame = self._read(source, whole)
        needed = [spec.label]  # what else is tested on follows from the rows that are learned from
        if part is Part.VALIDATION:
            roles = (spec.group, spec.weight)
            dropped = {name for name, kind in spec.columns.items() if kind == ColumnKind.DROP}
            needed = [name for name in whole.columns if name not in dropped or name in roles]
        need(needed, _of(part), "", frame.columns)
        frame = self._labelled(frame, self._called(source, _of(part)))
        return frame[[name for name in whole.columns if name in frame]]

    def _is_classification(self, frame: pd.DataFrame) -> bool:
        answers = Answers.of(labels_of(frame[self.spec.label]), self.task, self.spec.label)
        return answers.task is Task.CLASSIFICATION

    @property
    def _seen(self) -> pd.DataFrame:
        """All rows that may be seen while searching."""
        return pd.concat([self._frames[Part.TRAIN], self._frames[Part.VALIDATION]])

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The digest of each column over all splits."""
        whole = pd.concat([self._frames[part] for part in (Part.TRAIN, Part.VALIDATION, Part.TEST)])
        return {name: _digest(whole[name]) for name in whole.columns}

    # -- its columns -------------------------------------------------------------------------

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """What the columns are, by what may be seen."""
        spec = self.spec
        leave = {getattr(spec, role): why for role, why in PURPOSES.items() if getattr(spec, role)}
        seen = self._seen.drop(columns=spec.label)
        return understand(seen, spec.columns, leave, spec.dayfirst)

    def _values(self, part: Part) -> Values:
        """Return what models are given of a split's rows, by column.

        Raises:
            DataCorrupt: a column is not there, or a value is not what its column holds.

        """
        frame = self._frames[part]
        used = [column for column in self.columns if column.kind is not ColumnKind.DROP]
        need((column.name for column in used), _of(part), "", frame.columns)
        return {column.name: values_of(column, frame[column.name]) for column in used}

    # -- its splits --------------------------------------------------------------------------

    @cached_property
    def answers(self) -> Answers:
        """What is learned, by what may be seen."""
        return Answers.of(labels_of(self._seen[self.spec.label]), self.task, self.spec.label)

    def _split(self, part: Part, features: Features, values: Values) -> Split:
        frame = self._frames[part]
        y = self.answers.of_values(self._label_of(part), labels_of(frame[self.spec.label]))
        if part is Part.TEST:
            return Split(features, y, columns=values, groups=_codes(frame, self.spec.group))
        return Split(features, y, self._weights(frame), values)

    def _weights(self, frame: pd.DataFrame) -> NDArray[np.float32] | None:
        """Return how much rows count in training; all that may be seen is trained on in folds."""
        name = self.spec.weight
        if name is None:
            return None
        numbers = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if len(odd := frame[name][~((numbers >= 0) & (numbers <= LARGEST))]):
            raise DataCorrupt(
                f"the column {name!r} has {quoted(odd.iloc[0])} in row {odd.index[0] + 1}, which "
                f"is no weight; each row needs a number from 0 to {LARGEST:g}"
            )
        weights = numbers.astype(np.float32)
        if not weights.any():
            raise DataCorrupt(
                f"the column {name!r} has weights of 0 alone; nothing would be learned"
            )
        return weights

    def _label_of(self, part: Part) -> str:
        return f"{self.spec.label} of the {part} rows"

    def dataset(self) -> Dataset:
        """Return what may be seen while searching.

        Raises:
            DataCorrupt: the table cannot be used, the rows of the test split included.

        """
        values = {part: self._values(part) for part in Part}
        encoding, features = Encoding.of(self.columns, values[Part.TRAIN])
        train = self._split(Part.TRAIN, features, values[Part.TRAIN])
        validation, test = (
            self._split(part, encoding.apply(values[part]), values[part])
            for part in (Part.VALIDATION, Part.TEST)
        )
        for part, split in ((Part.TRAIN, train), (Part.VALIDATION, validation), (Part.TEST, test)):
            self.answers.check_split(self._label_of(part), split.y, trained=part is Part.TRAIN)
        if test.groups is not None and test.groups.max() == 0:
            raise DataCorrupt(
                f"the test rows are of one {self.spec.group} alone, which cannot tell how far "
                "others differ from it; supply more of them, a larger share as test, or test rows "
                "of their own, or leave out group"
            )
        labels = self.answers.labels
        return Dataset(
            name=self.name,
            sha256=combine(self.digests.values()),
            train=train,
            validation=validation,
            classes=None if labels is None else len(labels),
            labels=labels,
            digests=self.digests,
            notes=tuple(  # names of columns may be of several lines
                note.replace("\n", " ") for note in self._notes(train, validation, test)
            ),
            data_dir=self.data_dir,
            table=Origin(self, encoding, self._groups),
            untested=self.answers.missing(test.y),
        )

    @property
    def _groups(self) -> NDArray[np.int64] | None:
        """The groups of all rows that may be seen."""
        return _codes(self._seen, self.spec.group)

    def test(self, encoding: Encoding) -> Split:
        """Return the test split."""
        values = self._values(Part.TEST)
        return self._split(Part.TEST, encoding.apply(values), values)

    def _notes(self, train: Split, validation: Split, test: Split) -> Iterator[str]:
        if self.read_as.get("decimal", ".") != self.spec.reading.get("decimal", "."):
            yield "its numbers are read with a comma before the decimals, as in 3,14"
        if letters := self.whole.attrs.get(ASSUMED):
            yield (
                f"its letters are read as {FALLBACK} has them, as in {letters[:LENGTH]!r}; if that "
                "is wrong, say which encoding: --read encoding=..., or reading in the study"
            )
        yield from told(self.columns)
        seen = self._seen
        for column in self.columns:
            if column.kind is not ColumnKind.NUMBER:
                continue
            if flaw := _blurred(seen[column.name], column.unit):
                yield f"{column.name} holds {flaw}"
            texts = seen[column.name].dropna()
            if not holds_numbers(texts) and (below := in_brackets(texts)) is not None:
                yield f"{column.name} has numbers in brackets, which are below 0, like {below!r}"
        yield from self.answers.alike()
        for part, split in ((Part.VALIDATION, validation), (Part.TEST, test)):
            yield from self.answers.alone(f"the {part} split", np.unique(split.y))
        yield from self._untested(test)
        yield from self._torn_groups()
        if test.groups is not None and (few := int(test.groups.max()) + 1) < FEW_GROUPS:
            yield (
                f"the test rows are of {few} different values of {self.spec.group}: so few say "
                "little of others, and an interval of 95 % may hold but 85 where errors are scored"
            )
        yield from self._in_time()
        yield from self._back_in_time()
        yield from hints(self.columns, train, validation, test)

    def _untested(self, test: Split) -> Iterator[str]:
        """Yield a line where there are classes that nothing is tested of."""
        if missing := self.answers.missing(test.y):
            rows = int(self._seen[self.spec.label].isin(missing).sum())
            classes, them = "one class", "it"
            if len(missing) > 1:
                classes, them = f"{len(missing)} classes", "them"
            yield (
                f"there is no test row of {classes}, with {rows_in_words(rows)} to learn from: the "
                f"score says nothing of {them}"
            )

    def _torn_groups(self) -> Iterator[str]:
        """Yield what keeps groups from staying in one split, a line each."""
        group = self.spec.group
        if group is None:
            return
        if missing := int(self.whole[group].isna().sum()):
            yield f"{group} is missing in {rows_in_words(missing)}, which are one group together"
        before = set(self._frames[Part.TRAIN][group].dropna())
        for part in (Part.VALIDATION, Part.TEST):
            if group not in (frame := self._frames[part]):
                if part is Part.TEST:
                    yield (
                        f"{group} is missing in the test table: its rows are taken to be "
                        "independent, and the interval is too narrow if they are not"
                    )
                continue
            its = set(frame[group].dropna())
            if both := len(its & before):
                yield (
                    f"{both} of the {len(its)} groups of the {part} rows also stand in training: "
                    "the score says that much less of groups that are new"
                )

    def _in_time(self) -> Iterator[str]:
        """Yield from when to when the splits go, as far as they follow time.

        What was taken for a time that is none, as 9999-12-31 may be, is seen there.
        """
        time = self.spec.time
        frames = {part: frame for part, frame in self._frames.items() if time in frame}
        if time is None or not frames:
            return
        moments = pd.concat([frame[time] for frame in frames.values()], ignore_index=True)
        try:
            times = pd.Series(times_of(moments, time, self.spec.dayfirst))
        except DataCorrupt:  # nothing else asks when rows are that are not dealt
            return
        parts = np.repeat(np.array([*frames]), [len(frame) for frame in frames.values()])
        said = [
            f"{part} from {moments[rows.idxmin()]} to {moments[rows.idxmax()]}"
            for part in Part
            if len(rows := times[parts == part])
        ]
        yield f"the splits go by {time}: {'; '.join(said)}"

    def _back_in_time(self) -> Iterator[str]:
        """Yield which tables of their own begin before the training rows end, a line each."""
        for part, source in ((Part.VALIDATION, self.spec.validation), (Part.TEST, self.spec.test)):
            frame = self._frames[part]
            if not isinstance(source, float) and (before := self._before_the_last(frame)):
                yield (
                    f"{before} of the {len(frame)} {part} rows are before the last training row in "
                    f"{self.spec.time}: the score says that much less of what is still to come"
                )

    def _before_the_last(self, frame: pd.DataFrame) -> int:
        """Return how many rows are before the last training row, as far as their times tell."""
        time, train = self.spec.time, self._frames[Part.TRAIN]
        if time is None or time not in frame:
            return 0
        both = pd.concat([train[time], frame[time]], ignore_index=True)
        try:
            times = times_of(both, time, self.spec.dayfirst)
        except DataCorrupt:  # nothing else asks when rows are that are not dealt
            return 0
        return int((times[len(train) :] < times[: len(train)].max()).sum())


@dataclass(frozen=True)
class Origin:
    """What a data set remembers of the table it was made of."""

    opened: Opened
    encoding: Encoding
    groups: NDArray[np.int64] | None  # of the rows of training and validation, in this order

    def locked(self, dataset: Dataset) -> Split:
        """Return the test split, of the same table as at first.

        Raises:
            DataCorrupt: the table is another one now.

        """
        opened = replace(self.opened)  # reads it again
        if opened.digests != dataset.digests:
            raise DataCorrupt(f"{dataset.name} has changed since it was read; put it back")
        return opened.test(self.encoding)

    def described(self) -> list[dict[str, Any]]:
        """Return what the columns were taken for, in plain JSON."""
        return [column.to_json() for column in self.opened.columns]

    @property
    def read_as(self) -> Mapping[str, Any]:
        """What was found out of its file, as `Table.reading` says it."""
        return self.opened.read_as

    @property
    def ordered(self) -> bool:
        """Whether the splits follow time."""
        return self.opened.spec.time is not None

    def fold(
        self, dataset: Dataset, train: NDArray[np.int64], validation: NDArray[np.int64]
    ) -> Dataset:
        """Return a data set of other rows, of which everything is learned anew.

        Args:
            dataset: that has these rows.
            train: the rows to train on, of those of training and validation together.
            validation: the rows to validate on.

        """
        both = (dataset.train, dataset.validation)
        y = np.concatenate([split.y for split in both])
        values = {
            column.name: np.concatenate([(split.columns or {})[column.name] for split in both])
            for column in self.encoding.columns
        }
        weights = [split.weight for split in both if split.weight is not None]
        weight = np.concatenate(weights) if weights else None
        parts = [{name: one[rows] for name, one in values.items()} for rows in (train, validation)]
        encoding, features = Encoding.of(self.encoding.columns, parts[0])
        splits = [
            Split(x, y[rows], None if weight is None else weight[rows], part)
            for x, part, rows in zip(
                (features, encoding.apply(parts[1])), parts, (train, validation), strict=True
            )
        ]
        return replace(
            dataset, train=splits[0], validation=splits[1], table=replace(self, encoding=encoding)
        )


def _codes(frame: pd.DataFrame, group: str | None) -> NDArray[np.int64] | None:
    """Return the group of each row, from 0, where the frame has groups; what is missing is one."""
    if group is None or group not in frame:
        return None
    return pd.factorize(frame[group], use_na_sentinel=False)[0].astype(np.int64)


def _of(part: Part) -> str:
    """Return what messages call a split's own table."""
    return f"the {part} table"


def _digest(series: pd.Series) -> str:
    hashes = pd.util.hash_pandas_object(series, index=False)
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()


def _blurred(series: pd.Series, unit: str) -> str | None:
    numbers = numbers_in(series.dropna(), str(series.name), unit)[:, None]
    extent = Extent(len(numbers), sampled=True)
    extent.add(numbers)
    return (extent.lost() or "").replace(" in column 0", "") or None
