"""How one configuration is trained: optimizer, schedule, clipping, early stopping."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from search.errors import SpecError, spelled
from search.study.checks import is_number, one_of, positive, truth, whole, within
from search.study.task import Label

CLIPPINGS = (
    "clipnorm",  # limits the norm of each variable's gradient
    "clipvalue",  # limits the size of each number of a gradient
    "global_clipnorm",  # limits the norm of the whole gradient
    "none",  # limits nothing
)


# How long a trial may run and how it is judged; none may choose that for itself.
OF_THE_STUDY = frozenset({"epochs", "patience", "best_weights"})


OPTIMIZERS = (
    "sgd",  # stochastic gradient descent, with momentum and nesterov where they are set
    "rmsprop",  # divides by the root of a moving mean of squared gradients
    "adam",  # rmsprop with momentum and the corrections of the first steps
    "nadam",  # adam with Nesterov's momentum
    "adamw",  # adam whose weight_decay stands beside the gradient
)


SCHEDULES = (
    "constant",  # the learning rate stays as it is
    "exponential",  # multiplied by decay after each epoch
    "cosine",  # falls to zero along half a cosine
    "1cycle",  # rises from a tenth to learning_rate and falls again, in the last tenth far below
    "plateau",  # multiplied by decay when plateau_epochs have not lowered the validation loss
)


@dataclass(frozen=True, kw_only=True)
class Training:
    """How one configuration is trained."""

    epochs: int  # at most; the pruner or early stopping may end a trial sooner
    batch_size: int = 32  # examples in a step
    optimizer: str = "sgd"  # turns gradients into steps
    learning_rate: float = 0.01  # the first one; with the schedule "1cycle" the highest one
    schedule: str = "exponential"  # how the learning rate changes
    decay: float = 1.0  # factor of "exponential" after each epoch, of "plateau" where it is stuck
    plateau_epochs: int = 3  # "plateau" is stuck after so many without a lower validation loss
    momentum: float = 0.0  # only "sgd" has it; the others have momenta of their own
    nesterov: bool = False  # Nesterov's momentum; only "sgd" has it
    weight_decay: float = 0.004  # share of each weight that "adamw" takes away at learning rate 1
    clipnorm: float | None = None  # largest norm of each variable's gradient; None = off
    clipvalue: float | None = None  # largest size of each number of a gradient; None = off
    global_clipnorm: float | None = None  # largest norm of the whole gradient; None = off
    clipping: str | None = None  # which of these three applies; None = the only one there is
    class_weight: Mapping[Label, float] | str | None = None  # label -> its weight in the loss, 1
    # where a class is not named; "balanced" = all classes count as much; None = all examples do
    patience: int | None = None  # stop after so many epochs without a better validation score
    best_weights: bool = True  # keep the best epoch's weights and score, not the last one's
    repetition: int = 0  # tells trials of one configuration apart; each has a seed of its own

    def __post_init__(self) -> None:
        whole("epochs", self.epochs)
        whole("batch_size", self.batch_size)
        whole("repetition", self.repetition, 0)
        positive("learning_rate", self.learning_rate)
        positive("decay", self.decay)
        one_of("schedule", self.schedule, SCHEDULES)
        whole("plateau_epochs", self.plateau_epochs)
        if self.schedule == "plateau" and self.decay >= 1:
            raise SpecError(
                f"decay is {spelled(self.decay)}; the schedule plateau needs one below 1"
            )
        within("weight_decay", self.weight_decay, 0, 1)
        for name, limit in self.limits.items():
            positive(name, limit)
        if self.clipping is not None:
            one_of("clipping", self.clipping, CLIPPINGS)
        elif len(self.limits) > 1:
            raise SpecError(
                f"{' and '.join(self.limits)} are both set, and a gradient is clipped in one way; "
                "leave one, or say which one applies: clipping"
            )
        if self.patience is not None:
            whole("patience", self.patience)
        truth("nesterov", self.nesterov)
        truth("best_weights", self.best_weights)
        if not (is_number(self.momentum) and 0 <= self.momentum < 1):
            raise SpecError(f"momentum is {spelled(self.momentum)}; it must be in [0, 1)")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        self._check_class_weight()

    def _check_class_weight(self) -> None:
        weights = self.class_weight
        if weights is None or weights == "balanced":
            return
        if not isinstance(weights, Mapping) or not weights:
            raise SpecError(
                f'class_weight is {spelled(weights)}; it must be "balanced", or give labels '
                "weights like {'yes': 5.0, 'no': 1.0}"
            )
        for label, weight in weights.items():
            if not isinstance(label, str | bool | int | float):
                raise SpecError(
                    f"class_weight names {spelled(label)}; a label is a text or a number"
                )
            if not is_number(weight) or not 0 <= weight < math.inf:
                raise SpecError(
                    f"class_weight gives {spelled(label)} {spelled(weight)}; it must be a number "
                    "from 0 upwards"
                )
        if not any(weights.values()):
            raise SpecError("class_weight is 0 for every class it names; nothing would be learned")

    @property
    def limits(self) -> dict[str, float]:
        """All limits of gradients that are set, by name; ``clipping`` says which one applies."""
        limits = {name: getattr(self, name) for name in CLIPPINGS[:-1]}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def limit(self) -> dict[str, float]:
        """The one limit that applies to gradients, by its name; empty where there is none."""
        chosen = {self.clipping} if self.clipping else CLIPPINGS
        return {name: limit for name, limit in self.limits.items() if name in chosen}


def check_chosen(names: Collection[str], more: str = "") -> None:
    """Refuse hyperparameters that are for the study to set, and not for a trial to choose.

    Args:
        names: settings that a trial would choose.
        more: what else to say of them.

    Raises:
        SpecError: there is one.

    """
    if fixed := OF_THE_STUDY & set(names):
        raise SpecError(f"space: {min(fixed)} is a setting of the study, not of a trial{more}")
