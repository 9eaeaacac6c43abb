"""Which cure keeps gradients alive how deep: the gradients' health is the result."""

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="gradients_deep",
    data="mnist",
    space={
        "depth": [5, 10, 20, 40],
        "activation": ["sigmoid", "tanh", "relu", "leaky_relu", "selu"],
        "initializer": ["normal", "random_uniform", "glorot_uniform", "paired"],
        "batch_norm": [False, True],
        "clipping": ["none", "clipnorm"],
    },
    model=MLP(depth=5, width=100),
    training=Training(epochs=1, batch_size=128, schedule="constant", clipnorm=1.0),
    trials=128,
    sampler="grid",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
    expected="gradients vanish through sigmoids at any depth and explode with weights of standard "
    "deviation 1; an initializer that suits the activation keeps them alive (Glorot and Bengio "
    "2010, section 4.2; He et al. 2015, section 2.2), selu with lecun_normal at any depth "
    "(Klambauer et al. 2017); batch normalization makes the initializer matter less (Ioffe and "
    "Szegedy 2015, section 3.3); clipping bounds steps and cannot revive what has vanished "
    "(Pascanu, Mikolov and Bengio 2013, section 3.2).",
    full={"epochs": 9, "trials": 320},
)
