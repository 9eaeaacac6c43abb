"""The study that most tests of the search are about, small enough to be trained by a script."""

from search import MLP, StudySpec, Training

SPEC = StudySpec(
    name="study",
    data="blobs",
    space={"activation": ["relu", "elu"], "batch_norm": [True, False]},
    model=MLP(hidden=(4,)),
    training=Training(epochs=9),
    trials=4,
    pruner="none",
    sampler="random",
)
