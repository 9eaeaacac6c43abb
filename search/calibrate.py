"""How many lanes: measured for ``--lanes auto``, and halved where memory ends."""

from search.backend import accelerated
from search.data import Dataset
from search.errors import LanesExhausted
from search.lanes import LanesTrainer
from search.structure import Structure

MOST_ON_A_CPU = 8  # beyond, weights and optimizer state have left every cache
WORTH = 1.1  # twice the lanes must train so many times as fast, or the trials only wait longer


def calibrate(dataset: Dataset, structure: Structure, most: int) -> tuple[LanesTrainer, str]:
    """Double the lanes as long as that pays, and say in one line what was chosen and why.

    Args:
        dataset: what will be trained on; a few steps of it are.
        structure: of the trials.
        most: no more lanes than this, since there is no work for them.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    most = most if accelerated() else min(most, MOST_ON_A_CPU)
    best, rates, end = LanesTrainer(dataset, structure, lanes=1), dict[int, float](), ""
    rates[1] = best.lane_steps_per_second()
    while not end:
        lanes = 2 * best.lanes
        if lanes > most:
            end = f"more than {most} are of no use here"
            break
        try:
            trainer = LanesTrainer(dataset, structure, lanes)
            rates[lanes] = trainer.lane_steps_per_second()
        except LanesExhausted:
            end = f"memory does not hold {lanes}"
            break
        if rates[lanes] < WORTH * rates[best.lanes]:
            end = f"{lanes} gain less than {WORTH - 1:.0%}"
            break
        best = trainer
    measured = ", ".join(f"{lanes}: {rate:,.0f}" for lanes, rate in rates.items())
    unit = "lane" if best.lanes == 1 else "lanes"
    return best, f"{best.lanes} {unit}; batches a second by lanes {measured}; {end}"


def fitting(dataset: Dataset, structure: Structure, lanes: int) -> LanesTrainer:
    """Return a trainer with so many lanes, or with half as many as often as memory demands.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    while True:
        try:
            trainer = LanesTrainer(dataset, structure, lanes)
            trainer.lane_steps_per_second(steps=1)
        except LanesExhausted:
            if lanes == 1:
                raise
            lanes //= 2
        else:
            return trainer
