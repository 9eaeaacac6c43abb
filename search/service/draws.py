"""Random draws as scikit-learn makes them: the configurations of a `RandomizedSearchCV`.

Its `ParameterSampler` draws one value after the other from NumPy's `RandomState`: from the names
in sorted order, of a list the item at a random place, of a frozen distribution what its ``rvs``
gives. Bergstra and Bengio 2012 (Random search for hyper-parameter optimization) is its source.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np

from search.study.space import OffOr, Space


def draws(definition: Mapping[str, Any], seed: int) -> Iterator[dict[str, Any]]:
    """Yield one configuration after the other as values of the space's parameters.

    They are those of ``ParameterSampler(definition, ..., random_state=seed)``, to the last bit
    where a parameter is the hyperparameter itself, and within rounding where it is the quantile of
    a distribution. A hyperparameter that may be off gives two spaces, one where it is drawn and
    one where it is ``[None]``; of several, all combinations are listed, the last one changing
    fastest and on before off, as scikit-learn takes a list of spaces.

    Args:
        definition: hyperparameter name -> choices, frozen distribution or `off_or(...)`, with at
            least one distribution; lists alone scikit-learn draws without replacement.
        seed: what scikit-learn calls ``random_state``.

    """
    space, random = Space(definition), np.random.RandomState(seed)
    forms = list(_forms(definition))
    while True:
        form = forms[random.choice(len(forms))]
        values = {name: _drawn(form[name], random) for name in sorted(form)}
        parameters: dict[str, Any] = {}
        for dimension in space.dimensions:
            parameters |= dimension.parameters_of(values[dimension.name])
        yield parameters


def _forms(definition: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    options = [
        (one.distribution, [None]) if isinstance(one, OffOr) else (one,)
        for one in definition.values()
    ]
    return (dict(zip(definition, form, strict=True)) for form in product(*options))


def _drawn(definition: Any, random: np.random.RandomState) -> Any:
    if hasattr(definition, "rvs"):
        return definition.rvs(random_state=random)
    return definition[random.randint(len(definition))]
