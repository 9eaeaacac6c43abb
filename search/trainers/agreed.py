"""Whether the loss of a model of one's own takes its outputs for what they are read as."""

import keras

from search.errors import ModelError
from search.study.metric import Reads
from search.trainers.asked import (
    AskedLoss,
    is_of_softmax,
    knows_probability,
    wanted_for,
    wants_others,
)
from search.trainers.ending import last_activation, loss_of, own_loss
from search.trainers.outputs import REACH, SHARES, SIGNING, Meaning, Outputs
from search.trainers.problem import Problem


def check_probabilities(model: keras.Model, outputs: Outputs, problem: Problem, units: int) -> None:
    """Refuse a metric of probabilities where the outputs, as their loss has them, are none.

    Of one unit each metric that only ranks can be told.

    Raises:
        ModelError: it is such a metric.

    """
    metric = problem.metric
    if metric.reads is not Reads.PROBABILITIES or (units == 1 and metric.ranks):
        return
    try:
        probable = _has_probabilities(model, outputs, units)
    except Exception:  # it may want more than one example, say, and then nothing can be told
        return
    if not probable:
        end = "Dense(1, 'sigmoid')" if units == 1 else f"Dense({units}, 'softmax')"
        raise ModelError(
            f"metric is {metric.name}, which needs probabilities, and the loss takes the outputs "
            f"for something else: end the model with {end} and a loss that takes that, or let the "
            "metric be accuracy, balanced_accuracy or macro_f1"
        )


def _has_probabilities(model: keras.Model, outputs: Outputs, units: int) -> bool:
    """Say whether outputs are to a model's loss what they are read as."""
    loss, end = own_loss(model), last_activation(model)
    match outputs.meaning:
        case Meaning.PROBABILITY:
            return end != "linear" and REACH.get(str(end), SHARES) == SHARES
        case Meaning.LOGIT:
            if loss is not None:
                return knows_probability(loss, outputs.given or (0, 1))
            return outputs.given is None and loss_of(model)[0] not in SIGNING
        case Meaning.LOGITS:
            return loss is None or is_of_softmax(loss, outputs.classes or 0, units)
    return loss is None or end in (None, "softmax")  # others have no sum of 1, and are none alone


def check_wants(model: keras.Model, outputs: Outputs, problem: Problem, units: int) -> None:
    """Refuse a loss of the author's own that wants the outputs to say something else.

    Raises:
        ModelError: it is such a loss.

    """
    if (loss := own_loss(model)) is None:
        return
    try:
        flaw = (
            _flaw_of_target(loss, *problem.target_range)
            if outputs.classes is None
            else _flaw_of_classes(loss, outputs, units)
        )
    except Exception:  # it may want more than one example, say, and then nothing can be told
        return
    if flaw:
        raise ModelError(flaw)


def _flaw_of_classes(loss: AskedLoss, outputs: Outputs, units: int) -> str:
    given = outputs.given or range(outputs.classes or 0)
    if not wants_others(loss, outputs.sure(units), given):
        return ""
    return (
        f"its output is read as {outputs.meaning}, and its own loss costs least where that says "
        "another class than the right one: let call() return what is to be read so"
    )


def _flaw_of_target(loss: AskedLoss, low: float, high: float) -> str:
    if low == high:
        return ""
    wanted = wanted_for(loss, high, low, high)
    if abs(wanted - high) <= (high - low) / 2:
        return ""
    return (
        f"its own loss costs least where it predicts {wanted:.4g} for a target of {high:.4g}, and "
        "predictions are scored in the unit of the targets: let call() return them in it, or "
        "bring the targets in the file into the loss's"
    )
