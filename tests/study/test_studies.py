import re
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from search.cli import Options
from search.errors import SpecChanged, SpecError, UsageError
from search.result.factors import factors
from search.result.markdown import markdown
from search.result.words import sentences
from search.service.samplers import sampler
from search.service.session import Session
from search.service.trials import suggest
from search.study.files import load_study
from search.study.mlp import MLP
from search.study.space import Choice
from search.study.spec import StudySpec
from search.study.stackable import why_not
from search.study.training import Training

ROOT = Path(__file__).parents[2]
OURS = sorted(path.stem for path in (ROOT / "studies").glob("[!_]*.py"))
EXPERIMENTS = sorted(set(OURS) - {"blobs", "mnist", "table"})
PROMISED = [
    "activations_fashion",
    "batchnorm_placement",
    "gradients_deep",
    "mnist_random",
    "mnist_wide",
    "snn_boston",
    "snn_cifar10",
    "snn_conditions",
    "snn_fashion",
]
SPEC = StudySpec(
    name="mine",
    data="blobs",
    space={"repetition": [0, 1, 2], "activation": ["relu", "elu"], "batch_norm": [True, False]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=2),
    trials=8,
    sampler="grid",
    pruner="none",
    expected="elu wins (a paper).",
    full={"epochs": 5, "trials": 12},
)
FILE = """
from search import MLP, StudySpec, Training

STUDY = StudySpec(
    name="mine",
    data="blobs",
    space={"activation": ["relu", "elu"], "repetition": [0, 1, 2]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=2),
    trials=4,
    sampler="grid",
    expected="elu wins (a paper).",
    full={"epochs": 5, "trials": 6},
)
"""


# -- what ships ------------------------------------------------------------------------------


def test_every_promised_experiment_is_there() -> None:
    assert set(PROMISED) <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_says_what_is_expected_and_is_told_of(name: str) -> None:
    study = load_study(str(ROOT / "studies" / f"{name}.py"))

    assert study.name == name
    assert study.expected is not None
    assert re.search(r"\((.*\d{4}|the project's field notes)", study.expected), "it has a source"
    assert study.full
    told = (ROOT / "docs" / "findings.md").read_text()
    assert f"## {name}\n" in told
    assert f"python -m search.run --study {name}" in told


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_trains_in_lanes(name: str) -> None:
    assert why_not(load_study(str(ROOT / "studies" / f"{name}.py"))) is None


# -- repetitions -----------------------------------------------------------------------------


def walk(spec: StudySpec, seeds: tuple[int, ...]) -> list[dict[str, object]]:
    """Ask for the budget's points by turns, as workers with these seeds of their own do."""
    storage = optuna.storages.InMemoryStorage()
    optuna.create_study(storage=storage, study_name="mine")
    points = []
    for number in range(spec.budget):
        study = optuna.load_study(
            storage=storage,
            study_name="mine",
            sampler=sampler(spec, seeds[number % len(seeds)]),
        )
        trial = study.ask()
        parameters = spec.search_space.parameters
        points.append({name: suggest(trial, name, parameters[name]) for name in parameters})
        study.tell(trial, 0.5)
    return points


def test_repetitions_of_all_arms_come_one_after_the_other() -> None:
    points = walk(replace(SPEC, trials=12), (1,))

    assert [point["repetition"] for point in points] == [0] * 4 + [1] * 4 + [2] * 4
    arms = [(point["activation"], point["batch_norm"]) for point in points]
    for block in (arms[:4], arms[4:8], arms[8:]):
        assert len(set(block)) == 4
    assert arms[:4] != arms[4:8], "the order within a block is random"


def test_workers_with_samplers_of_their_own_share_a_grid_out() -> None:
    spec = replace(SPEC, trials=12)

    assert walk(spec, (1, 2)) == walk(spec, (3,))


def test_a_repetition_changes_nothing_but_the_seed_and_is_no_factor(tmp_path: Path) -> None:
    first, second = (
        SPEC.recipe(
            SPEC.search_space.config({"repetition": n, "activation": "elu"} | {"batch_norm": True})
        )
        for n in (0, 1)
    )

    assert first.model == second.model
    assert replace(first.training, repetition=1) == second.training
    result = opened(tmp_path, FILE).result()
    assert [factor.name for factor in factors(result)] == ["activation"]


@pytest.mark.parametrize("repetition", [-1, 0.5, True])
def test_a_repetition_is_a_number(repetition: int) -> None:
    with pytest.raises(SpecError, match="repetition is"):
        Training(epochs=1, repetition=repetition)


# -- the full budget -------------------------------------------------------------------------


def opened(
    folder: Path, text: str, settings: dict[str, int] | None = None, full: bool = False
) -> Session:
    file = folder / "mine.py"
    file.write_text(text)
    url = f"sqlite:///{folder}/store.db"
    options = Options(
        study=str(file),
        storage=url,
        out=folder,
        quiet=True,
    )
    return Session(options, settings, create=True, full=full)


def budget(session: Session) -> tuple[int, int]:
    return session.spec.training.epochs, session.result().budget


def test_a_full_study_is_continued_without_saying_so_again(tmp_path: Path) -> None:
    assert budget(opened(tmp_path, FILE, full=True)) == (5, 6)
    assert budget(opened(tmp_path, FILE)) == (5, 6)
    assert "full" not in opened(tmp_path, FILE).result().settings


def test_what_is_said_beside_full_holds(tmp_path: Path) -> None:
    assert budget(opened(tmp_path, FILE, {"trials": 2}, full=True)) == (5, 2)
    assert budget(opened(tmp_path, FILE, full=True)) == (5, 6), "and is taken back later"


def test_a_study_of_another_length_cannot_become_full(tmp_path: Path) -> None:
    opened(tmp_path, FILE)

    with pytest.raises(SpecChanged, match=r"training.epochs 2, now it is 5.*--name"):
        opened(tmp_path, FILE, full=True)
    assert budget(opened(tmp_path, FILE)) == (2, 4)


def test_full_lets_the_budget_grow_where_nothing_else_changes(tmp_path: Path) -> None:
    text = FILE.replace('"epochs": 5, ', "")
    opened(tmp_path, text)

    assert budget(opened(tmp_path, text, full=True)) == (2, 6)


def test_a_study_without_a_full_budget_says_so(tmp_path: Path) -> None:
    text = re.sub(r"    full=.*\n", "", FILE)

    with pytest.raises(UsageError, match=r"mine names no full budget.*--trials"):
        opened(tmp_path, text, full=True)
    assert not (tmp_path / "store.db").exists()


@pytest.mark.parametrize(
    ("full", "said"),
    [
        ({"seed": 1}, "full: it sets seed; it may set epochs and trials"),
        ({"epochs": 0}, "full: epochs is 0"),
        ({"trials": 7}, "full: 7 trials are fewer than the 8"),
    ],
)
def test_a_full_budget_that_is_none_is_refused(full: dict[str, int], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        replace(SPEC, full=full)


# -- the expectation -------------------------------------------------------------------------


def test_the_report_shows_the_expectation_beside_the_result(tmp_path: Path) -> None:
    session = opened(tmp_path, FILE)
    choices = session.spec.search_space.parameters
    session.study.add_trial(
        optuna.trial.create_trial(
            value=0.7,
            params={"activation": "elu", "repetition": 0},
            distributions={
                name: optuna.distributions.CategoricalDistribution(one.choices)
                for name, one in choices.items()
                if isinstance(one, Choice)
            },
        )
    )
    result = session.result()
    counted = replace(result, trials=tuple(replace(row, counts=True) for row in result.trials))

    assert sentences(counted)[-1] == "Expected was: elu wins (a paper)."
    assert "Expected was: elu wins (a paper)." in markdown(counted)
    plain = replace(counted, spec=replace(counted.spec, expected=None))
    assert "Expected" not in markdown(plain)
