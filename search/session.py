"""A study opened in a store: all that one process needs to work on it or to read it."""

import contextlib
import hashlib
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from search.cli import DEFAULT_STORAGE, Options
from search.errors import DataCorrupt, SpecChanged, StudyNotFound, UsageError
from search.leases import Leases, StoredStudy
from search.proof import Proof
from search.results import Result, collect
from search.seeds import derive
from search.spec import load_study
from search.store import Store
from search.trials import TrialQueue

if TYPE_CHECKING:
    from search.data import Dataset
    from search.trainer import Trainer


class Session:
    """A study opened in a store.

    Args:
        options: what every command is given.
        settings: the command line's changes to the study's specification; those of earlier
            runs still hold.
        create: create the study, and its store, where they do not exist.

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
    ) -> None:
        self.options = options
        file = load_study(options.study)
        if options.name is not None:
            file = replace(file, name=options.name)
        self.name = file.name
        file.with_settings(settings or {})  # complain before a store is created
        self.store = Store(options.storage, create)
        self.leases = Leases(self.store.engine, self.name)
        stored = self.leases.stored()
        if stored is None and not create:
            raise StudyNotFound(
                f"there is no study {self.name} in {self.store.shown_url}; search.run creates it"
            )
        merged = dict(stored.settings if stored else {}) | dict(settings or {})
        self._settings = merged
        self.spec = file.with_settings(merged)
        if stored is not None:
            self._compare(stored)
        if create and stored is not None and self.spec.budget < stored.trials:
            raise UsageError(
                f"the budget of {self.name} is {stored.trials} trials and can only grow; "
                "give that or more, or start another study with --name"
            )
        if create:
            self._make_out()
            self.leases.create(StoredStudy(self._frozen(stored), merged, self.spec.budget))
        self.study = self.store.study(self.name, self.spec, seed=0)

    def _make_out(self) -> None:
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"{self.out} cannot hold the results: {error.strerror}; name another with --out"
            ) from error

    def _frozen(self, stored: StoredStudy | None) -> Mapping[str, Any]:
        if stored is not None:
            return stored.frozen
        return self.spec.describe() | {"data.sha256": self._loaded.sha256}

    def _compare(self, stored: StoredStudy) -> None:
        now = self.spec.describe()
        then = {name: value for name, value in stored.frozen.items() if name != "data.sha256"}
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                raise SpecChanged(
                    f"{self.name} was created with {name} {then.get(name)}, now it is "
                    f"{now.get(name)}; put it back to continue, or start another study with --name"
                )

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.options.out or Path("runs") / self.name

    @property
    def model(self) -> Path:
        """The file of the winner's model."""
        return self.out / "best.keras"

    @cached_property
    def _loaded(self) -> "Dataset":
        from search import data  # reading a study needs no data, and starts faster without

        return data.load(self.spec.data, self.options.data_dir)

    @cached_property
    def dataset(self) -> "Dataset":
        """The data set, checked to be the one that the study was created with."""
        dataset, stored = self._loaded, self.leases.stored()
        assert stored is not None
        if stored.frozen["data.sha256"] != dataset.sha256:
            raise DataCorrupt(
                f"the data set {dataset.name} is not the one that {self.name} was created with; "
                "supply that one with --data-dir, or start another study with --name"
            )
        return dataset

    def trainer(
        self, kind: str = "auto", lanes: int | None = None, say: Callable[[str], None] = print
    ) -> "Trainer":
        """Return a trainer for the study's models; see `search.trainers.trainer_for`."""
        dataset = self.dataset
        with contextlib.nullcontext() if self.options.verbose else _hushed():
            from search.trainers import trainer_for
        return trainer_for(self.spec, dataset, kind, lanes, say)

    @contextlib.contextmanager
    def queue(self, trainer: "Trainer") -> Iterator[TrialQueue]:
        """Join the study as a worker with this trainer, and leave it afterwards."""
        member = self.leases.join()
        # Workers with equal samplers would all suggest the same.
        seed = derive(self.spec.seed, "sampler", member.ordinal)
        study = self.store.study(self.name, self.spec, seed)
        try:
            yield TrialQueue(self.store, study, self.spec, self.leases, member.id, trainer.label)
        finally:
            self.leases.leave(member.id)

    def result(self) -> Result:
        """Read what the study has come to."""
        options = self.options
        words = ["--study", options.study]
        if options.storage != DEFAULT_STORAGE:
            words += ["--storage", self.store.shown_url]
        for option, value in (
            ("--name", options.name),
            ("--out", options.out),
            ("--data-dir", options.data_dir),
        ):
            words += [option, str(value)] if value is not None else []
        command = f"python -m search.run {shlex.join(words)}"
        return collect(self.study, self.leases, self.spec, command, self._settings)

    def proven(self, proof: Proof | None, best: set[int]) -> bool:
        """Say whether a proof is of these best trials, as the study wants it, with its model."""
        kept, settings = self.model, self.spec.confirm
        return (
            proof is not None
            and proof.candidates == best
            and len(proof.seeds) == settings.seeds
            and proof.interval.confidence == settings.confidence
            and kept.exists()
            and _digest(kept) == self.study.user_attrs.get("model_sha256")
        )

    def keep(self, proof: Proof, seconds: float) -> None:
        """Store a proof, which model goes with it, and the time it took beyond earlier ones."""
        self.study.set_user_attr("model_sha256", _digest(self.model))
        before = self.study.user_attrs.get("confirmation_seconds", 0.0)
        self.study.set_user_attr("confirmation_seconds", round(before + seconds, 1))
        self.study.set_user_attr("proof", proof.to_json())


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Keep TensorFlow's libraries from telling the user about themselves while they load."""
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


class Ledger(MutableMapping[str, float]):
    """The confirmation's runs so far, each kept in the store the moment it is known."""

    def __init__(self, study: optuna.Study) -> None:
        self._study = study
        self._runs: dict[str, float] = dict(study.user_attrs.get("confirmation", {}))

    def __getitem__(self, key: str) -> float:
        return self._runs[key]

    def __setitem__(self, key: str, validation: float) -> None:
        self._runs[key] = validation
        self._study.set_user_attr("confirmation", self._runs)

    def __delitem__(self, key: str) -> None:
        raise NotImplementedError("a run that was made stays made")

    def __iter__(self) -> Iterator[str]:
        return iter(self._runs)

    def __len__(self) -> int:
        return len(self._runs)
