"""Where batch normalization belongs, and how many steps it saves: the paper's MNIST network."""

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="batchnorm_placement",
    data="mnist",
    space={
        "batch_norm": [False, True],
        "batch_norm_after": [False, True],  # of no effect without batch_norm: a second baseline
        "input_batch_norm": [False, True],
        "learning_rate": [0.03, 0.3, 3.0],
        "repetition": [0, 1, 2, 3, 4],
    },
    model=MLP(hidden=(100, 100, 100), activation="sigmoid", initializer="random_normal"),
    training=Training(epochs=4, batch_size=60, schedule="constant"),
    trials=48,
    sampler="grid",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
    expected="batch normalization before the sigmoid reaches a given accuracy in a fraction of "
    "the steps and allows far higher learning rates (Ioffe and Szegedy 2015, Batch normalization, "
    "section 4.1 on this network, section 4.2.2 on steps: 14 times fewer on ImageNet); behind the "
    "activation it does as well or better (Mishkin, Sergievskiy and Matas 2017, section 3.2, on "
    "ImageNet).",
    full={"epochs": 54, "trials": 120},  # 50,000 steps, the paper's
)
