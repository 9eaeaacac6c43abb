"""Coverage is shown by simulated studies whose true accuracy is known exactly.

A model is right where a normal variable, the sum of the example's easiness, the seed's luck and
what the two do together, stays above a threshold. So the expected accuracy has a closed form.
"""

from dataclasses import asdict, astuple, dataclass, replace
from functools import cache
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from scipy import stats

from search.proof.interval import Interval, accuracy_interval

Answers: TypeAlias = NDArray[np.bool_]
Floats: TypeAlias = NDArray[np.float64]

AGREE = 0.0  # seeds are as good as one another
DIFFER = 0.4  # accuracies of single seeds spread by 0.9 points around 98 %


@dataclass(frozen=True)
class World:
    """Where studies are simulated; standard deviations are those of the normal variable."""

    seeds: int
    luck: float  # standard deviation over seeds
    examples: int = 2_000
    easiness: float = 2.0  # standard deviation over examples; models share 40 % of their errors
    accuracy: float = 0.98
    studies: int = 1_000

    def simulate(self, generator: np.random.Generator) -> Answers:
        """Return whether models are right, ``[seed, example]``."""
        latent = generator.standard_normal((self.seeds, self.examples), dtype=np.float32)
        latent += self.easiness * generator.standard_normal(self.examples, dtype=np.float32)
        latent += self.luck * generator.standard_normal((self.seeds, 1), dtype=np.float32)
        spread = np.sqrt(1 + self.easiness**2 + self.luck**2)
        right: Answers = latent > -np.float32(stats.norm.ppf(self.accuracy) * spread)
        return right


@dataclass(frozen=True)
class Verdict:
    """What many intervals of one kind came to."""

    coverage: float
    width: float  # relative to the normal interval of one who knows the variance


@dataclass(frozen=True)
class Verdicts:
    """How ours and two that look right at first sight do in the same studies."""

    ours: Verdict
    binomial: Verdict
    over_seeds: Verdict


@cache
def judge(world: World) -> Verdicts:
    generator = np.random.default_rng(20)
    shares, found = [], []
    for _ in range(world.studies):
        answers = world.simulate(generator)
        shares.append(answers.mean(axis=1))
        found.append(accuracy_interval(answers, 0.95))
    by_seed = np.array(shares)
    means = by_seed.mean(axis=1)
    ideal = 2 * stats.norm.ppf(0.975) * means.std()

    def verdict(low: Floats, high: Floats) -> Verdict:
        covered = (low <= world.accuracy) & (world.accuracy <= high)
        return Verdict(float(covered.mean()), float((high - low).mean() / ideal))

    return Verdicts(
        ours=verdict(np.array([one.low for one in found]), np.array([one.high for one in found])),
        binomial=verdict(*clopper_pearson(means, world.seeds * world.examples)),
        over_seeds=verdict(*student(by_seed)),
    )


def clopper_pearson(share: Floats, size: int) -> tuple[Floats, Floats]:
    """Take all answers for independent."""
    right, wrong = size * share, size * (1 - share)
    low = np.where(share > 0, stats.beta.ppf(0.025, right, wrong + 1), 0)
    high = np.where(share < 1, stats.beta.ppf(0.975, right + 1, wrong), 1)
    return low, high


def student(by_seed: Floats) -> tuple[Floats, Floats]:
    """Take the seeds for the only draw; ``[study, seed]``."""
    seeds = by_seed.shape[1]
    half = stats.t.ppf(0.975, seeds - 1) * by_seed.std(axis=1, ddof=1) / np.sqrt(seeds)
    return by_seed.mean(axis=1) - half, by_seed.mean(axis=1) + half


@pytest.mark.parametrize(
    ("world", "widest"),
    [
        (World(seeds=3, luck=AGREE), 1.4),
        (World(seeds=5, luck=AGREE), 1.2),
        (World(seeds=10, luck=AGREE), 1.1),
        (World(seeds=3, luck=DIFFER), 2.3),  # Student's t with two degrees of freedom is 2.2 wide
        (World(seeds=5, luck=DIFFER), 1.5),
        (World(seeds=10, luck=DIFFER), 1.2),
        (World(seeds=5, luck=AGREE, examples=10_000, studies=400), 1.2),
        (World(seeds=5, luck=0.15, examples=10_000, studies=400), 1.4),
    ],
    ids=str,
)
def test_covers_and_is_not_much_wider_than_it_must_be(world: World, widest: float) -> None:
    verdict = judge(world).ours
    assert verdict.coverage >= 0.93
    assert verdict.width <= widest


def test_two_seeds_suffice_where_seeds_agree_and_nearly_where_they_differ() -> None:
    assert judge(World(seeds=2, luck=AGREE)).ours.coverage >= 0.93
    assert judge(World(seeds=2, luck=DIFFER)).ours.coverage >= 0.86


@pytest.mark.parametrize("seeds", [3, 10])
def test_covers_where_errors_are_rare_and_shared(seeds: int) -> None:
    world = World(seeds=seeds, luck=AGREE, examples=1_000, easiness=4.0, accuracy=0.998)
    assert judge(world).ours.coverage >= 0.93


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("luck", [AGREE, DIFFER])
def test_the_simulation_tells_when_the_answers_are_taken_for_independent(
    seeds: int, luck: float
) -> None:
    assert judge(World(seeds=seeds, luck=luck)).binomial.coverage < 0.90


def test_the_simulation_tells_when_the_test_set_is_taken_for_all_examples() -> None:
    assert judge(World(seeds=10, luck=AGREE)).over_seeds.coverage < 0.75


tables = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=12))
confidences = st.floats(0.001, 0.99999)


@given(tables, confidences)
def test_the_limits_enclose_the_mean(answers: Answers, confidence: float) -> None:
    found = accuracy_interval(answers, confidence)
    assert 0 <= found.low <= found.mean <= found.high <= 1
    assert found.low < found.high
    assert found.mean == pytest.approx(answers.mean())
    assert found.confidence == confidence


@given(tables, st.integers(0, 2**32))
def test_the_order_of_seeds_and_examples_is_nothing(answers: Answers, order: int) -> None:
    generator = np.random.default_rng(order)
    shuffled = generator.permutation(generator.permutation(answers, axis=0), axis=1)
    assert same(accuracy_interval(shuffled, 0.95), accuracy_interval(answers, 0.95))


@given(tables, confidences)
def test_right_and_wrong_are_mirror_images(answers: Answers, confidence: float) -> None:
    found, mirrored = (accuracy_interval(table, confidence) for table in (answers, ~answers))
    turned = replace(mirrored, mean=1 - mirrored.mean, low=1 - mirrored.high, high=1 - mirrored.low)
    assert same(found, turned)


@given(tables)
def test_more_confidence_is_never_narrower(answers: Answers) -> None:
    low, high = (accuracy_interval(answers, confidence) for confidence in (0.8, 0.99))
    assert high.low <= low.low
    assert low.high <= high.high


@given(arrays(np.bool_, st.integers(2, 40)), st.integers(2, 20))
def test_identical_models_are_one_model(answers: Answers, seeds: int) -> None:
    found = accuracy_interval(np.tile(answers, (seeds, 1)), 0.95)
    low, high = clopper_pearson(answers.mean(keepdims=True), len(answers))
    assert found.low <= low + 1e-9
    assert found.high >= high - 1e-9


def test_identical_models_cost_no_more_than_one_example() -> None:
    answers = np.arange(1_000) >= 20
    low, high = clopper_pearson(answers.mean(keepdims=True), len(answers))
    found = accuracy_interval(np.tile(answers, (5, 1)), 0.95)
    assert same(found, Interval(0.98, low.item(), high.item(), 0.95), within=1e-5)


@pytest.mark.parametrize("seeds", [2, 10])
def test_flawless_models_have_the_interval_of_one(seeds: int) -> None:
    flawless, low = np.ones((seeds, 500), dtype=bool), 0.025 ** (1 / 500)
    assert same(accuracy_interval(flawless, 0.95), Interval(1, low, 1, 0.95))
    assert same(accuracy_interval(~flawless, 0.95), Interval(0, 0, 1 - low, 0.95))


def test_an_error_never_raises_the_limit_of_flawless_models() -> None:
    answers = np.ones((10, 500), dtype=bool)
    flawless = accuracy_interval(answers, 0.95)
    answers[3, 77] = False
    assert accuracy_interval(answers, 0.95).low <= flawless.low


def test_agrees_with_the_formula_worked_by_hand() -> None:
    answers = np.ones((3, 10), dtype=bool)
    answers[:, 0] = answers[2, 1:4] = False
    # Sums of squares: 0.6 for seeds, 2.8 for examples, 4.8 in all.
    seeds, examples, residual = 0.6 / 2, 2.8 / 9, 1.4 / 18
    inflation = (stats.t.ppf(0.975, 2) / stats.t.ppf(0.975, 9)) ** 2
    size = 0.8 * 0.2 / ((examples + inflation * (seeds - residual)) / 30)
    low = stats.beta.ppf(0.025, 0.8 * size, 0.2 * size + 1)
    high = stats.beta.ppf(0.975, 0.8 * size + 1, 0.2 * size)
    assert same(accuracy_interval(answers, 0.95), Interval(0.8, float(low), float(high), 0.95))


def test_zeros_and_ones_are_booleans() -> None:
    answers = np.random.default_rng(3).random((3, 50)) < 0.9
    assert accuracy_interval(answers.astype(float).tolist(), 0.95) == accuracy_interval(
        answers, 0.95
    )


def test_the_record_is_plain() -> None:
    found = accuracy_interval(np.eye(3, dtype=bool), 0.9)
    assert {type(value) for value in asdict(found).values()} == {float}


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (np.ones(1), "shape"),
        (np.ones((1, 5)), "at least 2"),
        (np.ones((5, 1)), "at least 2"),
        (np.ones((0, 0)), "at least 2"),
        (np.ones((2, 2, 2)), "shape"),
        (np.full((2, 5), 0.5), "zeros and ones"),
        (np.full((2, 5), np.nan), "zeros and ones"),
    ],
)
def test_other_tables_are_refused_in_one_line(answers: NDArray[np.float64], problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refusal:
        accuracy_interval(answers, 0.95)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("confidence", [0, 1, 95, -0.1, float("nan")])
def test_other_confidences_are_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="confidence"):
        accuracy_interval(np.eye(3), confidence)


def same(one: Interval, other: Interval, within: float = 1e-7) -> bool:
    return astuple(one) == pytest.approx(astuple(other), abs=within)
