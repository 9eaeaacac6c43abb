"""A study opened in a store: all that one process needs to work on it or to read it."""

import contextlib
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search.cli import DEFAULT_STORAGE, Options, typed
from search.errors import (
    StoreNotFound,
    UsageError,
)
from search.machine.hush import hushed
from search.proof.ledger import Ledger
from search.proof.proof import Proof
from search.result.result import Result, TrialRow
from search.service.agreement import Agreement
from search.service.collect import collect, with_evidence
from search.service.samplers import open_study
from search.service.trials import TrialQueue
from search.store import Store
from search.store.artifacts import Artifacts
from search.store.damage import understood
from search.store.leases import Leases
from search.store.patience import STORE_ERRORS
from search.study.files import load_study
from search.study.learned import Learned
from search.study.metric import Metric
from search.study.seeds import derive
from search.study.spec import StudySpec

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
        file = load_study(options.study) if study is None else study
        if full and not file.full:
            raise UsageError(
                f"{file.name} names no full budget; leave out --full, or give --trials"
            )
        settings = {**(file.full if full else {}), **(settings or {})}
        if options.name is not None:
            file = replace(file, name=options.name)
        self.name = file.name
        self._agreement = Agreement(file, settings, options, self.out, kind, lanes)
        with contextlib.ExitStack() as refused:
            self._agreement.put_in_files(create, refused)
            self.store = self._store(create)
            refused.callback(self.store.close)
            self.leases = Leases(self.store.database, self.name)
            self.artifacts = Artifacts(self.store.database)
            with self.store.database.errors():
                if create:
                    self._agreement.create(self.store, self.leases, self.artifacts)
                else:
                    self._agreement.find(self.store, self.leases)
                self.spec = self._agreement.spec
                self.study = open_study(self.store, self.name, self.spec, seed=0)
                if create:
                    self.store.name_values(self.study, self.metric.stored_title)
            refused.pop_all()
        self.ledger = Ledger(self.study, self.artifacts)

    def _store(self, create: bool) -> Store:
        try:
            return Store(self.options.storage, create=False)
        except StoreNotFound:
            if not create:
                raise
            self._agreement.try_out()  # what cannot be used leaves no store behind
            return Store(self.options.storage, create=True)

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
    def dataset(self) -> "Dataset":
        """The data set, checked to be the one that the study was created with."""
        return self._agreement.checked(self.learned)

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
            settings = self._agreement.settings
            return collect(self.study, self.leases, self.ledger, self.spec, self.command, settings)

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
