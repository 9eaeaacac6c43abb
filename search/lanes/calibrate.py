"""How many lanes: measured for ``--lanes auto``, and halved where memory ends."""

from search.backend import accelerated, threads
from search.data.splits import Dataset
from search.errors import LanesExhausted
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer

WORTH = 1.1  # twice the lanes must train so many times as fast, or the trials only wait longer


def calibrate(
    dataset: Dataset, structure: Structure, most: int, structures: float = 1
) -> tuple[LanesTrainer, str]:
    """Double the lanes as long as that pays, and say in one line what was chosen and why.

    Args:
        dataset: what will be trained on; a few steps of it are.
        structure: the largest among the trials'.
        most: no more lanes than this, since there is no work for them.
        structures: how many the trials have.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    if not accelerated():
        return _by_cores(dataset, structure, min(most, threads()))
    best = LanesTrainer(dataset, structure, 1, structures=structures)
    rates = {1: best.lane_steps_per_second()}
    while (lanes := 2 * best.lanes) <= most:
        try:
            trainer = LanesTrainer(dataset, structure, lanes, structures=structures)
            rates[lanes] = trainer.lane_steps_per_second()
        except LanesExhausted:
            return best, _reason(rates, best.lanes, f"memory does not hold {lanes}")
        if rates[lanes] < WORTH * rates[best.lanes]:
            return best, _reason(rates, best.lanes, f"{lanes} gain less than {WORTH - 1:.0%}")
        best = trainer
    return best, _reason(rates, best.lanes, f"more than {most} are of no use")


def _by_cores(dataset: Dataset, structure: Structure, most: int) -> tuple[LanesTrainer, str]:
    """Calibrate lanes that are stacks of their own: one trainer shows what fewer would do."""
    trainer = LanesTrainer(dataset, structure, lanes=most)
    rates, best = {1: trainer.lane_steps_per_second(1)}, 1
    end = f"more than {most} would share a core or have no work"
    while best < most:
        lanes = min(2 * best, most)
        rates[lanes] = trainer.lane_steps_per_second(lanes)
        if rates[lanes] < WORTH * rates[best]:
            end = f"{lanes} gain less than {WORTH - 1:.0%}"
            break
        best = lanes
    trainer.shrink(best)
    return trainer, _reason(rates, best, end)


def _reason(rates: dict[int, float], best: int, end: str) -> str:
    measured = ", ".join(f"{rate:,.0f} with {lanes}" for lanes, rate in rates.items())
    return f"{best} {'lane' if best == 1 else 'lanes'}: batches a second {measured}; {end}"


def fitting(
    dataset: Dataset, structure: Structure, lanes: int, structures: float = 1
) -> LanesTrainer:
    """Return a trainer with so many lanes, or with half as many as often as memory demands.

    Raises:
        LanesExhausted: memory does not hold one lane.

    """
    while True:
        try:
            trainer = LanesTrainer(dataset, structure, lanes, structures=structures)
            if accelerated():
                trainer.lane_steps_per_second(steps=1)  # compiled programs take memory too
        except LanesExhausted:
            if lanes == 1:
                raise
            lanes //= 2
        else:
            return trainer
