"""How much memory the networks of a study need, which is asked before there is a store."""

import math
from itertools import islice

import psutil

from search.data.splits import Dataset
from search.errors import SpecError
from search.study.mlp import MLP, kernel_shapes
from search.study.spec import StudySpec

CORNERS = 256  # of a space, at most, whose networks are asked for their size
BYTES_OF_A_WEIGHT = 12  # in training at the least: itself, its gradient, and a copy of either


def check_size(spec: StudySpec, dataset: Dataset) -> None:
    """Refuse networks of which this machine's memory does not hold one in training.

    Raises:
        SpecError: there are such; the message says how large they are.

    """
    if not isinstance(spec.model, MLP):
        return
    memory = psutil.virtual_memory().total
    inputs, outputs = math.prod(dataset.input_shape), dataset.classes or 1
    for config in islice(spec.search_space.corners(), CORNERS):
        mlp = spec.recipe(config).model
        assert isinstance(mlp, MLP), "the study's model is one"
        weights = sum(map(math.prod, kernel_shapes(inputs, mlp.hidden, mlp.pieces, outputs)))
        if (need := BYTES_OF_A_WEIGHT * weights) > memory:
            raise SpecError(
                f"hidden is {list(mlp.hidden)}, whose {weights:,} weights need "
                f"{need / 2**30:,.0f} GiB to be trained, and this machine has "
                f"{memory / 2**30:,.0f}; take fewer units"
            )
