"""What needs no network: the models beside which the winner is proven.

They are fitted on the split that the network was trained on, and before the test split is opened,
so that they know no more of it than the network does. Pictures are to them their pixels.

- ``largest_class`` or ``mean``: always the same answer, by examples that count as in scores.
- ``linear_model``: scikit-learn's `LogisticRegression` or `Ridge` on standardized inputs. Of
  `PENALTIES` the one is kept that scores best on the validation split.
- ``gradient_boosted_trees``: scikit-learn's `HistGradientBoostingClassifier` or its regressor,
  as many rounds as are best on the validation split.

Their work is bounded, whatever the data: to a few seconds of one core each. A linear model that
would exceed `LINEAR_WORK` is fitted on fewer examples, drawn without replacement. Trees grow fewer
rounds first, with larger steps, and below `LEAST_ROUNDS` of them see fewer examples. So the same
data have the same baselines on every machine. Where `SMALLEST_SAMPLE` examples are too many for
it, there is none.
"""

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from search.data.splits import Dataset, Split, some_of
from search.errors import SearchError, reason_of
from search.proof.influence import Floats
from search.study.formulas import Weights

Answer: TypeAlias = Callable[[NDArray[Any]], Floats]

LARGEST_CLASS, MEAN = "largest_class", "mean"
LINEAR, TREES = "linear_model", "gradient_boosted_trees"

CELLS = 20_000_000  # numbers that a model is fitted on, at most
SMALLEST_SAMPLE = 500  # examples
JUDGES = 10_000  # validation examples that choose a penalty or the number of rounds, at most

PENALTIES = (0.1, 0.01, 0.001)  # of a linear model's squares, an example
STEPS = 30  # of the solver, for each penalty
LINEAR_WORK = 10_000_000_000  # multiplications

LEAST_ROUNDS, MOST_ROUNDS = 16, 300
PATIENCE = 10  # rounds
LARGEST_STEP = 0.3  # step of a tree; larger ones made some data worse with each round
TREE_WORK = 700_000_000  # numbers that trees pass through in all
TREE = 500_000  # numbers in whose time a tree grows that has none to pass
MANY_FEATURES = 200  # features beyond which each split of a tree looks at a tenth, in few bins


@dataclass(frozen=True)
class Fitted:
    """A model without a network."""

    name: str
    examples: int  # that it was fitted on
    seconds: float  # that it took
    # From raw inputs to the shares of the classes, ``[example, class]``, or numbers ``[example]``.
    answer: Answer


def fitted(dataset: Dataset, weights: Weights | None) -> tuple[list[Fitted], dict[str, str]]:
    """Return the models that stand beside a proof, and of those that failed the reason.

    Args:
        dataset: of which the training split is fitted and the validation split chooses.
        weights: of the examples to train on, as the network's loss has them; None = all alike.
            Their unit says nothing: penalties are for weights whose mean is 1.

    """
    if weights is not None:
        weights = weights / weights.mean(dtype=np.float64)
    weighed = replace(dataset, train=replace(dataset.train, weight=weights))
    fits = {
        LARGEST_CLASS if dataset.classes is not None else MEAN: partial(_constant, dataset),
        LINEAR: partial(_linear, weighed),
        TREES: partial(_boosted, weighed),
    }
    models, failed = [], {}
    for name, fit in fits.items():
        began = time.monotonic()
        try:
            with _alone():
                examples, answer = fit()
        except Exception as error:  # whatever it is, the proof does not depend on it
            failed[name] = str(error) if isinstance(error, SearchError) else reason_of(error)
        else:
            models.append(Fitted(name, examples, round(time.monotonic() - began, 2), answer))
    return models, failed


# -- the same answer to all ------------------------------------------------------------------


def _constant(dataset: Dataset) -> tuple[int, Answer]:
    """Guess as the scores count, whatever the loss makes of classes that are rare."""
    y, weights = dataset.train.y, dataset.train.weight if dataset.weighed else None
    if dataset.classes is None:
        always = np.array(np.average(y, weights=weights))
    else:
        counts = np.bincount(y, weights, minlength=dataset.classes)
        always = counts / counts.sum()
    return len(y), lambda x: np.broadcast_to(always, (len(x), *always.shape))


# -- linear models ---------------------------------------------------------------------------


def _linear(dataset: Dataset) -> tuple[int, Answer]:
    from sklearn.preprocessing import StandardScaler

    features, classes = _features(dataset), dataset.classes
    if classes is None:
        work = len(PENALTIES) * features * min(features, 1000)
    else:  # a step costs something for each class, however few features there are
        work = len(PENALTIES) * STEPS * (features + 50) * _trees(classes)
    split = _sample(dataset.train, min(CELLS // features, LINEAR_WORK // work))
    judges, metric = _sample(dataset.validation, JUDGES), dataset.metric
    scaler = StandardScaler().fit(_flat(split.x))

    def scaled(x: NDArray[Any]) -> NDArray[np.float32]:
        made: NDArray[np.float32] = scaler.transform(_flat(x)).astype(np.float32)
        return made

    inputs = scaled(split.x)
    best: tuple[float, Answer] | None = None
    for model in _linear_models(inputs, split, classes):
        answer = _answering(model, classes, scaled)
        weights = judges.weight if dataset.weighed else None
        score = metric.score(judges.y, answer(judges.x), weights)
        if best is None or score > best[0]:
            best = score, answer
    assert best is not None
    return len(split), best[1]


def _linear_models(inputs: NDArray[np.float32], split: Split, classes: int | None) -> Any:
    """Yield a fitted model for each penalty, the simplest first."""
    from sklearn.linear_model import LogisticRegression, Ridge

    for penalty in PENALTIES:
        strength = penalty * len(split)
        if classes is None:
            model = Ridge(alpha=strength)
        else:
            model = LogisticRegression(C=1 / strength, max_iter=STEPS, tol=1e-3)
        yield model.fit(inputs, split.y, sample_weight=split.weight)


# -- trees -----------------------------------------------------------------------------------


def _boosted(dataset: Dataset) -> tuple[int, Answer]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    features, trees = _features(dataset), _trees(dataset.classes)
    most = min(CELLS, TREE_WORK // (LEAST_ROUNDS * trees) - TREE) // features
    split = _sample(dataset.train, most)
    judges = _sample(dataset.validation, JUDGES)
    if dataset.classes is not None:  # a class that the sample lacks cannot be judged
        judges = judges.take(np.flatnonzero(np.isin(judges.y, split.y)))
    rounds = TREE_WORK // (trees * (len(split) * features + TREE))
    rounds = min(max(rounds, LEAST_ROUNDS), MOST_ROUNDS)
    kind: Any = HistGradientBoostingClassifier
    if dataset.classes is None:
        kind = HistGradientBoostingRegressor
    wide = {"max_bins": 31, "max_features": 0.1} if features > MANY_FEATURES else {}
    model = kind(
        max_iter=rounds,
        learning_rate=min(max(8 / rounds, 0.1), LARGEST_STEP),
        l2_regularization=1.0,  # XGBoost's; without it a leaf of one class alone steps without end
        early_stopping=True,
        n_iter_no_change=PATIENCE,
        random_state=0,
        **wide,
    )
    model.fit(
        _flat(split.x),
        split.y,
        sample_weight=split.weight,
        X_val=_flat(judges.x),
        y_val=judges.y,
        sample_weight_val=judges.weight if dataset.weighed else None,
    )
    best = int(np.argmax(model.validation_score_))
    if 0 < best < model.n_iter_:  # scikit-learn keeps the rounds that made it worse
        model.set_params(max_iter=best, early_stopping=False)
        model.fit(_flat(split.x), split.y, sample_weight=split.weight)
    return len(split), _answering(model, dataset.classes, _flat)


# -- what they share -------------------------------------------------------------------------


@contextmanager
def _alone() -> Iterator[None]:
    """Keep to one core and in silence: waiting threads cost a busy machine many times the work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings(action="ignore"):
        yield


def _flat(x: NDArray[Any]) -> NDArray[Any]:
    return x.reshape(len(x), -1)


def _features(dataset: Dataset) -> int:
    return int(np.prod(dataset.input_shape))


def _trees(classes: int | None) -> int:
    """Return how many functions tell so many classes apart."""
    return 1 if classes is None or classes == 2 else classes


def _sample(split: Split, most: int) -> Split:
    """Return so many examples at most, always the same.

    Raises:
        SearchError: they are too few to say anything.

    """
    if len(split) <= most:
        return split
    if most < SMALLEST_SAMPLE:
        raise SearchError("there are too many features and classes for it")
    return split.take(some_of(len(split), most))


def _answering(model: Any, classes: int | None, read: Callable[[NDArray[Any]], Any]) -> Answer:
    """Return what a model of scikit-learn answers to raw inputs, a part of them at a time."""

    def said(x: NDArray[Any]) -> Floats:
        if classes is None:
            numbers: Floats = model.predict(read(x)).astype(np.float64)
            return numbers
        shares = np.zeros((len(x), classes))
        shares[:, model.classes_] = model.predict_proba(read(x))
        return shares

    def answer(x: NDArray[Any]) -> Floats:
        size = max(1, CELLS // 10 // max(1, int(np.prod(x.shape[1:]))))
        with _alone():
            return np.concatenate([said(x[one : one + size]) for one in range(0, len(x), size)])

    return answer
