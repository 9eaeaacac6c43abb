"""The trainer contract for MLPs: many trials at once, stacked in compiled programs.

A lane is a place in a *stack*, and a stack's lanes are one axis of every array in one program, so
they are of one structure. Each new trial takes a place in a stack of its own structure; a stack is
made when the first trial needs it, and given up when it is empty and another one is to be made.

An accelerator wants few wide stacks. With one structure all lanes are one stack; with several a
stack is as wide as a structure's equal share of the lanes, since a place without a trial costs as
much as any other, and a structure that happens to need more takes another stack of the same
programs. On a CPU a network fills the matrix units by itself, and wider stacks only leave the
caches; there each lane is a stack of its own, and as many are trained at a time as there are cores.
Programs of another width may round otherwise, so the label names the width.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

import keras
import numpy as np
from numpy.typing import NDArray

from search.backend import accelerated, free_memory, pool, put, to_numpy
from search.data.inputs import converted
from search.data.splits import Dataset, Split, some_of
from search.errors import LanesExhausted, Unmeasured
from search.health.cadence import LOOK_BATCH, Cadence, at_powers_of_three
from search.health.measures import quantiles
from search.health.snapshot import Snapshot
from search.lanes.gates import Gates, Tensor, gates_of
from search.lanes.groups import Group, Library
from search.lanes.programs import Data, Work
from search.lanes.stack import Stack
from search.lanes.structure import Structure
from search.study.formulas import Weights
from search.study.metric import metric_for
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import data_order
from search.trainers import model as networks
from search.trainers.contract import Checkpoint, EpochResult, Outcome, TrainerLabel
from search.trainers.course import Course
from search.trainers.outputs import softmax
from search.trainers.problem import Problem
from search.trainers.weights import weights_for

LANES = "lanes"


@dataclass
class _Trial:
    """The trial in a lane."""

    recipe: Recipe
    seed: int
    course: Course
    stack: Stack
    place: int  # in the stack
    weight: Weights | None  # of the examples to train on, [example]; None = all count as much


class LanesTrainer:
    """Trains up to ``lanes`` trials at once; see `search.trainers.contract.Trainer`.

    A stack without a trial costs nothing, a free place in a stack as much as any other.

    Args:
        dataset: what to train and validate on.
        structure: the largest among the trials', with all features that any trial may have.
        lanes: how many.
        width: lanes of one stack. Without it a stack has one lane on a CPU, and on an accelerator
            the lanes are shared equally among the structures.
        cadence: when the trials' health is looked at.
        structures: how many the trials have, as far as that is known.
        library: what it shares with other trainers of this process; its own unless given.

    Raises:
        LanesExhausted: the device's memory does not hold so many lanes. `start` and `epoch` may
            say so too: the first epoch compiles the program. Make a trainer with half the lanes.

    """

    def __init__(
        self,
        dataset: Dataset,
        structure: Structure,
        lanes: int,
        width: int | None = None,
        cadence: Cadence = at_powers_of_three,
        structures: float = 1,
        library: Library | None = None,
    ) -> None:
        self.lanes = lanes
        share = max(1, math.ceil(lanes / structures))
        self.width = width or (share if accelerated() else 1)
        self.label = TrainerLabel(LANES, lanes, self.width)
        self._dataset = dataset
        self._largest = structure
        self._cadence = cadence
        self._library = Library() if library is None else library
        self._problem = Problem.of(dataset)
        self._size = len(dataset.train)
        metric = self._problem.metric
        weighed = dataset.validation_weight is not None
        # Of all others the programs return what a score is made of.
        self._told = weighed or metric is not metric_for(None, dataset.task)
        self._free_all()
        if lanes * self._group(structure).lane_bytes > free_memory():
            raise LanesExhausted(f"memory does not hold {lanes} lanes; use fewer")
        self._data = self._placed()

    @property
    def _kind(self) -> str:
        """Of its checkpoints: a stack of another width may round otherwise."""
        return LANES if self.width == 1 else f"{LANES} in stacks of {self.width}"

    def _placed(self) -> Data:
        """Return all that the programs need of the data, on the device."""
        train, validation = self._dataset.train.whole, self._dataset.validation
        weight = self._dataset.validation_weight
        return Data(
            self._library.inputs(train, _inputs),
            put(self._problem.answers(train)),
            _inputs(validation),
            put(self._problem.answers(validation)),
            None if weight is None else put(weight.astype(np.float32)),
            put(some_of(len(validation), LOOK_BATCH).astype(np.int32)),
            {str(way): self._scaling(way) for way in (True, "feature", "unit", "auto")},
        )

    def _scaling(self, standardize: bool | str) -> tuple[Tensor, ...]:
        parts = self._problem.scaling(standardize)
        return tuple(put(np.array(part, np.float32)) for part in parts)

    def _free_all(self) -> None:
        self._trials: dict[int, _Trial] = {}
        self._stacks: list[Stack] = []

    def _group(self, structure: Structure) -> Group:
        weighted = structure.weighted or self._dataset.train.whole.weight is not None
        structure = replace(structure.possible, weighted=weighted, told=self._told)
        programs = self._library.programs(structure)
        validated = len(self._dataset.validation) if self._told else 0
        return Group(structure, programs, self._problem, self._size, validated)

    def _place(self, structure: Structure) -> tuple[Stack, int]:
        """Return a stack of this structure with a free place, and that place."""
        group = self._group(structure)
        for stack in self._stacks:
            free = set(range(self.width)) - self._taken(stack)
            if stack.group.programs is group.programs and free:
                return stack, min(free)
        self._stacks = [stack for stack in self._stacks if self._taken(stack)]
        self._stacks.append(Stack(group, self.width))
        return self._stacks[-1], 0

    def _taken(self, stack: Stack) -> set[int]:
        return {trial.place for trial in self._trials.values() if trial.stack is stack}

    @property
    def compilations(self) -> dict[str, int]:
        """How often each program was compiled so far, over all structures."""
        return self._library.compilations

    def start(
        self, lane: int, recipe: Recipe, seed: int, checkpoint: Checkpoint | None = None
    ) -> None:
        """Begin a trial in a free lane, or continue it from its checkpoint.

        Raises:
            SpecError: the recipe cannot be trained in lanes, or needs a feature of no program.
            ValueError: the checkpoint does not fit; see `search.trainers.contract.Trainer`.

        """
        assert 0 <= lane < self.lanes, f"there is no lane {lane} among {self.lanes}"
        assert lane not in self._trials, "the lane is not free"
        structure = self._largest.serving(recipe)
        weight = weights_for(recipe.training, self._dataset)
        stack, place = self._place(structure)
        if checkpoint is None:
            kernels = self._kernels(recipe, seed, stack.group)
            stack.refill(place, kernels, _gates(recipe, seed))
            course = Course(recipe.training, self._problem.metric)
        else:
            checkpoint.check(self._kind, stack.shapes)
            course = Course(recipe.training, self._problem.metric, checkpoint.curve)
            stack.restore(place, checkpoint.arrays, _gates(recipe, seed))
        self._trials[lane] = _Trial(recipe, seed, course, stack, place, weight)

    def _kernels(self, recipe: Recipe, seed: int, group: Group) -> tuple[NDArray[np.float32], ...]:
        """Return the initial kernels, ``[1, input, unit]`` each."""
        assert isinstance(recipe.model, MLP)
        return tuple(
            to_numpy(networks.kernel_initializer(recipe.model, seed, layer)(shape))[None]
            for layer, shape in enumerate(group.kernel_shapes)
        )

    def epoch(self) -> dict[int, EpochResult]:
        """Train for one epoch, and return the results of the trials that had not ended."""
        running = {lane: trial for lane, trial in self._trials.items() if not trial.course.over}
        stacks = self._stacks_of(running.values())
        untrained = [lane for lane, trial in running.items() if not trial.course.epochs]
        try:
            self._look(untrained, dict.fromkeys(untrained, (0, 0)))
            sums = pool().map(lambda stack: self._train(stack, running.values()), stacks)
            metrics = dict(zip(stacks, sums, strict=True))
            better = {stack: np.zeros(self.width, bool) for stack in stacks}
            counts = {}
            for lane, trial in running.items():
                *scores, clipped, finite = metrics[trial.stack][:, trial.place].tolist()
                better[trial.stack][trial.place] = trial.course.add(*scores)
                counts[lane] = int(clipped), int(finite)
            for stack in stacks:
                stack.keep(better[stack])
            self._look(list(running), counts)
        except BaseException:
            self._free_all()
            raise
        return {lane: trial.course.last for lane, trial in running.items()}

    def _stacks_of(self, trials: Iterable[_Trial]) -> list[Stack]:
        """Return the stacks of these trials, in the order in which they were made."""
        theirs = {trial.stack for trial in trials}
        return [stack for stack in self._stacks if stack in theirs]

    def _look(self, lanes: list[int], counts: dict[int, tuple[int, int]]) -> None:
        """Look at the health of the lanes whose turn it is.

        Args:
            lanes: that may have their turn.
            counts: lane -> clipped steps and finite steps of the latest epoch.

        """
        trials = {lane: self._trials[lane] for lane in lanes}
        due = [lane for lane, t in trials.items() if self._cadence(t.course.epochs, t.course.over)]
        looks = pool().map(
            lambda lane: trials[lane].stack.look(trials[lane].place, self._data), due
        )
        for lane, (measures, output, losses) in zip(due, looks, strict=True):
            trial, (clipped, finite) = trials[lane], counts[lane]
            steps = trial.stack.group.steps
            clips = trial.course.epochs and trial.recipe.training.limit
            snapshot = Snapshot.of(measures.tolist(), quantiles(output), losses.tolist())
            trial.course.look(snapshot, clipped / steps if clips else None, finite, steps)

    def _train(self, stack: Stack, running: Iterable[_Trial]) -> NDArray[np.float64]:
        """Train a stack; returns ``[metric, lane]`` as `programs.epoch_of`, of means not sums."""
        steps, batch = stack.group.steps, stack.group.batch
        work = self._nothing(stack.group)
        own = [trial for trial in running if trial.stack is stack]
        for trial in own:
            work.rates[:, trial.place] = trial.course.rates(steps)
            stack.set_learning_rate(trial.place, work.rates[-1, trial.place])
            examples = data_order(trial.seed, trial.course.epochs, self._size)[: steps * batch]
            work.order[:, trial.place] = self._dataset.train.rows(examples).reshape(steps, -1)
            if work.weights is not None and trial.weight is not None:
                work.weights[:, trial.place] = trial.weight[examples].reshape(steps, -1)
        sums, told = stack.train(work, steps, self._data)
        counted = np.array([[steps * batch]] * 2 + [[len(self._dataset.validation)]] * 2)
        metrics = np.concatenate([sums[:4] / counted, sums[4:]])
        if told is not None:
            for trial in own:
                metrics[3, trial.place] = self._score(told[trial.place])
        return metrics

    def _score(self, told: NDArray[np.float32]) -> float:
        """Return the score of what a network says of the validation split, ``[example, unit]``."""
        y, weight = self._dataset.validation.y, self._dataset.validation_weight
        if self._problem.classes is None:
            answers = self._problem.in_unit(told[:, 0].astype(np.float64))
        else:
            answers = softmax(told)  # in float32, as the finished model has it
        return self._problem.metric.score(y, answers, weight)

    def _nothing(self, group: Group) -> Work:
        """Return an epoch's work for a stack in which nobody learns."""
        order = np.zeros((group.steps, self.width, group.batch), np.int32)
        weights = np.ones(order.shape, np.float32) if group.structure.weighted else None
        return Work(order, np.zeros(order.shape[:2], np.float32), weights)

    def checkpoint(self, lane: int) -> Checkpoint:
        """Return where the lane's trial stands."""
        trial = self._trials[lane]
        return trial.course.checkpoint(self._kind, trial.stack.read(trial.place))

    def model(self, lane: int) -> keras.Model:
        """Return a new model of standard layers with the lane's kept weights."""
        trial = self._trials[lane]
        model = networks.build(trial.recipe, self._problem, trial.seed)
        model.set_weights(list(self._weights(trial)))
        return networks.finished(model, self._problem)

    def _weights(self, trial: _Trial) -> Iterable[NDArray[np.float32]]:
        """Yield a trial's kept weights in Keras' order."""
        model = trial.recipe.model
        assert isinstance(model, MLP)
        variables, statistics = trial.stack.kept(trial.place)
        before = model.batch_norm and not model.batch_norm_after
        if model.input_batch_norm:
            yield from (*variables.inputs, *statistics.inputs)
        for layer, gamma in enumerate(variables.gammas):
            moving = statistics.means[layer], statistics.variances[layer]
            yield variables.kernels[layer]
            if model.layer_norm:
                yield variables.layer_gammas[layer]
            if before:
                yield gamma
            yield variables.shifts[layer]
            if before:
                yield from moving
            if model.activation == "prelu":
                yield variables.slopes[layer]
            if model.batch_norm and model.batch_norm_after:
                yield from (variables.behind_gammas[layer], variables.behind_betas[layer])
                yield from (statistics.behind_means[layer], statistics.behind_variances[layer])
        yield from (variables.kernels[-1], variables.shifts[-1])

    def stop(self, lane: int) -> Outcome:
        """End the lane's trial and free the lane."""
        return self._trials.pop(lane).course.outcome()

    def lane_steps_per_second(self, lanes: int | None = None, steps: int = 100) -> float:
        """Measure how fast lanes, or all, of the largest structure train together.

        Only while all lanes are free. What is timed are whole epochs, with their validation, or
        as many steps of them: a difference between two timings may be nothing.

        Raises:
            Unmeasured: the clock shows no time at all, as a coarse one may, or one that was set.

        """
        assert not self._trials, "the lanes are not free"
        group = self._group(self._largest)
        steps = min(steps, group.steps)
        stacks = [Stack(group, self.width) for _ in range(0, lanes or self.lanes, self.width)]
        work = self._nothing(group)

        def seconds(count: int) -> float:
            begun = time.perf_counter()
            list(pool().map(lambda s: s.train(work, count, self._data), stacks))
            return time.perf_counter() - begun

        seconds(1)  # compiles
        shortest = min(seconds(steps) for _ in range(3))
        if shortest <= 0:
            raise Unmeasured
        return len(stacks) * self.width * steps / shortest

    def shrink(self, lanes: int) -> None:
        """Do with so many lanes from now on; only while all lanes are free."""
        assert not self._trials, "the lanes are not free"
        self.lanes, self.label = lanes, TrainerLabel(LANES, lanes, self.width)


def _gates(recipe: Recipe, seed: int) -> Gates:
    assert isinstance(recipe.model, MLP)
    return gates_of(recipe.model, recipe.training, seed)


def _inputs(split: Split) -> Tensor:
    """Return a split's raw inputs on the device, ``[example, input]``."""
    return put(converted(split.x.reshape(len(split), -1)))
