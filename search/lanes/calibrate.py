"""How many lanes: measured for ``--lanes auto``, and halved where memory ends."""

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

from search.backend import accelerated
from search.data.splits import Dataset
from search.errors import LanesExhausted, Unmeasured
from search.lanes.groups import Library
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.machine.caches import cache_folder
from search.machine.hardware import threads
from search.study.mlp import kernel_shapes

WORTH = 1.1  # twice the lanes must train so many times as fast, or the trials only wait longer
CERTAIN = 2  # lanes on as many cores; measuring one would cost more than it could gain
# A call of a program takes as long as this many multiplications and additions, about. Where a step
# needs fewer, several lanes in a stack share the calls.
SMALL = 5e6
WIDE = 8  # lanes of such a stack: more gained little, and slowed networks of two layers down
WIDE_WORTH = 1.3  # so many times as fast must it be, since another width is compiled anew
ROUNDS = 8  # a sampler learns nothing from trials that all began at once
STAKE = 4  # a wide stack is tried where training takes so many times as long as trying does


@dataclass(frozen=True)
class Calibrated:
    """How many lanes, and why."""

    lanes: int
    width: int | None  # lanes of a stack; None for what the trainer takes by itself
    reason: str


def calibrate(
    dataset: Dataset,
    structure: Structure,
    most: int,
    structures: float = 1,
    library: Library | None = None,
    epochs: int = 1,
) -> tuple[LanesTrainer, str]:
    """Choose what trains fastest, and say in one line what was chosen and why.

    What was measured on this machine is remembered; see `search.machine.caches.cache_folder`.

    Args:
        dataset: what will be trained on; a few steps of it are.
        structure: the largest among the trials'.
        most: how many trials there are; no more lanes than this, since there is no work for them.
        structures: how many the trials have.
        library: what the trainer shares with others.
        epochs: most epochs of a trial.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    library = library or Library()

    def trainer(lanes: int, width: int | None = None) -> LanesTrainer:
        return LanesTrainer(
            dataset, structure, lanes, width, structures=structures, library=library
        )

    if accelerated():
        return _doubled(trainer, most)
    cores = min(most, threads())
    on_each = trainer(cores)
    width = min(WIDE, most // ROUNDS // cores)
    widens = width > 1 and structures == 1 and _operations(dataset, structure) < SMALL
    if cores <= CERTAIN and not widens:
        return on_each, f"{_count(cores)}: one for each core, or for each trial"
    batches = most * epochs * (len(dataset.train) // structure.batch_size)
    file = _file(dataset, structure, most, epochs)
    choice = _remembered(file)
    if choice is None:
        wide = (lambda: trainer(cores * width, width)) if widens else None
        try:
            choice = _by_cores(on_each, wide, batches)
        except Unmeasured as error:
            each = "one for each core, or for each trial"
            return on_each, f"{_count(cores)}: {each}, since {_unmeasured(error)}"
        _remember(file, choice)
    if choice.width is not None:
        return trainer(choice.lanes, choice.width), choice.reason
    on_each.shrink(choice.lanes)
    return on_each, choice.reason


def _doubled(trainer: Callable[[int], LanesTrainer], most: int) -> tuple[LanesTrainer, str]:
    """Double the lanes of an accelerator as long as that pays."""
    best = trainer(1)
    try:
        rates = {1: best.lane_steps_per_second()}
    except Unmeasured as error:
        return best, f"{_count(1)}: {_unmeasured(error)}; --lanes says how many"
    while (lanes := 2 * best.lanes) <= most:
        try:
            more = trainer(lanes)
            rates[lanes] = more.lane_steps_per_second()
        except Unmeasured as error:
            return best, _reason(rates, best.lanes, f"with {lanes} {_unmeasured(error)}")
        except LanesExhausted:
            return best, _reason(rates, best.lanes, f"memory does not hold {lanes}")
        if rates[lanes] < WORTH * rates[best.lanes]:
            return best, _reason(rates, best.lanes, f"{lanes} gain less than {WORTH - 1:.0%}")
        best = more
    return best, _reason(rates, best.lanes, f"more than {most} are of no use")


def _by_cores(
    narrow: LanesTrainer, widened: Callable[[], LanesTrainer] | None, batches: int
) -> Calibrated:
    """Measure lanes that are stacks of their own, and then wider stacks where that may pay.

    Args:
        narrow: one trainer shows what fewer lanes would do.
        widened: makes a trainer of wider stacks; None where they are of no use.
        batches: that all the study's trials train on.

    """
    best, began = min(CERTAIN, narrow.lanes), perf_counter()
    rates = {best: narrow.lane_steps_per_second(best)}
    cost = perf_counter() - began  # compiling above all
    while best < narrow.lanes:
        lanes = min(2 * best, narrow.lanes)
        rates[lanes] = narrow.lane_steps_per_second(lanes)
        if rates[lanes] < WORTH * rates[best]:
            return Calibrated(
                best, None, _reason(rates, best, f"{lanes} gain less than {WORTH - 1:.0%}")
            )
        best = lanes
    if widened is not None and batches / rates[best] > STAKE * cost:
        wide = widened()
        rates[wide.lanes] = wide.lane_steps_per_second()
        if rates[wide.lanes] > WIDE_WORTH * rates[best]:
            end = f"{wide.width} share each call, since the network is small"
            return Calibrated(wide.lanes, wide.width, _reason(rates, wide.lanes, end))
        return Calibrated(
            best, None, _reason(rates, best, f"{wide.width} in a stack gain too little")
        )
    end = f"more than {best} would share a core or have no work"
    return Calibrated(best, None, _reason(rates, best, end))


def _operations(dataset: Dataset, structure: Structure) -> float:
    """Count the multiplications and additions of a step, as far as they are of products."""
    inputs, outputs = math.prod(dataset.input_shape), dataset.classes or 1
    shapes = kernel_shapes(inputs, structure.hidden, structure.pieces, outputs)
    return 6.0 * structure.batch_size * sum(map(math.prod, shapes))


def _count(lanes: int) -> str:
    return f"{lanes} {'lane' if lanes == 1 else 'lanes'}"


def _unmeasured(error: Unmeasured) -> str:
    return f"nothing could be measured: {str(error)[0].lower()}{str(error)[1:-1]}"


def _reason(rates: dict[int, float], best: int, end: str) -> str:
    measured = ", ".join(f"{rate:,.0f} with {lanes}" for lanes, rate in rates.items())
    return f"{_count(best)}: batches a second {measured}; {end}"


def _file(dataset: Dataset, structure: Structure, most: int, epochs: int) -> Path | None:
    """Return where the choice is remembered: its name is of all that it rests on."""
    if (folder := cache_folder()) is None:
        return None
    settings = replace(structure, features=frozenset()), sorted(structure.features)
    shapes = dataset.input_shape, dataset.classes, len(dataset.train), len(dataset.validation)
    name = hashlib.sha256(repr((settings, shapes, most, epochs, threads())).encode()).hexdigest()
    return folder / f"lanes-{name[:16]}.json"


def _remembered(file: Path | None) -> Calibrated | None:
    """Return the choice that is remembered; None where there is none, or it is damaged."""
    if file is None:
        return None
    try:
        stored = json.loads(file.read_text())
        lanes, width, reason = stored["lanes"], stored["width"], stored["reason"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Calibrated(int(lanes), width and int(width), f"{reason} (measured earlier)")


def _remember(file: Path | None, choice: Calibrated) -> None:
    """Keep a choice; where that is not possible it is measured again."""
    if file is None:
        return
    part = file.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):
        part.write_text(json.dumps(asdict(choice)))
        part.replace(file)


def fitting(
    dataset: Dataset,
    structure: Structure,
    lanes: int,
    structures: float = 1,
    library: Library | None = None,
    width: int | None = None,
) -> LanesTrainer:
    """Return a trainer with so many lanes, or with half as many as often as memory demands.

    Its stacks have the width that is given, or that of `LanesTrainer` where there is none.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    library = library or Library()
    while True:
        try:
            trainer = LanesTrainer(
                dataset, structure, lanes, width, structures=structures, library=library
            )
            if accelerated():
                with contextlib.suppress(Unmeasured):
                    trainer.lane_steps_per_second(steps=1)  # compiled programs take memory too
        except LanesExhausted:
            if lanes == 1:
                raise
            lanes //= 2
        else:
            return trainer
