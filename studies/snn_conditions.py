"""Under which conditions does a self-normalizing network beat the regular one on Fashion-MNIST?

The notes that claim it say neither how inputs were scaled nor which optimizer and which regular
network they mean. So each of these is crossed here, and each arm may choose its learning rate.
"""

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="snn_conditions",
    data="fashion_mnist",
    space={
        "activation": ["selu", "relu"],
        "initializer": ["paired", "glorot_uniform"],
        "standardize": [True, "unit"],
        "batch_norm": [False, True],
        "optimizer": ["nadam", "sgd"],
        "learning_rate": [7e-4, 3e-3, 1e-2, 3e-2],
    },
    model=MLP(hidden=(100,) * 20),
    training=Training(epochs=6, batch_size=128, schedule="constant"),
    trials=128,
    sampler="grid",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
    expected="the self-normalizing network (selu, lecun_normal, standardized inputs, no batch "
    "normalization) reaches the regular one's best validation accuracy in 28 % of its iterations "
    "(the project's field notes); it needs inputs of mean 0 and variance 1 (Klambauer et al. 2017, "
    "Self-Normalizing Neural Networks, section 2), and a regular one of this depth needs batch "
    "normalization (Ioffe and Szegedy 2015, section 1) or he_normal (He et al. 2015, section 2.2).",
    full={"epochs": 18, "trials": 128},
)
