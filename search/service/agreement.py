"""A study's specification, settled between its file, the command line and the store."""

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from search.cli import Options, typed
from search.errors import DataCorrupt, SpecChanged, StudyNotFound, UsageError
from search.service.folder import check_folder, make_folder
from search.service.samplers import open_study
from search.service.tryout import try_out
from search.store import Store
from search.store.artifacts import Artifacts
from search.store.damage import understood
from search.store.keys import study_prefix
from search.store.leases import Leases, StoredStudy
from search.study.files import find_study
from search.study.learned import Learned, beside_data
from search.study.metric import metric_for
from search.study.spec import StudySpec
from search.study.table import Column
from search.study.task import Task

if TYPE_CHECKING:
    from search.data.splits import Dataset


class Agreement:
    """What a study is, by its file, the command line, and the store once it is in one.

    ``spec`` and ``settings`` hold what is settled so far: of the file and of this command line at
    first, and of all earlier ones too after `find` or `create`.

    Args:
        file: the study as it was defined, under the name that it has in the store.
        settings: the command line's changes to it.
        options: what every command is given.
        out: the folder of the results.
        kind: of the trainer that a new study is to be searched with.
        lanes: how many it is to have; None for as many as suit it.

    Raises:
        SpecError: the settings do not fit the study.

    """

    def __init__(
        self,
        file: StudySpec,
        settings: Mapping[str, Any],
        options: Options,
        out: Path,
        kind: str,
        lanes: int | None,
    ) -> None:
        self.settings: Mapping[str, Any] = settings
        self.spec = file.with_settings(settings)  # complains before a store is created
        self._file = file
        self._given = settings
        self._options = options
        self._out = out
        self._asked = kind, lanes
        self._model = _of_model(file)  # before a rehearsal, in which what it is made of may change
        self._beside = find_study(options.study).parent if options.study else Path()
        self._tried = False  # whether all that a search needs has been tried
        self._in_memory = False  # whether the study's data were, in whole or in part

    def put_in_files(self, create: bool, refused: contextlib.ExitStack) -> None:
        """Have data that are in memory stand in files.

        Args:
            create: keep these files.
            refused: gets what takes them back, should the study be refused.

        """
        if isinstance(self._file.data, str):
            return
        from search import data

        folder = self._out if self._options.data_dir is None else self._out.resolve()
        found, files = data.in_files(self._file.data, folder)
        self._in_memory = bool(files)
        if create:
            refused.enter_context(_Called({str(one.path): one.name for one in files}))
            refused.callback(data.keep_files(files))
        self._file = replace(self._file, data=found)
        self.spec = self._file.with_settings(self._given)

    def try_out(self) -> None:
        """Refuse what could not be searched; once, for a new store and for the study in it."""
        if not self._tried:
            check_folder(self._out, self._options)
            try_out(self.spec, self._loaded, *self._asked, self._options.verbose)
            self._tried = True

    def find(self, store: Store, leases: Leases) -> None:
        """Agree with the study that is in the store.

        Raises:
            StudyNotFound: there is none.
            SpecChanged: it was created with another specification.
            UsageError: its budget would shrink.

        """
        stored = leases.stored()
        if stored is None or not store.has(self.spec.name):
            raise StudyNotFound(
                f"there is no study {self.spec.name} in {store.database.shown_url}; "
                f"{typed('run')} creates it"
            )
        self._agree(stored)

    def create(self, store: Store, leases: Leases, artifacts: Artifacts) -> None:
        """Agree with the study that is in the store, or create it there.

        Raises:
            SpecChanged: it was created with another specification.
            DataCorrupt: it was created with other data.
            UsageError: its budget would shrink, or it could not be searched.

        """
        name = self.spec.name
        stored = leases.stored()
        if stored is None:
            self.try_out()  # it may take long, and others wait while the database is held
        elif store.has(name):
            if self._in_memory or self.spec.budget > stored.trials:
                # Others are not to stay beside it, nor to let its budget grow.
                self.checked(Learned.from_json(stored.frozen))
            self._agree(stored)
            if (self.settings, self.spec.budget) == (stored.settings, stored.trials):
                make_folder(self._out)
                return  # of many workers that join, none waits for all the others
        with store.database.exclusive():
            if not store.has(name):  # deleted in the dashboard, if it was there before
                leases.forget()
                artifacts.delete_all(study_prefix(name))
            stored = leases.stored()
            self._agree(stored)
            make_folder(self._out)
            frozen = stored.frozen if stored is not None else self._frozen()
            leases.create(StoredStudy(frozen, self.settings, self.spec.budget, self._options.study))
            open_study(store, name, self.spec, seed=0)

    def _agree(self, stored: StoredStudy | None) -> None:
        """Settle the specification between the file, the command line and the store."""
        with understood(self.spec.name):  # the store may have settings that there are not
            self.settings = {**(stored.settings if stored else {}), **self._given}
            self.spec = self._file.with_settings(self.settings)
        if stored is None:
            return
        with understood(self.spec.name):
            self._compare(stored)
        if self.spec.budget < stored.trials:
            if "trials" in self._given:
                raise UsageError(
                    f"the budget of {self.spec.name} is {stored.trials} trials and can only grow; "
                    "give that or more, or start another study with --name"
                )
            # Another process has let it grow since.
            self.spec = replace(self.spec, trials=stored.trials)

    def _frozen(self) -> Mapping[str, Any]:
        dataset = self._loaded
        table = dataset.table
        learned = Learned(
            sha256=dataset.sha256,
            metric=dataset.metric,
            task=dataset.task,
            labels=dataset.labels,
            digests=dataset.digests,
            notes=tuple(dataset.notes),
            inputs=str(dataset.validation.x.dtype),
            columns=None if table is None else tuple(map(Column.from_json, table.described())),
            reading={} if table is None else table.read_as,
        )
        return self._described() | learned.to_json()

    def _described(self) -> dict[str, Any]:
        """Return what defines a trial's result, with the model as it was before any was built."""
        described = self.spec.describe().items()
        others = {name: said for name, said in described if not name.startswith("model.")}
        return others | self._model

    def _compare(self, stored: StoredStudy) -> None:
        now, then = self._described(), beside_data(stored.frozen)
        learned = Learned.from_json(stored.frozen)
        if self.spec.task is not None:  # which may have followed from the data at first
            now["task"], then["task"] = self.spec.task, learned.task
        now["metric"] = self.spec.metric or metric_for(None, learned.task).name
        then["metric"] = learned.metric.name
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                raise SpecChanged(
                    f"{self.spec.name} was created with {name} {then.get(name)}, now it is "
                    f"{now.get(name)}; put it back to continue, or start another study with --name"
                )

    @cached_property
    def _loaded(self) -> "Dataset":
        from search import data

        spec, folder = self.spec, self._options.data_dir
        task = Task(spec.task) if spec.task else None
        return data.load(spec.data, folder, task, self._beside).scored_by(spec.metric)

    def checked(self, learned: Learned) -> "Dataset":
        """Return the data set.

        Args:
            learned: what the study was created with.

        Raises:
            DataCorrupt: that was another.

        """
        dataset = self._loaded
        if learned.sha256 != dataset.sha256:
            changed = [
                key for key in dataset.digests if dataset.digests[key] != learned.digests.get(key)
            ]
            raise DataCorrupt(
                f"{self.spec.name} was created with other data than {dataset.name}"
                f"{_differing(changed)}; supply those with --data-dir, or start another study "
                "with --name"
            )
        return dataset


def _of_model(spec: StudySpec) -> dict[str, Any]:
    """Return what a study's description says of its model."""
    return {name: said for name, said in spec.describe().items() if name.startswith("model.")}


def _differing(arrays: list[str]) -> str:
    """Say which arrays of a user's file are others now; nothing where none are known."""
    if not arrays:
        return ""
    return f" ({', '.join(arrays)} {'differs' if len(arrays) == 1 else 'differ'})"


class _Called(contextlib.AbstractContextManager[None]):
    """Let messages call data what their owner calls them: the files are taken back then.

    Args:
        names: of the files, by their paths.

    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, UsageError):
            said = str(error)
            for path, name in self._names.items():
                said = said.replace(path, name)
            error.args = (said,)
