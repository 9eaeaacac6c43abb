"""Networks that no memory holds are refused, by the weights that are made of them."""

import re
from types import SimpleNamespace

import pytest

from search.data import load
from search.errors import SpecError
from search.service.size import BYTES_OF_A_WEIGHT, check_size
from search.study.mlp import MLP
from search.study.spec import StudySpec
from search.study.training import Training


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (MLP(hidden=(6, 5)), 20 * 6 + 6 * 5 + 5 * 10),
        (MLP(hidden=(6, 5), activation="maxout", maxout_pieces=3), 20 * 18 + 6 * 15 + 5 * 10),
    ],
    ids=["relu", "maxout"],
)
def test_a_network_is_refused_that_is_a_weight_too_large(
    model: MLP, weights: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    space, training = {"learning_rate": [0.1]}, Training(epochs=1)
    spec = StudySpec(name="s", data="blobs", space=space, model=model, training=training, trials=1)
    dataset = load("blobs")
    memory = SimpleNamespace(total=weights * BYTES_OF_A_WEIGHT)
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory)
    check_size(spec, dataset)
    memory.total -= 1
    said = f"hidden is [6, 5], whose {weights:,} weights need "
    with pytest.raises(SpecError, match=f"^{re.escape(said)}.*; take fewer units$"):
        check_size(spec, dataset)
