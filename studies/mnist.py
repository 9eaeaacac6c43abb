"""The best MLP on MNIST: which of the cures for vanishing and exploding gradients works?"""

from scipy.stats import reciprocal

from search import MLP, Confirm, StudySpec, Training, off_or

STUDY = StudySpec(
    name="mnist",
    data="mnist",
    space={
        "activation": ["selu", "relu", "leaky_relu", "elu"],
        "initializer": [
            "lecun_normal",
            "he_normal",
            "glorot_uniform",
            "he_uniform",
            "random_uniform",
        ],
        "batch_norm": [True, False],
        "clipnorm": off_or(reciprocal(0.1, 10.0)),
        "learning_rate": reciprocal(1e-3, 0.3),
    },
    model=MLP(hidden=(300, 200, 100)),
    training=Training(epochs=6, batch_size=128, schedule="1cycle", momentum=0.9, nesterov=True),
    trials=32,
    target=0.98,
    confirm=Confirm(candidates=2, seeds=5),
)
