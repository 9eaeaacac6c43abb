"""What the numbers that a model gives mean, decided once, from its loss, its end and the task.

Whatever judges a model asks here: the learning curve, the selection, the confirmation on the test
split, the confusion. So no two of them can take one output for different answers.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from search.errors import ModelError
from search.study.metric import ACCURACY, Metric, Reads
from search.study.task import Label
from search.trainers.ending import computes_loss, last_activation, loss_of, own_loss

if TYPE_CHECKING:  # who only reads what was found needs no Keras
    import keras

    from search.data.splits import Given
    from search.trainers.asked import AskedLoss

DOUBT = 1e-3  # between two probabilities that another machine's rounding may turn around

# What Keras calls the losses of one unit that tells two classes apart, without "_" and capitals.
_OF_NUMBERS = {"meansquarederror", "mse", "meanabsoluteerror", "mae", "huber", "logcosh"}
_HALVED = {"binarycrossentropy", "bce", "binaryfocalcrossentropy"} | _OF_NUMBERS
SIGNING = {"hinge", "squaredhinge"}  # labels are -1 and 1 to them
_SPARSE = {"sparsecategoricalcrossentropy"}
_SIGMOIDS = {"sigmoid", "hardsigmoid", "softmax"}

SHARES, SIGNED, POSITIVE = (0.0, 1.0), (-1.0, 1.0), (0.0, math.inf)
SIGNS = (-1, 1)  # labels that some losses want of two classes
EVERYWHERE = (-math.inf, math.inf)
# Between which numbers a function's values lie, where these have an end.
REACH = {
    **dict.fromkeys(_SIGMOIDS, SHARES),
    **dict.fromkeys(("tanh", "hardtanh", "softsign"), SIGNED),
    **dict.fromkeys(("relu", "softplus", "exponential", "squareplus"), POSITIVE),
    "relu6": (0.0, 6.0),
    "logsigmoid": (-math.inf, 0.0),
}

BATCH = 1000  # examples; large enough that the calls' overhead vanishes


def answers_of(model: "keras.Model", x: "Given") -> NDArray[Any]:
    """Return what a model gives for raw inputs, ``[example, unit]``, or for columns of a table.

    Everything that is scored comes from here. The batches are those of `keras.Model.predict`, and
    so are the answers, without the pipeline that TensorFlow sets up in each call of it: that takes
    longer than a small network takes to answer.
    """
    examples = len(next(iter(x.values()))) if isinstance(x, Mapping) else len(x)
    batches = [slice(start, start + BATCH) for start in range(0, examples, BATCH)]
    said = [model.predict_on_batch(_some(x, batch)) for batch in batches]
    answers: NDArray[Any] = said[0] if len(said) == 1 else np.concatenate(said)
    return answers


def close(before: NDArray[Any], after: NDArray[Any], unit: float = 1.0) -> bool:
    """Say whether two models answer alike, but for their machines' rounding.

    Args:
        before: what one gives.
        after: what the other gives.
        unit: of their answers; the standard deviation of a regression's targets.

    """
    one, other = (answers.astype(np.float64) / unit for answers in (before, after))
    return bool(np.allclose(one, other, rtol=1e-3, atol=1e-3, equal_nan=True))


def _some(x: "Given", examples: slice) -> "Given":
    if isinstance(x, Mapping):
        return {name: one[examples] for name, one in x.items()}
    return x[examples]


class Meaning(StrEnum):
    """What a model's outputs are."""

    NUMBER = "the predicted number"
    PROBABILITY = "the probability of the second class"
    LOGIT = "a number that is above 0 for the second class"
    SHARES = "a number from 0 upwards for each class, which has that share of their sum"
    LOGITS = "a number for each class, of which the softmax has the probabilities"


_OF_CLASSES = (Meaning.SHARES, Meaning.LOGITS)
_FREE = (Meaning.LOGIT, Meaning.LOGITS)  # which any number may be


@dataclass(frozen=True)
class Outputs:
    """How a model's outputs, ``[..., example, unit]``, are read.

    Args:
        meaning: what they are.
        classes: of the data set; None of a regression.
        given: what the network is given for each class while it is trained; None = its number,
            from 0. Of more units than one it is the class's unit.

    """

    meaning: Meaning
    classes: int | None
    given: tuple[int, ...] | None = None

    @classmethod
    def of_mlp(cls, classes: int | None) -> Self:
        """Return what the outputs of `search.trainers.model.build` are."""
        return cls(Meaning.NUMBER if classes is None else Meaning.SHARES, classes)

    @classmethod
    def of(cls, model: "keras.Model", labels: Sequence[Label] | None, said: object) -> Self:
        """Understand a model, compiled or not.

        Labels that plain Keras could take are given to it as they are: numbers of its units, and -1
        and 1 where its loss compares them with what it says. Other classes are numbered from 0.

        Args:
            model: whose loss and last activation are looked at.
            labels: what the user calls the classes, in their order; None of a regression.
            said: what it gives for a few examples.

        Raises:
            ModelError: its outputs cannot mean the answers; the message says what to change.

        """
        units = _units(said)
        if labels is None:
            if units != 1:
                raise ModelError(
                    f"a regression needs one output, and the model has {units}: end it "
                    "with Dense(1)"
                )
            if loss_of(model)[1]:
                raise ModelError(
                    "the loss says from_logits=True, and a regression's predictions are what the "
                    "model itself gives: end it with Dense(1, 'sigmoid'), and say from_logits=False"
                )
            return cls(Meaning.NUMBER, None)
        classes = len(labels)
        (loss, from_logits), end = loss_of(model), last_activation(model)
        if units == 1:
            if computes_loss(model):  # whatever it is compiled with
                loss, from_logits = None, False
            if tuple(labels) == SIGNS and _takes_signs(model, loss, end):
                return cls(Meaning.LOGIT, classes, SIGNS)
            meaning = _one_unit(classes, loss, from_logits, end)
            if (meaning := meaning or _untold(model, end)) is None:
                ended = ", or end it with Dense(1, 'sigmoid')" if end else ""  # as it may, hidden
                raise ModelError(
                    "it cannot be told what the model's one output means: compile it with "
                    f"keras.losses.BinaryCrossentropy(from_logits=...){ended}"
                )
            return cls(meaning, classes)
        if units < classes:
            raise ModelError(
                f"the model has {units} outputs for {classes} classes: end it with "
                f"Dense({classes}, 'softmax')"
            )
        if loss is not None and loss not in _SPARSE:
            raise ModelError(
                f"labels are class numbers, which the loss {loss} does not take with {units} "
                "outputs: compile with loss='sparse_categorical_crossentropy'"
            )
        meaning = _many_units(classes, loss, from_logits, end, np.asarray(said))
        return cls(meaning, classes, _places(labels, units))

    def guesses(self, said: NDArray[Any]) -> NDArray[np.int64]:
        """Return the classes that a model takes the examples for; -1 where it is no number."""
        if self.meaning in _OF_CLASSES:
            guesses: NDArray[np.int64] = self._by_class(said).argmax(axis=-1)
        else:
            # As Keras' binary accuracy has it: what lies on the border is of the first class.
            border = 0.5 if self.meaning is Meaning.PROBABILITY else 0.0
            guesses = (said[..., 0].astype(np.float64) > border).astype(np.int64)
        return np.where(np.isfinite(self.probabilities(said)).all(axis=-1), guesses, -1)

    def numbers(self, said: NDArray[Any]) -> NDArray[np.float64]:
        """Return a regression's predictions, ``[..., example]``."""
        return said[..., 0].astype(np.float64)

    def probabilities(self, said: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probabilities of the classes, ``[..., example, class]``."""
        values = self._by_class(said).astype(np.float64)
        if self.meaning is Meaning.SHARES:
            return _shares(values)
        if self.meaning is Meaning.LOGITS:
            return softmax(values)
        second = values if self.meaning is Meaning.PROBABILITY else _logistic(values)
        return np.concatenate([1 - second, second], axis=-1)

    def sure(self, units: int) -> NDArray[np.float64]:
        """Return what a model gives that is all but sure of each class, ``[class, unit]``."""
        low, high = (0.1, 0.9) if self.meaning in (Meaning.PROBABILITY, Meaning.SHARES) else (-2, 2)
        if units == 1:
            return np.array([[low], [high]])
        if self.meaning is Meaning.SHARES:
            low /= units - 1
        assert self.classes is not None, "a regression has none"
        own = np.arange(self.classes) if self.given is None else np.array(self.given)
        return np.where(np.arange(units) == own[:, None], high, float(low))

    def odds(self, said: NDArray[Any]) -> NDArray[np.float64]:
        """Return the logarithms of the classes' odds, ``[..., example, class]``, of logits.

        They order examples as probabilities do, which are all 1 or 0 where logits are large.
        """
        values = self._by_class(said).astype(np.float64)
        return np.concatenate([-values, values], -1) if values.shape[-1] == 1 else _odds(values)

    def _by_class(self, said: NDArray[Any]) -> NDArray[Any]:
        """Return outputs with the units of the classes first, in the classes' order."""
        units = said.shape[-1]
        if self.given is None or units == 1:
            return said
        return said[..., [*self.given, *(set(range(units)) - set(self.given))]]

    def answers(self, said: NDArray[Any], metric: Metric) -> NDArray[Any]:
        """Return what the ``score`` of a metric takes: probabilities, their odds, or predictions.

        Probabilities that a model itself gives are scored in its type, at least float32: they tell
        as little apart as its owner can.
        """
        if self.classes is None:
            return self.numbers(said)
        if metric.ranks and self.meaning in _FREE:
            return self.odds(said)
        shares = self.probabilities(said)
        if metric.reads is Reads.GUESSES or self.meaning in _FREE:
            return shares
        return shares.astype(np.result_type(said.dtype, np.float32))

    def slack(self, said: NDArray[Any], y: NDArray[Any], metric: Metric, score: float) -> float:
        """Return by how much two machines' rounding may let the score of these outputs differ.

        Args:
            said: ``[example, unit]``.
            y: the right classes or numbers, ``[example]``.
            metric: that is scored by.
            score: that they have.

        """
        if metric.reads is Reads.PROBABILITIES:
            return 5e-3 * max(1.0, abs(score))
        if self.classes is None:
            share = 1e-3  # of the targets' variance
            if not metric.in_unit:
                return share
            return math.hypot(score, math.sqrt(share) * float(y.std())) - abs(score)
        # Examples for which two classes are as good as equal may be guessed otherwise.
        best = np.sort(self.probabilities(said), axis=-1)[..., -2:]
        turned = float((best[..., 1] - best[..., 0] < DOUBT).mean()) + 0.5 / len(y)
        if metric is ACCURACY:
            return turned
        _, counts = np.unique(y, return_counts=True)
        return 2 * turned * len(y) / (len(counts) * int(counts.min()))


def _units(said: object) -> int:
    """Return how many numbers a model gives for an example."""
    if isinstance(said, list | tuple | dict):
        raise ModelError(
            f"the model has {len(said)} outputs: return one tensor, of shape (examples, units)"
        )
    shape = tuple(getattr(said, "shape", ()))
    if len(shape) != 2 or not shape[1]:
        text = f"(examples{''.join(f', {size}' for size in shape[1:])})" if shape else "none"
        raise ModelError(
            f"the model's outputs have the shape {text}, and it must be (examples, units): end it "
            "with Flatten() and a Dense layer"
        )
    return int(shape[1])


def _one_unit(
    classes: int, loss: str | None, from_logits: bool, activation: str | None
) -> Meaning | None:
    """Return what one unit means by a loss that is known, or by a sigmoid; None without either."""
    if classes != 2:
        raise ModelError(
            f"the model has 1 output for {classes} classes: end it with Dense({classes}, 'softmax')"
        )
    if loss in SIGNING:
        if activation in _SIGMOIDS:
            raise ModelError(
                f"the loss {loss} wants numbers below 0 for the first class, and the model ends in "
                f"{activation}, which gives none: end it with Dense(1, 'tanh')"
            )
        return Meaning.LOGIT
    if loss in _HALVED:
        if not from_logits:
            return Meaning.PROBABILITY
        _check_logits(activation)
        return Meaning.LOGIT
    if loss is not None:
        raise ModelError(
            f"the loss {loss} does not tell two classes apart by one output: compile with "
            "loss='binary_crossentropy', or end the model with Dense(2, 'softmax')"
        )
    return Meaning.PROBABILITY if activation in _SIGMOIDS else None


def _takes_signs(model: "keras.Model", loss: str | None, activation: str | None) -> bool:
    """Say whether a model's loss compares its one unit with -1 and 1 themselves."""
    if not model.compiled or activation in _SIGMOIDS:
        return False
    if loss is not None:
        return loss in _OF_NUMBERS
    try:
        return (own := own_loss(model)) is not None and _wanted_by(own, SIGNS) is Meaning.LOGIT
    except Exception:  # it may want more than one example, say
        return False


def _places(labels: Sequence[Label], units: int) -> tuple[int, ...] | None:
    """Return labels that are numbers of units; None where they are not, or are 0, 1, 2 anyway."""
    whole = [one for one in labels if type(one) is int and 0 <= one < units]
    return None if len(whole) < len(labels) or whole == [*range(len(labels))] else tuple(whole)


def _untold(model: "keras.Model", activation: str | None) -> Meaning | None:
    """Return what one unit means that any number may come from; None where nothing tells.

    It means what its author's loss wants of it, and the study's own loss wants logits.
    """
    if not model.compiled:
        return Meaning.LOGIT if activation == "linear" else None
    if activation in REACH or (loss := own_loss(model)) is None:
        return None
    try:
        return _wanted_by(loss)
    except Exception:  # it may want more than one example, say
        return None


def _wanted_by(loss: "AskedLoss", given: tuple[int, ...] = (0, 1)) -> Meaning | None:
    """Return what one unit means to a loss, by what costs least for each of the classes.

    That is 0 and 1 where it wants the class itself, so that the border is 0.5. Where it wants
    opposite numbers, or reads a logit, which may be of another size for each, the border is 0.
    """
    from search.trainers.asked import is_of_logit, wanted_for_two

    first, second = wanted_for_two(loss, given)
    if (first, second) == (0, 1):
        return Meaning.PROBABILITY
    return Meaning.LOGIT if first == -second < 0 or is_of_logit(loss, given) else None


def _many_units(
    classes: int, loss: str | None, from_logits: bool, activation: str | None, said: NDArray[Any]
) -> Meaning:
    """Return what a unit for each class means, as the loss reads it.

    Where nothing says it, what the model gives for a few examples does: as good as no logits are
    all from 0 upwards and have a sum of 1.
    """
    if from_logits:
        _check_logits(activation)
        return Meaning.LOGITS
    values = said.astype(np.float64)
    if loss is not None:
        if activation == "linear" or (values < 0).any():
            raise ModelError(
                f"the loss {loss} takes probabilities, and the model gives any numbers: end it "
                f"with Dense({classes}, 'softmax'), or compile with "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True)"
            )
        return Meaning.SHARES
    if activation in _SIGMOIDS or activation == "linear":
        return Meaning.LOGITS if activation == "linear" else Meaning.SHARES
    off = 1e-3 if said.dtype.itemsize > 2 else 2e-2  # half precision has three digits or less
    distributed = (values >= 0).all() and np.allclose(values.sum(axis=-1), 1, rtol=0, atol=off)
    return Meaning.SHARES if distributed else Meaning.LOGITS


def _check_logits(activation: str | None) -> None:
    if activation in _SIGMOIDS:
        raise ModelError(
            f"the loss says from_logits=True, but the model ends in {activation}, which no "
            "longer gives logits: leave out one of the two"
        )


def _shares(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the probabilities of the classes as Keras' losses have them of probabilities."""
    total = values.sum(axis=-1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):  # of a network that diverged, or died
        shares: NDArray[np.float64] = np.where(total == 0, 1 / values.shape[-1], values / total)
    return shares


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Return the probabilities of the classes, ``[..., class]``, in the type of the logits."""
    with np.errstate(invalid="ignore"):  # of a network that diverged
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares: NDArray[Any] = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _odds(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how much more likely than all others each class is, as a logarithm."""
    first = logits.argmax(axis=-1)[..., None]
    top = np.take_along_axis(logits, first, -1)
    others = logits.copy()
    np.put_along_axis(others, first, -np.inf, -1)
    second = others.max(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):  # of the first, or one that diverged
        powers = np.exp(logits - top)
        odds: NDArray[np.float64] = (
            logits - top - np.log(powers.sum(axis=-1, keepdims=True) - powers)
        )
        rest = second + np.log(np.exp(others - second).sum(axis=-1, keepdims=True))
    np.put_along_axis(odds, first, top - rest, -1)
    return odds


def _logistic(values: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        shares: NDArray[np.float64] = 1 / (1 + np.exp(-values))
    return shares
