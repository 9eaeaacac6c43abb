"""What a trial makes anew: nothing that training changes may go on from another trial."""

import weakref

import keras

from search.errors import ModelError
from search.study.seeds import derive

# What the models that were built in this process train, for as long as anything holds it. A
# variable can be no key, since it is compared element by element.
_TRAINED: weakref.WeakValueDictionary[int, keras.Variable] = weakref.WeakValueDictionary()


def check_afresh(model: keras.Model) -> None:
    """Refuse a model that has what an earlier model of this process trains.

    Layers that are frozen in all of them may be in many models.

    Raises:
        ModelError: it is such a model.

    """
    optimizer = getattr(model, "optimizer", None)
    steps = optimizer.variables if optimizer else []
    for variable in (*model.variables, *steps):
        if _TRAINED.get(id(variable)) is variable:
            raise ModelError(_goes_on(variable))
    trained = (*model.trainable_variables, *steps)
    _TRAINED.update((id(variable), variable) for variable in trained)


def draw_afresh(model: keras.Model, seed: int) -> None:
    """Have a model's layers draw from this seed on, whatever they have drawn and for whom.

    So layers that draw, for dropout or augmentation, may be in many models.
    """
    for number, state in enumerate(one for one in model.variables if _is_drawn_from(one)):
        state.assign([derive(seed, "layer", number), 0])


def _is_drawn_from(variable: keras.Variable) -> bool:
    return bool(variable.name == "seed_generator_state")  # as each `keras.random.SeedGenerator` has


class Untouched:
    """A model that nobody trains, and which must not change while another one is trained.

    What its layers draw from may: see `draw_afresh`.
    """

    def __init__(self, model: keras.Model) -> None:
        self._variables = [one for one in model.variables if not _is_drawn_from(one)]
        self._before = self._values()

    def check(self) -> None:
        """Refuse what has changed in it, such as the statistics of a shared normalization.

        Raises:
            ModelError: something has.

        """
        values = zip(self._variables, self._before, self._values(), strict=True)
        for variable, before, now in values:
            if before != now:
                raise ModelError(_goes_on(variable))

    def _values(self) -> list[bytes]:
        return [keras.ops.convert_to_numpy(variable).tobytes() for variable in self._variables]


def _goes_on(variable: keras.Variable) -> str:
    return (
        f"build(config) takes {variable.path} from outside, and each trial would go on from what "
        "the one before has learned: make all layers and the optimizer inside build, or freeze "
        "what is shared with trainable = False"
    )
