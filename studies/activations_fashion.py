"""All activations side by side on Fashion-MNIST, each with the initializer that theory pairs."""

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="activations_fashion",
    data="fashion_mnist",
    space={
        "activation": [
            "relu",
            "leaky_relu",
            "elu",
            "selu",
            "gelu",
            "swish",
            "softplus",
            "mish",
            "tanh",
            "sigmoid",
            "prelu",
            "maxout",
        ],
        "learning_rate": [5e-4, 2e-3],
        "repetition": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    },
    model=MLP(hidden=(100, 100, 100, 100, 100), initializer="paired"),
    training=Training(epochs=8, batch_size=128, optimizer="adam", schedule="constant"),
    trials=72,
    sampler="grid",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=3),
    expected="rectifiers and their smooth relatives learn faster and reach more than sigmoid and "
    "tanh (Glorot, Bordes and Bengio 2011, Deep sparse rectifier neural networks, table 1); swish "
    "and its like gain a little over relu (Ramachandran, Zoph and Le 2017, Searching for "
    "activation functions, section 5). At five layers all of them train.",
    full={"epochs": 50, "trials": 240},
)
