"""How often the intervals of each score hold what they promise, in simulated studies.

    python -m benchmarks.coverage [--studies 400] [--examples 1000]
    python -m benchmarks.coverage --race [--studies 400]

A study draws examples and seeds anew; its configuration has a true score, the mean over very many
of both. Printed is the share of the intervals of 95 % that hold it, and of the intervals of the
difference to one fixed model those that hold the true difference.

With `--race` a study has several configurations, of which it chooses one by the validation scores
of its seeds and meets the test split with that, once with the race of `search.proof.race` and once
with all seeds of all of them. Printed is for both the share of the intervals that hold the true
score of what was chosen, and of the race how many runs it leaves out, how often another one wins
by it, and by how much the winner's true score falls short of the other way's on average.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from search.proof.interval import accuracy_interval
from search.proof.race import in_race
from search.proof.scored import Scored
from search.study.metric import METRICS, Metric
from search.study.task import Task

CLASSES = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "log_loss")
NUMBERS = ("r2", "rmse", "mae")
MANY_SEEDS, MANY_EXAMPLES = 200, 20_000


@dataclass(frozen=True)
class World:
    """Where studies are simulated."""

    task: Task
    seeds: int
    examples: int
    luck: float = 0.0  # standard deviation over seeds of the logarithm of their noise
    share: float = 0.5  # of the examples that are of the second class
    tails: float = 1e6  # degrees of freedom of the noise of targets, which is Student's
    strength: float = 1.5  # how far apart classes are
    group: int = 1  # examples that share what makes one of them hard, to one half

    @property
    def metrics(self) -> Sequence[Metric]:
        names = CLASSES if self.task is Task.CLASSIFICATION else NUMBERS
        return [METRICS[name] for name in names]

    def groups(self, examples: int) -> NDArray[np.int64] | None:
        """Return the group of each example; None where each stands for itself."""
        return None if self.group == 1 else np.arange(examples) // self.group

    def _hardness(self, random: np.random.Generator, examples: int) -> NDArray[np.float64]:
        """Return standard normal numbers, to one half those of a group."""
        own, groups = random.standard_normal(examples), self.groups(examples)
        if groups is None:
            return own
        shared: NDArray[np.float64] = random.standard_normal(examples)[groups]
        return (own + shared) / 2**0.5

    def simulate(
        self, random: np.random.Generator, seeds: int, examples: int
    ) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.float64]]:
        """Return labels or targets, the answers of each seed, and those of a fixed model."""
        own = random.standard_normal((seeds + 1, examples))
        # The fixed model has the luck that a seed has on average.
        luck = self.luck * np.append(random.standard_normal(seeds), 0.0)[:, None]
        if self.task is Task.REGRESSION:
            noise = random.standard_t(self.tails, examples) * (1 - 2 / self.tails) ** 0.5 / 2
            if self.group > 1:
                noise = self._hardness(random, examples) / 2
            y = random.standard_normal(examples) + noise
            said = y + (noise + 0.2 * own) * np.exp(luck)
            return y, said[:-1], said[-1]
        y = (random.random(examples) < self.share).astype(np.int64)
        if y.min() == y.max():
            y[0] = 1 - y[0]  # else there is nothing to score
        seen = self.strength * (2 * y - 1) + self._hardness(random, examples)
        prior = np.log(self.share / (1 - self.share))
        logits = 2 * self.strength * (seen + 0.5 * own * np.exp(luck)) / 1.25 + prior + luck
        second = 1 / (1 + np.exp(-logits))
        said = np.stack([1 - second, second], axis=-1)
        return y, said[:-1], said[-1]

    @cached_property
    def truth(self) -> dict[str, tuple[float, float]]:
        """The scores that are expected of a fresh seed, and of the fixed model."""
        random, found = np.random.default_rng(1), []
        # A hundred times the examples, so that its own error is a tenth of that of a study.
        rounds = max(100 * self.examples // MANY_EXAMPLES, MANY_SEEDS // 5 if self.luck else 2)
        for _ in range(rounds):
            y, said, fixed = self.simulate(random, 5, MANY_EXAMPLES)
            found.append(
                [
                    (fmean(one.score(y, said_by) for said_by in said), one.score(y, fixed))
                    for one in self.metrics
                ]
            )
        means = np.mean(found, axis=0)
        return {
            one.name: (float(score), float(other))
            for one, (score, other) in zip(self.metrics, means, strict=True)
        }


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth, and how wide they were."""

    score: float
    difference: float
    width: float  # the median


@cache
def coverage(world: World, studies: int) -> dict[str, Coverage]:
    """Return the coverage of each score in so many studies."""
    random = np.random.default_rng(2)
    held: dict[str, list[tuple[bool, bool, float]]] = {one.name: [] for one in world.metrics}
    for _ in range(studies):
        y, said, fixed = world.simulate(random, world.seeds, world.examples)
        for metric in world.metrics:
            scored = Scored(metric, y, None, 0.95, world.groups(world.examples))
            score, gap = scored.interval(said), scored.difference(scored.values(said), fixed)
            true, other = world.truth[metric.name]
            held[metric.name].append(
                (
                    score.low <= true <= score.high,
                    gap.low <= true - other <= gap.high,
                    score.high - score.low,
                )
            )
    return {
        name: Coverage(
            float(np.mean([one[0] for one in found])),
            float(np.mean([one[1] for one in found])),
            float(np.median([one[2] for one in found])),
        )
        for name, found in held.items()
    }


def worlds() -> Iterator[World]:
    """Yield all worlds, the cheap ones first."""
    classes, numbers = Task.CLASSIFICATION, Task.REGRESSION
    for examples in (100, 1_000, 10_000):
        for seeds, luck in ((3, 0.0), (3, 0.3), (5, 0.3)):
            for share in (0.5, 0.1, 0.02) if examples > 100 else (0.5, 0.1):
                yield World(classes, seeds, examples, luck, share)
            yield World(numbers, seeds, examples, luck / 3)
        yield World(classes, 3, examples, strength=2.5, share=0.1)
        yield World(classes, 3, examples, strength=2.5, share=0.05)
        yield World(numbers, 5, examples, tails=5)
        for group in (examples // 5, examples // 20, 5):
            yield World(classes, 3, examples, share=0.3, group=group)
            yield World(numbers, 3, examples, group=group)


# -- choosing the winner ---------------------------------------------------------------------


@dataclass(frozen=True)
class Contest:
    """Where configurations are confirmed.

    A model is right on an example that is easier than its limit. What makes an example hard is to
    one half shared by all models and to the other each model's own; in all it is standard normal.
    """

    candidates: int
    seeds: int
    differing: float  # standard deviation of the configurations' limits
    luck: float  # standard deviation over seeds of a configuration's limit
    limit: float = 2.17  # on average: 98.5 % are right
    validated: int = 5_000
    tested: int = 10_000

    def simulate(self, random: np.random.Generator) -> dict[bool, "Chosen"]:
        """Return what is chosen with the race, and what without it, from the same draws."""
        own = self.limit + self.differing * random.standard_normal(self.candidates)
        limits = own[:, None] + self.luck * random.standard_normal((self.candidates, self.seeds))
        validation = self._right(random, limits.ravel(), self.validated).mean(axis=1)
        scores = dict(enumerate(validation.reshape(limits.shape)))
        test = int(random.integers(2**32))  # the same examples for both
        chosen = {}
        for race in (True, False):
            runs = sum(self._made(scores, one) if race else self.seeds for one in scores)
            racing = in_race(scores, self.seeds) if race else list(scores)
            winner = max(racing, key=lambda one: float(scores[one].mean()))
            right = self._right(np.random.default_rng(test), limits[winner], self.tested)
            found = accuracy_interval(right, 0.95)
            true = float(ndtr(own[winner] / (1 + self.luck**2) ** 0.5))
            chosen[race] = Chosen(winner, true, runs, found.low <= true <= found.high)
        return chosen

    def _made(self, scores: dict[int, NDArray[np.float64]], one: int) -> int:
        """Return how many runs a candidate makes until it drops out."""
        for done in range(1, self.seeds):
            so_far = {other: list(found[:done]) for other, found in scores.items()}
            if one not in in_race(so_far, self.seeds):
                return done
        return self.seeds

    @staticmethod
    def _right(
        random: np.random.Generator, limits: NDArray[np.float64], examples: int
    ) -> NDArray[np.bool_]:
        """Say which models, with these limits, are right on which examples."""
        shared = random.standard_normal(examples)
        hard = (shared + random.standard_normal((len(limits), examples))) / 2**0.5
        return np.asarray(hard < limits[:, None])


@dataclass(frozen=True)
class Chosen:
    """What a study has chosen."""

    winner: int
    true: float  # score
    runs: int  # that were made
    held: bool  # the interval holds the true score


@dataclass(frozen=True)
class Raced:
    """What the race does."""

    coverage: float
    coverage_without: float
    left_out: float  # share of the runs
    other: float  # share of the studies in which another candidate wins
    lost: float  # true score of the winner, the mean


def raced(contest: Contest, studies: int) -> Raced:
    """Return what the race does in so many studies."""
    random = np.random.default_rng(3)
    found = [contest.simulate(random) for _ in range(studies)]
    pairs = [(one[True], one[False]) for one in found]
    return Raced(
        fmean(race.held for race, _ in pairs),
        fmean(whole.held for _, whole in pairs),
        1 - fmean(race.runs / whole.runs for race, whole in pairs),
        fmean(race.winner != whole.winner for race, whole in pairs),
        fmean(whole.true - race.true for race, whole in pairs),
    )


def contests() -> Iterator[Contest]:
    """Yield where winners are chosen: alike to far apart, by seeds that agree and that do not."""
    for candidates, seeds in ((2, 5), (3, 3), (5, 5)):
        for differing in (0.0, 0.02, 0.1):
            for luck in (0.0, 0.02, 0.1):
                yield Contest(candidates, seeds, differing, luck)


def show_races(studies: int) -> None:
    for contest in contests():
        one = raced(contest, studies)
        print(
            f"{contest.candidates} candidates, {contest.seeds} seeds, differing "
            f"{contest.differing:.2f}, luck {contest.luck:.2f}: covers {one.coverage:.3f}, without "
            f"the race {one.coverage_without:.3f}; leaves out {one.left_out:.0%} of the runs, "
            f"another wins in {one.other:.1%}, loses {100 * one.lost:.4f} points",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=400)
    parser.add_argument("--examples", type=int, nargs="*", help="only worlds of so many")
    parser.add_argument("--race", action="store_true", help="choose the winner in a race")
    given = parser.parse_args()
    if given.race:
        show_races(given.studies)
        return
    for world in worlds():
        if given.examples and world.examples not in given.examples:
            continue
        print(world, flush=True)
        for name, one in coverage(world, given.studies).items():
            print(
                f"  {name:18} {one.score:.3f}  difference {one.difference:.3f}  "
                f"width {one.width:.4f}  of {world.truth[name][0]:.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
