"""Nothing that training changes goes on from another trial."""

import keras
import numpy as np
import pytest

from search.errors import ModelError
from search.trainers.afresh import Untouched, check_afresh


def network(*layers: keras.layers.Layer, rate: float = 0.1) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), *layers])
    model.compile(keras.optimizers.SGD(rate), "mse", run_eagerly=True)
    return model


def test_models_of_their_own_layers_are_made_afresh() -> None:
    for _ in range(2):
        check_afresh(network(keras.layers.Dense(1)))


def test_a_frozen_layer_may_be_shared_until_a_model_trains_it() -> None:
    trunk = keras.layers.Dense(2, name="trunk")
    trunk.trainable = False
    for _ in range(2):
        check_afresh(network(trunk, keras.layers.Dense(1)))
    trunk.trainable = True
    check_afresh(first := network(trunk))
    trunk.trainable = False
    with pytest.raises(ModelError, match=r"trunk/kernel from outside, .* inside build"):
        check_afresh(network(trunk, keras.layers.Dense(1)))
    assert first.trainable_variables == []


def test_an_optimizer_is_known_within_another_one() -> None:
    inner = keras.optimizers.SGD(0.1)
    for refused in (False, True):
        model = network(keras.layers.Dense(1))
        model.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
        if refused:
            with pytest.raises(ModelError, match="from outside"):
                check_afresh(model)
        else:
            check_afresh(model)


def test_statistics_that_go_on_are_noticed() -> None:
    means = keras.layers.BatchNormalization(center=False, scale=False, name="means")
    untouched = Untouched(network(means, keras.layers.Dense(1)))
    other = network(means, keras.layers.Dense(1))
    untouched.check()
    other.fit(np.ones((4, 2)), np.ones(4), verbose=0)
    with pytest.raises(ModelError, match="means/moving_mean from outside"):
        untouched.check()
