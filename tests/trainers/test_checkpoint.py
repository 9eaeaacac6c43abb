import math

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from search.trainers.checkpoint import from_bytes, to_bytes
from search.trainers.contract import Checkpoint, EpochResult

DTYPES = [np.dtype(name) for name in ("float32", "float64", "int32", "uint32", "int64", "bool")]
values = st.sampled_from(DTYPES).flatmap(
    lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, min_side=0, max_side=4))
)
scores = st.floats(allow_nan=False)
curves = st.lists(st.tuples(scores, scores, scores, scores), max_size=4).map(
    lambda rows: tuple(
        EpochResult(epoch=epoch, loss=loss, score=score, val_loss=val_loss, val_score=val_score)
        for epoch, (loss, score, val_loss, val_score) in enumerate(rows, start=1)
    )
)
checkpoints = st.builds(
    Checkpoint, st.sampled_from(["fit", "lanes"]), curves, st.lists(values, max_size=12).map(tuple)
)
SMALL = Checkpoint(
    "fit",
    (EpochResult(epoch=1, loss=0.1, score=0.2, val_loss=0.3, val_score=0.4),),
    (np.arange(6, dtype=np.float32).reshape(2, 3),),
)


def same(one: Checkpoint, other: Checkpoint) -> bool:
    """Whether two checkpoints agree in every bit."""
    contents = [
        [(array.dtype, array.shape, array.tobytes()) for array in checkpoint.arrays]
        for checkpoint in (one, other)
    ]
    return (
        contents[0] == contents[1]
        and one.kind == other.kind
        and repr(one.curve) == repr(other.curve)
    )


@given(checkpoints)
def test_bytes_give_back_every_bit(checkpoint: Checkpoint) -> None:
    assert same(from_bytes(to_bytes(checkpoint)), checkpoint)


def test_numbers_that_are_not_numpys_own_come_back_too() -> None:
    short = keras.ops.convert_to_numpy(keras.ops.array([1.5, math.pi], "bfloat16"))
    checkpoint = Checkpoint("fit", SMALL.curve, (short,))
    assert short.dtype.name == "bfloat16"
    assert same(from_bytes(to_bytes(checkpoint)), checkpoint)


WHOLE = to_bytes(SMALL)


@given(st.integers(0, len(WHOLE) - 1), st.integers(1, 255))
def test_damage_never_goes_unnoticed(position: int, flipped: int) -> None:
    damaged = bytearray(WHOLE)
    damaged[position] ^= flipped
    try:
        found = from_bytes(bytes(damaged))
    except ValueError:
        return
    assert same(found, SMALL)  # a date or a file's permissions, which mean nothing here


@pytest.mark.parametrize(
    "foreign", [b"", b"PK", b"not a checkpoint", WHOLE[:-1], WHOLE[100:], WHOLE[: len(WHOLE) // 2]]
)
def test_foreign_and_cut_bytes_are_refused(foreign: bytes) -> None:
    with pytest.raises(ValueError, match="not a checkpoint"):
        from_bytes(foreign)


def test_it_costs_little_more_than_its_arrays() -> None:
    array = np.zeros((300, 1000), np.float32)
    saved = to_bytes(Checkpoint("lanes", SMALL.curve, (array, array)))
    assert len(saved) < 2 * array.nbytes + 2000
