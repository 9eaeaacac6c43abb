"""Many trials in one process must not fill its memory."""

import sys

from tests import warm

TRIALS = 30
WARM = 10  # trials after which all that is allocated once has been
GROWTH = 16  # MiB; a trial whose graph is kept costs 1.6

CODE = """
import sys, keras, psutil
from search import data
from search.study.space import Config
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.spec import StudySpec
from search.study.training import Training
from search.service.choose import trainer_for

def build(config):  # one layer and plain steps, so that each trial is traced in no time
    model = keras.Sequential([keras.Input((20,)), keras.layers.Dense(10, "softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=False)
    return model

trials, warm = int(sys.argv[1]), int(sys.argv[2])
spec = StudySpec(
    name="memory", data="blobs", space={"learning_rate": [0.1]},
    model=MLP(hidden=(4,)), training=Training(epochs=1, batch_size=1000), trials=trials,
)
for kind, model in (("lanes", spec.model), ("fit", build)):
    trainer = trainer_for(spec, data.load("blobs"), kind, 1, lambda _: None)
    for trial in range(trials):
        trainer.start(0, Recipe(Config({}), model, spec.training), trial)
        trainer.epoch()
        trainer.stop(0)
        if trial == warm:
            before = psutil.Process().memory_info().rss
    print((psutil.Process().memory_info().rss - before) / 2**20)
"""


def test_many_trials_need_no_more_memory_than_a_few_in_either_trainer() -> None:
    command = [sys.executable, "-c", CODE, str(TRIALS), str(WARM)]
    done = warm.run(command, timeout=600)
    assert done.returncode == 0, done.stderr
    lanes, fit = map(float, done.stdout.split())
    assert lanes < GROWTH
    assert fit < GROWTH
