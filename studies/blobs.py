"""The quick start: synthetic classes, nothing to download, done in seconds."""

from scipy.stats import reciprocal

from search import MLP, Confirm, StudySpec, Training, off_or

STUDY = StudySpec(
    name="blobs",
    data="blobs",
    space={
        "activation": ["selu", "relu", "leaky_relu", "elu"],
        "initializer": ["lecun_normal", "he_normal", "glorot_uniform", "random_uniform"],
        "batch_norm": [True, False],
        "clipnorm": off_or(reciprocal(0.1, 10.0)),
        "learning_rate": reciprocal(1e-3, 1.0),
    },
    model=MLP(hidden=(32, 16)),
    training=Training(epochs=9, batch_size=64, momentum=0.9, nesterov=True),
    trials=12,
    target=0.9,
    confirm=Confirm(candidates=2, seeds=3),
)
