import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.study.metric import ACCURACY
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.training import Training
from search.trainers.checkpoint import from_bytes, to_bytes
from search.trainers.contract import End, train_to_end
from search.trainers.course import Course
from tests.fakes import Scores, ScriptedTrainer, curve, diverging

TRAINING = Training(epochs=5)
INF, NAN = math.inf, math.nan


def walk(training: Training, *accuracies: float) -> Course:
    """Return the course after epochs with these validation accuracies."""
    course = Course(training, ACCURACY)
    for accuracy in accuracies:
        assert not course.over
        course.add(1.0, accuracy, 1.0, accuracy)
    return course


def test_the_best_epoch_is_kept() -> None:
    course = Course(TRAINING, ACCURACY)

    kept = [course.add(1.0, 0.5, 1.0, accuracy) for accuracy in (0.2, 0.6, 0.6, 0.5, 0.7)]

    assert kept == [True, True, False, False, True]
    assert course.outcome().kept_epoch == 5
    assert course.outcome().value == 0.7


def test_the_last_epoch_is_kept_where_the_study_says_so() -> None:
    training = replace(TRAINING, best_weights=False)
    course = Course(training, ACCURACY)

    assert all(course.add(1.0, 0.5, 1.0, accuracy) for accuracy in (0.2, 0.6, 0.5))
    assert (course.outcome().kept_epoch, course.outcome().value) == (3, 0.5)


def test_a_course_ends_with_its_epochs() -> None:
    course = walk(TRAINING, 0.1, 0.2, 0.3, 0.4)

    assert not course.over
    assert course.outcome().end is None
    course.add(1.0, 0.5, 1.0, 0.5)
    assert course.over
    assert course.outcome().end is End.EPOCHS


@pytest.mark.parametrize("best_weights", [True, False])
@pytest.mark.parametrize("accuracies", [(0.5, 0.5, 0.4), (0.1, 0.5, 0.2, 0.5)])
def test_patience_counts_epochs_since_the_best(
    accuracies: Sequence[float], best_weights: bool
) -> None:
    course = walk(replace(TRAINING, patience=2, best_weights=best_weights), *accuracies)

    assert course.outcome().end is End.EARLY


def test_a_better_epoch_renews_the_patience() -> None:
    assert not walk(replace(TRAINING, patience=2), 0.5, 0.4, 0.6, 0.5).over


@pytest.mark.parametrize(
    ("loss", "val_loss"), [(NAN, 1.0), (1.0, NAN), (INF, 1.0), (1.0, INF), (-INF, 1.0)]
)
@pytest.mark.parametrize("best_weights", [True, False])
def test_a_loss_that_is_not_finite_ends_it_and_is_worth_nothing(
    loss: float, val_loss: float, best_weights: bool
) -> None:
    course = walk(replace(TRAINING, best_weights=best_weights), 0.9)

    assert not course.add(loss, 0.95, val_loss, 0.95)
    assert course.over
    assert course.last.end is End.DIVERGED
    outcome = course.outcome()
    assert (outcome.value, outcome.kept_epoch, outcome.end) == (0.0, 0, End.DIVERGED)


def test_nothing_trained_is_worth_nothing() -> None:
    outcome = Course(TRAINING, ACCURACY).outcome()

    assert (outcome.value, outcome.kept_epoch, outcome.end, outcome.curve) == (0.0, 0, None, ())


shares = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
losses = st.sampled_from([0.1, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, NAN, INF])
epochs = st.lists(st.tuples(losses, shares, losses, shares), max_size=12)
trainings = st.builds(
    Training,
    epochs=st.integers(1, 8),
    patience=st.none() | st.integers(1, 4),
    best_weights=st.booleans(),
)


@given(trainings, epochs)
def test_what_is_true_of_every_course(
    training: Training, scores: list[tuple[float, float, float, float]]
) -> None:
    course = Course(training, ACCURACY)
    kept = 0
    for score in scores:
        if course.over:
            break
        kept = course.epochs if course.add(*score) else kept
    outcome = course.outcome()
    accuracies = [result.val_score for result in outcome.curve]
    best = accuracies.index(max(accuracies)) + 1 if accuracies else 0

    assert [result.epoch for result in outcome.curve] == list(range(1, len(accuracies) + 1))
    assert all(result.end is None for result in outcome.curve[:-1])
    match outcome.end:
        case End.DIVERGED:
            assert not all(math.isfinite(loss) for loss in scores[course.epochs - 1][::2])
            assert (outcome.value, outcome.kept_epoch) == (0.0, 0)
            return
        case End.EPOCHS:
            assert course.epochs == training.epochs
        case End.EARLY:
            assert course.epochs - best == training.patience
        case None:
            assert course.epochs == len(scores) < training.epochs
    assert outcome.kept_epoch == (best if training.best_weights else course.epochs)
    assert outcome.value == (accuracies[outcome.kept_epoch - 1] if accuracies else 0.0)


@given(trainings, epochs)
def test_a_course_continues_from_its_curve(
    training: Training, scores: list[tuple[float, float, float, float]]
) -> None:
    course = Course(training, ACCURACY)
    for score in scores:
        if course.over:
            break
        past = course.outcome().curve
        continued = Course(training, ACCURACY, past)
        assert continued.outcome() == course.outcome()
        assert continued.add(*score) == course.add(*score)
        assert repr(continued.outcome()) == repr(course.outcome())  # a loss may be NaN
    if course.over:
        with pytest.raises(ValueError, match="curve"):
            Course(training, ACCURACY, course.outcome().curve)


def test_the_scripted_trainer_continues_from_a_checkpoint() -> None:
    one, trainer = recipe(3), ScriptedTrainer(2)
    trainer.start(0, one, 7)
    trainer.epoch()
    checkpoint = trainer.checkpoint(0)
    while trainer.epoch():
        pass
    other = ScriptedTrainer(3)
    with pytest.raises(ValueError, match="trainer fit"):
        other.start(2, one, 7, replace(checkpoint, kind="fit"))
    other.start(2, one, 7, from_bytes(to_bytes(checkpoint)))
    assert other.epoch()[2].epoch == 2
    while other.epoch():
        pass
    assert other.stop(2) == trainer.stop(0)


def recipe(number: int, training: Training = TRAINING) -> Recipe:
    return Recipe(Config({"number": number}), MLP(hidden=(4,)), training)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), max_size=12), st.integers(1, 5))
def test_every_job_is_trained_to_its_end_once(jobs: list[tuple[int, int]], lanes: int) -> None:
    recipes = [(recipe(number, Training(epochs=length)), 7) for number, length in jobs]
    trainer = ScriptedTrainer(lanes)

    ended = list(train_to_end(trainer, recipes))

    assert sorted(position for position, _outcome, _model in ended) == list(range(len(jobs)))
    assert len(trainer.started) == len(jobs)
    for position, outcome, model in ended:
        wanted, seed = recipes[position]
        assert (model.recipe, model.seed) == (wanted, seed)
        assert len(outcome.curve) == wanted.training.epochs
        assert outcome.end is End.EPOCHS
        assert outcome.curve[-1].val_score == curve(wanted, seed, len(outcome.curve))[3]


def test_lanes_are_refilled_as_soon_as_they_are_free() -> None:
    trainer = ScriptedTrainer(2)
    lengths = [1, 3, 1, 1]
    jobs = [(recipe(0, Training(epochs=length)), 0) for length in lengths]

    positions = [position for position, _outcome, _model in train_to_end(trainer, jobs)]

    assert positions[:2] == [0, 2]
    assert sorted(positions[2:]) == [1, 3]
    assert [lane for lane, _recipe, _seed in trainer.started] == [0, 1, 0, 0]


def test_jobs_are_asked_for_only_when_a_lane_is_free() -> None:
    jobs = iter([(recipe(number), 0) for number in range(5)])

    next(train_to_end(ScriptedTrainer(2), jobs))

    assert len(list(jobs)) == 3


def test_a_trial_that_diverges_ends_and_the_others_do_not() -> None:
    def script(recipe: Recipe, seed: int, epoch: int) -> Scores:
        return (diverging if recipe.config["number"] == 1 else curve)(recipe, seed, epoch)

    jobs = [(recipe(number), 0) for number in range(3)]
    ended = train_to_end(ScriptedTrainer(3, script), jobs)

    lengths = {position: len(outcome.curve) for position, outcome, _model in ended}
    assert lengths == {0: 5, 1: 1, 2: 5}
