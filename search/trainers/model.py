"""A configuration as a Keras model of standard layers, from raw inputs to predictions.

Of a classification these are the probabilities of the classes. Of a regression a network is
trained on targets that are standardized: less their mean over the training split, divided by
their standard deviation there. Its loss is their mean squared error, so learning rates and
penalties mean the same whatever the targets' unit. `finished` adds the layer that leads back.
"""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import keras
from scipy import integrate, stats

from search.backend import models_use_xla
from search.machine.hush import hushed
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.seeds import derive
from search.study.training import Training
from search.trainers.problem import Problem
from search.trainers.rows import taking_rows
from search.trainers.schedules import is_stepwise

IN_UNIT = "in_the_unit_of_the_targets"  # a layer of ours beside those that an author names
STEPS_PER_CALL = 10  # enough to hide Python's share of a step of a small network


def draw_from(seed: int) -> None:
    """Set the seed of whatever draws from global state, Keras' and that of its backend."""
    # On JAX, Keras looks for TensorFlow here, which speaks of itself while it loads.
    with nullcontext() if "tensorflow" in sys.modules else hushed():
        keras.utils.set_random_seed(seed)


def build(recipe: Recipe, problem: Problem, seed: int) -> keras.Sequential:
    """Return the untrained network of a configuration; equal seeds give equal weights."""
    assert isinstance(recipe.model, MLP), "search.trainers.own builds the others"
    draw_from(derive(seed, "model"))
    return _mlp(recipe.model, problem, seed)


def _mlp(mlp: MLP, problem: Problem, seed: int) -> keras.Sequential:
    """Stack the layers.

    Standardized inputs: LeCun, Bottou, Orr and Müller 1998 (Efficient BackProp, section 4.3).
    Batch normalization before the activation is that of Ioffe and Szegedy 2015 (Batch
    normalization, section 3.2), who discuss its place; Mishkin, Sergievskiy and Matas 2017
    (Systematic evaluation of CNN advances on ImageNet, section 3.2) compare it with that behind.
    Layer normalization: Ba, Kiros and Hinton 2016 (Layer normalization, section 3).
    The penalty ``l2``: Krogh and Hertz 1992 (A simple weight decay can improve generalization).
    The constraint ``max_norm``: Srivastava et al. 2014 (Dropout, section 5.1).
    """
    model = keras.Sequential([keras.Input(problem.input_shape)])
    if len(problem.input_shape) > 1:
        model.add(keras.layers.Flatten())
    if mlp.standardize:
        mean, factor, offset = problem.scaling(mlp.standardize)
        if isinstance(mean, list):
            model.add(keras.layers.Rescaling(1.0, [-each for each in mean]))
        model.add(keras.layers.Rescaling(factor, offset))
    if mlp.input_batch_norm:
        model.add(_batch_norm(mlp))
    for layer, units in enumerate(mlp.hidden):
        initializer = kernel_initializer(mlp, seed, layer)
        # Normalization subtracts means, and batch normalization with them any bias in front of it;
        # layer normalization has its bias behind it (Ba et al., section 3.1).
        before = mlp.batch_norm and not mlp.batch_norm_after
        constraint = keras.constraints.MaxNorm(mlp.max_norm) if mlp.max_norm else None
        model.add(
            keras.layers.Dense(
                units * mlp.pieces,
                use_bias=not (before or mlp.layer_norm),
                kernel_initializer=initializer,
                kernel_regularizer=_penalty(mlp),
                kernel_constraint=constraint,
            )
        )
        if mlp.layer_norm:
            model.add(keras.layers.LayerNormalization(center=not before))
        if before:
            model.add(_batch_norm(mlp))
        for activation in _activation(mlp, units):
            model.add(activation)
        if mlp.batch_norm and mlp.batch_norm_after:
            model.add(_batch_norm(mlp))
        if mlp.dropout:
            dropout = keras.layers.AlphaDropout if mlp.alpha_dropout else keras.layers.Dropout
            model.add(dropout(mlp.dropout))
    initializer = kernel_initializer(mlp, seed, len(mlp.hidden))
    model.add(
        keras.layers.Dense(
            problem.outputs,
            "linear" if problem.classes is None else "softmax",
            kernel_initializer=initializer,
            kernel_regularizer=_penalty(mlp),
        )
    )
    return model


def _batch_norm(mlp: MLP) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(momentum=mlp.batch_norm_momentum)


def _penalty(mlp: MLP) -> keras.regularizers.Regularizer | None:
    return keras.regularizers.L2(mlp.l2) if mlp.l2 else None


def _activation(mlp: MLP, units: int) -> list[keras.layers.Layer]:
    if mlp.activation == "leaky_relu":
        return [keras.layers.LeakyReLU(mlp.negative_slope)]
    if mlp.activation == "prelu":  # He et al. 2015, section 2.1: a learned slope for each unit
        return [keras.layers.PReLU()]
    if mlp.activation == "maxout":  # Goodfellow et al. 2013 (Maxout networks, section 2)
        pieces = keras.layers.Reshape((mlp.maxout_pieces, units))
        # Linear, which is where the layer's health is measured.
        return [keras.layers.Activation("linear"), pieces, keras.layers.GlobalMaxPooling1D()]
    return [keras.layers.Activation(mlp.activation)]


def kernel_initializer(mlp: MLP, seed: int, layer: int) -> keras.initializers.Initializer:
    """Return the initializer of a dense layer's kernel; calling it twice gives equal values.

    Keras' own by their names, and

    - ``normal``: standard deviation 1 whatever the layer's size, the naive choice; Glorot and
      Bengio 2010 (Understanding the difficulty of training deep feedforward neural networks,
      section 4.2.1) have the variance that keeps signals and gradients alive;
    - ``he_avg_uniform``: ``VarianceScaling(2, "fan_avg", "uniform")``, the mean of the conditions
      for signals and for gradients in He et al. 2015 (Delving deep into rectifiers, section 2.2);
    - ``paired``: what theory pairs with the layer's activation, see `PAIRED`.
    """
    name = mlp.initializer
    if name == "paired":
        name = PAIRED[mlp.activation if layer < len(mlp.hidden) else "softmax"]
    name, settings = _INITIALIZERS.get(name, (name, {}))
    if name == "maxout":
        scale = 1 / largest_square(mlp.maxout_pieces)
        name, settings = "variance_scaling", {"scale": scale}
    config = settings | {"seed": derive(seed, "kernel", layer)}
    return keras.initializers.get({"class_name": name, "config": config})


# Which initializer keeps a layer's variance: He et al. 2015, section 2.2, for all that resemble
# relu; Klambauer et al. 2017 (Self-Normalizing Neural Networks, section 3) for selu; Tseran and
# Montufar 2023 (Expected gradients of maxout networks and consequences to parameter
# initialization) for maxout, which is lecun_normal with two pieces; Glorot and Bengio 2010,
# section 4.2.1, for those that are linear or symmetric around zero, or saturate.
PAIRED = {
    **dict.fromkeys(
        ("relu", "leaky_relu", "prelu", "elu", "gelu", "swish", "softplus", "mish"), "he_normal"
    ),
    "selu": "lecun_normal",
    "maxout": "maxout",
    **dict.fromkeys(("sigmoid", "tanh", "softmax"), "glorot_normal"),
}
_INITIALIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "normal": ("random_normal", {"mean": 0.0, "stddev": 1.0}),
    "he_avg_uniform": (
        "variance_scaling",
        {"scale": 2.0, "mode": "fan_avg", "distribution": "uniform"},
    ),
}


def largest_square(pieces: int) -> float:
    """Return the mean square of the largest of so many standard normal numbers.

    What is fed on of maxout grows by it: 1 with two pieces, 1.28 with three, 1.55 with four.
    """
    normal = stats.norm
    square, _ = integrate.quad(
        lambda z: z * z * pieces * normal.pdf(z) * normal.cdf(z) ** (pieces - 1), -12, 12
    )
    return float(square)


def optimizer(training: Training) -> keras.optimizers.Optimizer:
    """Return the Keras optimizer that a configuration names.

    Keras wants floats for the rate 1 and the momentum 0, too, and what clips by a number of NumPy's
    computes in float64.
    """
    numbers = {"learning_rate": training.learning_rate} | training.limit
    if training.optimizer == "sgd":
        numbers |= {"momentum": training.momentum}
    if training.optimizer == "adamw":
        numbers |= {"weight_decay": training.weight_decay}
    settings: dict[str, Any] = {name: float(number) for name, number in numbers.items()}
    if training.optimizer == "sgd":
        settings |= {"nesterov": training.nesterov}
    return keras.optimizers.get({"class_name": training.optimizer, "config": settings})


def finished(model: keras.Model, problem: Problem) -> keras.Model:
    """Return a trained model from what users have to what they want.

    Of a table it takes the columns, and what it says of numbers is in the targets' unit. One that
    has been trained on raw targets is left as it is there, and so is a classifier.
    """
    if problem.classes is None and (problem.target_scale, problem.target_mean) != (1.0, 0.0):
        # A class that extends it may do more in its call than to go through its layers.
        layers = model.layers if type(model) is keras.Sequential else [model]
        back = keras.layers.Rescaling(
            problem.target_scale, problem.target_mean, name=IN_UNIT, dtype="float32"
        )
        begin = [keras.Input(problem.input_shape), *_in_rank(model, problem.input_shape)]
        model = keras.Sequential([*begin, *layers, back])
    return model if problem.encoding is None else taking_rows(model, problem.encoding)


def _in_rank(model: keras.Model, shape: tuple[int, ...]) -> list[keras.layers.Layer]:
    """Return what brings examples into the shape that a model says it takes.

    A model that takes (8, 1) is fed (8,) by Keras, and the other way round; its layers are not.
    """
    tensors = getattr(model, "inputs", None)  # a subclassed model has none to show
    if not tensors or len(tensors[0].shape) == len(shape) + 1:
        return []
    sizes = [-1 if size is None else size for size in tensors[0].shape[1:]]
    return [keras.layers.Reshape(sizes)]


def compile_for(model: keras.Model, training: Training, problem: Problem) -> None:
    """Compile a network for training.

    The metric has its variables before a step is traced. By its name alone, Keras would make them
    while it traces the first one, and TensorFlow would trace that once more: 0.4 s a trial.
    """
    if problem.classes is None:
        loss, metric = "mse", keras.metrics.MeanSquaredError("mse")
    else:
        loss = "sparse_categorical_crossentropy"
        metric = keras.metrics.SparseCategoricalAccuracy("accuracy")
    compile_with(model, training, loss, [metric])


def compile_with(
    model: keras.Model, training: Training, loss: Any, metrics: Sequence[keras.metrics.Metric] = ()
) -> None:
    """Compile a model with a loss and the study's training settings."""
    model.compile(
        optimizer=optimizer(training),
        loss=loss,
        metrics=list(metrics),
        steps_per_execution=1 if is_stepwise(training) else STEPS_PER_CALL,
        jit_compile=models_use_xla(),
    )
