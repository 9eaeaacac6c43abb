"""A table: which network predicts the column table.csv:label, and how it is best trained."""

from scipy.stats import reciprocal

from search import MLP, Confirm, StudySpec, Table, Training, off_or

STUDY = StudySpec(
    name="table",
    data=Table("table.csv", label="label"),
    space={
        "activation": ["relu", "leaky_relu", "elu", "selu", "swish"],
        "initializer": ["paired", "glorot_uniform"],
        "batch_norm": [False, True],
        "layer_norm": [False, True],
        "clipnorm": off_or(reciprocal(0.1, 10.0)),
        "learning_rate": reciprocal(3e-4, 3e-2),
        "depth": [1, 2, 3],
        "width": [64, 256],
        "dropout": off_or(reciprocal(0.05, 0.5)),
        "l2": off_or(reciprocal(1e-6, 1e-2)),
        "optimizer": ["adamw", "sgd"],
    },
    model=MLP(depth=2, width=64),
    training=Training(epochs=30, batch_size=64, schedule="cosine", momentum=0.9, nesterov=True),
    trials=48,
    confirm=Confirm(candidates=3, seeds=5),
)
