"""Models as files."""

import keras

from search.trainers.files import loaded, saved


def test_a_model_comes_back_as_it_was() -> None:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    again = loaded(saved(model))
    assert [w.tobytes() for w in again.get_weights()] == [w.tobytes() for w in model.get_weights()]
