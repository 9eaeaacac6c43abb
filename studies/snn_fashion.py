"""Fashion-MNIST, 20 hidden layers: does a self-normalizing network beat the regular one?"""

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="snn_fashion",
    data="fashion_mnist",
    space={
        "activation": ["selu", "relu"],
        "initializer": ["lecun_normal", "glorot_uniform"],
        "repetition": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    },
    model=MLP(hidden=(100,) * 20),
    training=Training(
        epochs=12, batch_size=32, optimizer="nadam", learning_rate=7e-4, schedule="constant"
    ),
    trials=12,
    sampler="grid",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
    expected="selu with lecun_normal reaches relu with glorot_uniform's best validation accuracy "
    "in 28 % of its iterations or less (the project's field notes); without normalization, selu "
    "trains deep dense networks that relu trains badly (Klambauer et al. 2017, Self-Normalizing "
    "Neural Networks, section 4).",
    full={"epochs": 50, "trials": 40},
)
