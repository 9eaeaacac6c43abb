"""The strongest plain MLP on MNIST: no convolution, no augmentation; how far does it get?"""

from scipy.stats import reciprocal, uniform

from search import MLP, Confirm, StudySpec, Training, off_or

STUDY = StudySpec(
    name="mnist_wide",
    data="mnist",
    space={
        "width": [256, 512, 1024],
        "depth": [2, 3],
        "dropout": uniform(0.1, 0.5),
        "max_norm": off_or(reciprocal(1.0, 5.0)),
        "schedule": ["exponential", "cosine", "1cycle"],
        "learning_rate": reciprocal(1e-2, 0.2),
    },
    model=MLP(depth=2, width=512, initializer="paired"),
    training=Training(epochs=9, batch_size=128, momentum=0.9, nesterov=True, decay=0.7),
    trials=18,
    target=0.98,
    confirm=Confirm(candidates=1, seeds=2),
    expected="99.05 %, the ceiling of networks that know nothing of images, with two relu layers "
    "of 8,192 units, dropout and max-norm (Srivastava et al. 2014, Dropout, table 2).",
    full={"epochs": 81, "trials": 200},
)
