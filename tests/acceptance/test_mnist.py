"""The real MNIST, fetched by the chain of sources."""

import pytest

from search import data
from search.lanes.structure import Structure
from search.lanes.trainer import LanesTrainer
from search.study.space import Config
from search.trainers.fit import FitTrainer
from studies.mnist import STUDY

GOOD = Config(
    {
        "activation": "relu",
        "initializer": "he_normal",
        "batch_norm": True,
        "clipnorm": 1.0,
        "learning_rate": 0.03,
    }
)


@pytest.mark.parametrize("kind", ["fit", "lanes"])
def test_one_epoch_passes_nine_in_ten(kind: str) -> None:
    dataset = data.load("mnist")
    assert (len(dataset.train), len(dataset.validation)) == (55_000, 5_000)
    recipe = STUDY.recipe(GOOD)
    trainer = (
        FitTrainer(dataset) if kind == "fit" else LanesTrainer(dataset, Structure.of(recipe), 1)
    )
    trainer.start(0, recipe, seed=1)
    assert trainer.epoch()[0].val_score > 0.9
