"""A study opened in a store: all that one process needs to work on it or to read it."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from search.cli import DEFAULT_STORAGE, Options, typed
from search.errors import (
    DataCorrupt,
    SpecChanged,
    StoreNotFound,
    StudyNotFound,
    UsageError,
)
from search.proof.ledger import Ledger
from search.proof.proof import Proof
from search.result.result import Result, TrialRow
from search.service.collect import collect, with_evidence
from search.service.folder import check_folder, make_folder
from search.service.samplers import open_study
from search.service.trials import TrialQueue
from search.service.tryout import try_out
from search.store import Store
from search.store.artifacts import Artifacts
from search.store.damage import understood
from search.store.keys import study_prefix
from search.store.leases import Leases, StoredStudy
from search.store.patience import STORE_ERRORS
from search.study.files import find_study, load_study
from search.study.hush import hushed
from search.study.learned import Learned, beside_data
from search.study.metric import Metric, metric_for
from search.study.seeds import derive
from search.study.spec import StudySpec
from search.study.table import Column
from search.study.task import Task

if TYPE_CHECKING:
    from search.data.splits import Dataset
    from search.lanes.groups import Library
    from search.proof.predictor import Predictor
    from search.trainers.contract import Trainer


class Session:
    """A study opened in a store.

    Args:
        options: what every command is given.
        settings: the command line's changes to the study's specification; those of earlier
            runs still hold.
        create: create the study, and its store, where they do not exist.
        full: take the study's full budget, where ``settings`` do not say otherwise.
        study: the study, where it was defined in this process; else the options say where it is.
        kind: of the trainer that a new study is to be searched with.
        lanes: how many it is to have; None for as many as suit it.

    Raises:
        StudyNotFound: there is no such study, and it is not to be created.
        SpecChanged: the stored study was created with another specification.
        UsageError: the budget would shrink.

    """

    def __init__(
        self,
        options: Options,
        settings: Mapping[str, Any] | None = None,
        create: bool = False,
        full: bool = False,
        study: StudySpec | None = None,
        kind: str = "auto",
        lanes: int | None = None,
    ) -> None:
        self.options = options
        self._asked = kind, lanes
        file = load_study(options.study) if study is None else study
        self._beside = find_study(options.study).parent if options.study else Path()
        if full and not file.full:
            raise UsageError(
                f"{file.name} names no full budget; leave out --full, or give --trials"
            )
        settings = {**(file.full if full else {}), **(settings or {})}
        if options.name is not None:
            file = replace(file, name=options.name)
        self.name = file.name
        self._model = _of_model(file)  # before a rehearsal, in which what it is made of may change
        self._tried = False  # whether all that a search needs has been tried
        self._in_memory = False  # whether the study's data were, in whole or in part
        self.spec = file.with_settings(settings)  # complains before a store is created
        with contextlib.ExitStack() as refused:
            file = self._in_files(file, create, refused)
            self.spec = file.with_settings(settings)
            self.store = self._store(create)
            refused.callback(self.store.close)
            self.leases = Leases(self.store.database, self.name)
            self.artifacts = Artifacts(self.store.database)
            with self.store.database.errors():
                if create:
                    self._create(file, settings)
                else:
                    self._open(file, settings)
                self.study = open_study(self.store, self.name, self.spec, seed=0)
                if create:
                    self.store.name_values(self.study, self.metric.stored_title)
            refused.pop_all()
        self.ledger = Ledger(self.study, self.artifacts)

    def _in_files(self, file: StudySpec, create: bool, refused: contextlib.ExitStack) -> StudySpec:
        """Return the study with data that are in files; what is in memory is kept beside it."""
        if isinstance(file.data, str):
            return file
        from search import data

        folder = self.out if self.options.data_dir is None else self.out.resolve()
        found, files = data.in_files(file.data, folder)
        self._in_memory = bool(files)
        if create:
            refused.enter_context(_Called({str(one.path): one.name for one in files}))
            refused.callback(data.keep_files(files))
        return replace(file, data=found)

    def _store(self, create: bool) -> Store:
        try:
            return Store(self.options.storage, create=False)
        except StoreNotFound:
            if not create:
                raise
            self._try_out()  # what cannot be used leaves no store behind
            return Store(self.options.storage, create=True)

    def _open(self, file: StudySpec, settings: Mapping[str, Any]) -> None:
        stored = self.leases.stored()
        if stored is None or not self.store.has(self.name):
            raise StudyNotFound(
                f"there is no study {self.name} in {self.store.database.shown_url}; "
                f"{typed('run')} creates it"
            )
        self._agree(file, settings, stored)

    def _create(self, file: StudySpec, settings: Mapping[str, Any]) -> None:
        stored = self.leases.stored()
        if stored is None:
            self._try_out()  # it may take long, and others wait while the database is held
        elif self.store.has(self.name):
            if self._in_memory or self.spec.budget > stored.trials:
                _ = self.dataset  # others are not to stay beside it, nor to let its budget grow
            self._agree(file, settings, stored)
            if (self._settings, self.spec.budget) == (stored.settings, stored.trials):
                make_folder(self.out)
                return  # of many workers that join, none waits for all the others
        with self.store.database.exclusive():
            if not self.store.has(self.name):  # deleted in the dashboard, if it was there before
                self.leases.forget()
                self.artifacts.delete_all(study_prefix(self.name))
            stored = self.leases.stored()
            self._agree(file, settings, stored)
            make_folder(self.out)
            frozen = stored.frozen if stored is not None else self._frozen()
            self.leases.create(
                StoredStudy(frozen, self._settings, self.spec.budget, self.options.study)
            )
            open_study(self.store, self.name, self.spec, seed=0)

    def _agree(
        self, file: StudySpec, settings: Mapping[str, Any], stored: StoredStudy | None
    ) -> None:
        """Settle the specification between the file, the command line and the store."""
        with understood(self.name):  # the store may have settings that there are not
            self._settings = {**(stored.settings if stored else {}), **settings}
            self.spec = file.with_settings(self._settings)
        if stored is None:
            return
        with understood(self.name):
            self._compare(stored)
        if self.spec.budget < stored.trials:
            if "trials" in settings:
                raise UsageError(
                    f"the budget of {self.name} is {stored.trials} trials and can only grow; "
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
                    f"{self.name} was created with {name} {then.get(name)}, now it is "
                    f"{now.get(name)}; put it back to continue, or start another study with --name"
                )

    def _try_out(self) -> None:
        """Refuse what could not be searched; once, for a new store and for the study in it."""
        if not self._tried:
            check_folder(self.out, self.options)
            try_out(self.spec, self._loaded, *self._asked, self.options.verbose)
            self._tried = True

    @cached_property
    def learned(self) -> Learned:
        """What the study learns from, as it was when the study was created."""
        stored = self.leases.stored()
        assert stored is not None, "the study was created"
        return Learned.from_json(stored.frozen)

    @property
    def metric(self) -> Metric:
        """What the study's trials are scored by."""
        return self.learned.metric

    @property
    def target(self) -> float | None:
        """The score to reach; None without a target."""
        return None if self.spec.target is None else self.metric.stored(self.spec.target)

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.options.out or Path("runs") / self.name

    @cached_property
    def _loaded(self) -> "Dataset":
        from search import data

        spec, folder = self.spec, self.options.data_dir
        task = Task(spec.task) if spec.task else None
        return data.load(spec.data, folder, task, self._beside).scored_by(spec.metric)

    @cached_property
    def dataset(self) -> "Dataset":
        """The data set, checked to be the one that the study was created with."""
        dataset = self._loaded
        if self.learned.sha256 != dataset.sha256:
            then = self.learned.digests
            changed = [key for key in dataset.digests if dataset.digests[key] != then.get(key)]
            raise DataCorrupt(
                f"{self.name} was created with other data than {dataset.name}"
                f"{_differing(changed)}; supply those with --data-dir, or start another study "
                "with --name"
            )
        return dataset

    def trainer(
        self,
        kind: str,
        lanes: int | None,
        say: Callable[[str], None],
        folds: int | None = None,
        width: int | None = None,
    ) -> "Trainer":
        """Return a trainer for the study's models; see `search.service.choose.trainer_for`.

        It has the study's folds unless others are given; 1 trains on the training split.
        """
        dataset = self.dataset
        with contextlib.nullcontext() if self.options.verbose else hushed():
            from search.service.choose import trainer_for
        spec = self.spec if folds is None else replace(self.spec, folds=folds)
        return trainer_for(spec, dataset, kind, lanes, say, self._library, width)

    @cached_property
    def _library(self) -> "Library":
        """What the trainers of the search and of the confirmation share."""
        from search.lanes.groups import Library

        return Library()

    @contextlib.contextmanager
    def membership(self) -> Iterator[TrialQueue]:
        """Join the study as a worker, and leave it afterwards, with nothing held."""
        worker, ordinal = self.leases.join()
        # Workers with equal samplers would all suggest the same.
        study = open_study(
            self.store, self.name, self.spec, derive(self.spec.seed, "sampler", ordinal)
        )
        try:
            yield TrialQueue(self.store, study, self.spec, self.leases, worker)
        finally:
            # A database that is away must neither hold this one nor hide why it leaves; the
            # others will notice that it is gone.
            hurried = self.store.database.patience.hurried(lambda: True)
            with hurried, contextlib.suppress(*STORE_ERRORS):
                self.leases.leave(worker)

    @property
    def words(self) -> list[str]:
        """The command-line options that name this study, but not its store."""
        options = self.options
        words = ["--study", options.study]
        for option, value in (
            ("--name", options.name),
            ("--out", options.out),
            ("--data-dir", options.data_dir),
        ):
            words += [option, str(value)] if value is not None else []
        return words

    @property
    def command(self) -> str:
        """The command that continues the study."""
        if not self.options.study:
            return f"optimize(...) in Python, with the study named {self.name}"
        words = self.words
        # What the environment says it says again, in a container under a name of its own network.
        if self.options.storage not in (DEFAULT_STORAGE, os.environ.get("OPTUNA_STORAGE")):
            words += ["--storage", self.store.database.shown_url]
        return f"{typed('run')} {shlex.join(words)}"

    def result(self) -> Result:
        """Read what the study has come to."""
        with understood(self.name):
            return collect(
                self.study, self.leases, self.ledger, self.spec, self.command, self._settings
            )

    def evidence(self) -> Result:
        """Read all that the report shows, which is much more than the result alone."""
        return with_evidence(self.result(), self.artifacts)

    def predictor(self) -> "Predictor":
        """Return the winner, ready to say what new rows are.

        Raises:
            UsageError: nothing is proven yet.

        """
        content = self.ledger.kept_model()
        if content is None:
            raise UsageError(
                f"{self.name} has no winner yet; this finds and proves one: {self.command}"
            )
        with contextlib.nullcontext() if self.options.verbose else hushed():
            from search.proof.predictor import Predictor

            return Predictor.of(content, self.learned)

    def unproven(self, result: Result | None = None) -> list[TrialRow]:
        """Return the best trials while they are to be confirmed: none once they are proven.

        Args:
            result: what the study has come to, where it has been read already.

        """
        result = result or self.result()
        best = result.ranked[: self.spec.confirm.candidates]
        return [] if self._proves(result.proof, {row.number for row in best}) else best

    def _proves(self, proof: Proof | None, best: set[int]) -> bool:
        """Say whether a proof is of these best trials, as the study wants it, with its model."""
        settings = self.spec.confirm
        return (
            proof is not None
            and proof.candidates == best
            and len(proof.seeds) == settings.seeds
            and proof.interval.confidence == settings.confidence
            and self.ledger.kept_model() is not None
        )


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
