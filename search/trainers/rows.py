"""The columns of a table as the inputs of a model, and their encoding as layers of Keras.

What `search.data.encoding` computes of columns, a finished model computes itself, by standard
layers and operations alone: it has one input a column, by the column's name.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from search.data.encoding import CLIP, FARTHEST, PERIODS, Encoded, Encoding, Scale
from search.study.table import ColumnKind
from search.trainers.files import any_input_names


def taking_rows(model: keras.Model, encoding: Encoding) -> keras.Model:
    """Return a model that takes the columns of a table, in front of one that takes features.

    Args:
        model: from features, ``[row, feature]``, to predictions.
        encoding: of the columns as features.

    Returns:
        A model whose inputs are a dictionary, column name -> ``[row, 1]``: strings for text, ""
        where there is none; float32 for all else, NaN where there is none, dates in days since
        1970-01-01. A dictionary that lacks a column is refused by Keras.

    """
    *names, own = _names(encoding)
    inputs = {
        part.column.name: _input(part, name)
        for name, part in zip(names, encoding.parts, strict=True)
    }
    with any_input_names():
        whole = keras.Model(inputs, _within(model, encoding, own)(list(inputs.values())))
    if getattr(model, "loss", None) is not None:  # says what its outputs mean
        whole.compile("sgd", model.loss)  # which has nothing to keep
    return whole


def learned_words(model: keras.Model, names: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each column of text that a model tells from all others.

    Args:
        model: that `taking_rows` returned, or a copy that was loaded.
        names: of all its columns, in the order of the encoding.

    Returns:
        Column name -> values; nothing for a column that has none, or of another model.

    """
    found: dict[str, list[str]] = {}
    for within in model.layers:
        if not isinstance(within, keras.Model) or len(within.inputs) != len(names):
            continue
        places = {id(column): name for column, name in zip(within.inputs, names, strict=True)}
        for layer in within.layers:
            if isinstance(layer, keras.layers.StringLookup) and id(layer.input) in places:
                words = layer.get_vocabulary()[2:]  # behind what is unknown and what is missing
                if words:
                    found[places[id(layer.input)]] = words
    return found


def _within(model: keras.Model, encoding: Encoding, name: str) -> keras.Model:
    """Return a model of columns in a list.

    All operations are within it, where no column is called as Keras calls one of them.
    """
    columns = [_input(part, None) for part in encoding.parts]
    features = [
        tensor
        for part, column in zip(encoding.parts, columns, strict=True)
        for tensor in _encoded(part, column)
    ]
    x = ops.concatenate(features, axis=-1)
    x = ops.take(x, np.array(encoding.kept, np.int32), axis=-1)
    return keras.Model(columns, model(x), name=name)


def _input(part: Encoded, name: str | None) -> Any:
    return keras.Input((1,), name=name, dtype="string" if part.column.text else "float32")


def _names(encoding: Encoding) -> list[str]:
    """Return names that Keras allows its layers, one for each column, and one for what is within.

    Columns keep theirs where they can: Keras warns of each model whose inputs are called otherwise.
    """
    taken = {column.name for column in encoding.columns}
    names: list[str] = []
    for wanted in (*(column.name for column in encoding.columns), ""):
        name = wanted.replace("/", "_") or "column"
        while name != wanted and name in taken:
            name += "_"
        taken.add(name)
        names.append(name)
    return names


def _encoded(part: Encoded, x: Any) -> list[Any]:
    """Return a column's features, as `Encoded.apply` does."""
    if part.column.text:
        lookup = keras.layers.StringLookup(
            vocabulary=["", *part.levels], mask_token=None, output_mode="one_hot"
        )(x)
        # Keras has what is unknown in front of what is missing.
        return [ops.take(lookup, np.array([1, 0], np.int32), axis=-1), lookup[:, 2:]]
    missing = ops.isnan(x)
    features = [_scaled(part.scale, x, missing), ops.cast(missing, "float32")]
    if part.column.kind is ColumnKind.DATE:
        days = ops.where(missing, 0.0, x)
        for period in PERIODS:
            angle = ops.mod(days, np.float32(period)) * np.float32(2 * np.pi / period)
            features += [ops.where(missing, 0.0, wave(angle)) for wave in (ops.sin, ops.cos)]
    if part.column.kind is ColumnKind.CATEGORY:
        equal = ops.equal(x, np.array([part.levels], np.float32))
        levels = ops.cast(equal, "float32")
        known = ops.logical_or(missing, ops.any(equal, axis=-1, keepdims=True))
        features += [1.0 - ops.cast(known, "float32"), levels]
    return features


def _scaled(scale: Scale | None, x: Any, missing: Any) -> Any:
    assert scale is not None, "what is no text has a scale"
    z = (ops.where(missing, scale.middle, x) - scale.middle) * float(np.float32(1 / scale.width))
    z = ops.clip(z, -float(FARTHEST), float(FARTHEST))
    return z / ops.sqrt(1.0 + ops.square(z / CLIP))
