"""The classic recipe on MNIST: random search over the learning rate, cross-validated."""

from scipy.stats import reciprocal

from search import MLP, Confirm, StudySpec, Training

STUDY = StudySpec(
    name="mnist_random",
    data="mnist",
    space={"learning_rate": reciprocal(3e-4, 3e-2)},
    model=MLP(hidden=(300, 200, 100)),
    training=Training(epochs=6, batch_size=32, schedule="constant", patience=10),
    folds=10,
    trials=3,
    target=0.98,
    sampler="randomized",
    pruner="none",
    confirm=Confirm(candidates=1, seeds=2),
    expected="98 % (the project's field notes), at the price of ten trainings of up to 100 epochs "
    "for each learning rate; a few random draws find a good one (Bergstra and Bengio 2012, Random "
    "search for hyper-parameter optimization, section 2).",
    full={"epochs": 100, "trials": 10},
)
