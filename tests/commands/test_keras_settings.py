"""What a person has set for Keras on one machine changes no study, and is named."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from search.errors import UsageError
from search.machine.hardware import versions
from search.machine.keras_home import asked_backend, check_backend, keras_folder

COMMANDS = ("run --study blobs", "worker", "status --study blobs", "replay --study blobs --trial 0")
SETTINGS = {
    "floatx": "float64",  # with which XLA cannot compile what is written for float32
    "epsilon": 0.1,
    "image_data_format": "channels_first",
}
TRAIN = """
from search.data.splits import Dataset, Split
from search.health.cadence import never
from search.service.choose import trainer_for
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.training import Training
import numpy as np

def images(count):
    random = np.random.default_rng(count)
    return Split(random.integers(0, 256, (count, 4, 3), np.uint8), random.integers(0, 2, count))

data = Dataset(
    name="images", sha256="0" * 64, train=images(100), validation=images(40), classes=2
)
model, training = MLP(hidden=(6,)), Training(epochs=1, batch_size=10)
spec = StudySpec(name="s", data="images", space={"learning_rate": [0.1, 0.2]}, model=model,
                 training=training, trials=2)
for kind in ("lanes", "fit"):
    trainer = trainer_for(spec, data, kind, 1, print)
    trainer.start(0, spec.recipe(Config({"learning_rate": 0.1})), 3)
    print(kind, trainer.epoch()[0])
    print(trainer.model(0).predict(data.validation.x, verbose=0).dtype, flush=True)
"""


def environment(home: Path, **more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("KERAS_")}
    return kept | {"KERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3"} | more


def keras_json(folder: Path, settings: Any) -> Path:
    folder.mkdir()
    (folder / "keras.json").write_text(json.dumps(settings))
    return folder


def asked(command: str, surroundings: dict[str, str], folder: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *f"search.{command}".split()],
        cwd=folder,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("command", "backend"), [*zip(COMMANDS, ("torch", "theano", "numpy", "mine"), strict=True)]
)
def test_a_backend_that_cannot_be_used_is_named_with_who_asked_for_it(
    command: str, backend: str, tmp_path: Path
) -> None:
    home = keras_json(tmp_path / "keras", {"backend": backend})
    remedy = "set KERAS_BACKEND=tensorflow\n"
    status, said = asked(command, environment(home), tmp_path)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: {home}/keras.json asks for the backend {backend}; ")
    assert said.endswith(remedy)
    status, said = asked(command, environment(home, KERAS_BACKEND="theano"), tmp_path)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith("error: KERAS_BACKEND is theano; ")
    assert said.endswith(remedy)


BAD: list[tuple[Any, str]] = [
    ([1], r"holds no settings .* write \{\} into it"),
    ({"floatx": "float8"}, "has 'float8' for floatx, .* float16 or float32 or float64 alone"),
    ({"floatx": ["float16"]}, r"has \['float16'\] for floatx"),
    ({"epsilon": "x"}, "has 'x' for epsilon, .* like 1e-07"),
    ({"epsilon": 1}, "has 1 for epsilon"),
    ({"image_data_format": None}, "has None for image_data_format, .* channels_last or"),
]


@pytest.mark.parametrize("backend", [None, "tensorflow"])
@pytest.mark.parametrize(("settings", "said"), BAD)
def test_settings_that_keras_cannot_start_with_are_named(
    settings: Any, said: str, backend: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(keras_json(tmp_path / "keras", settings)))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    if backend is not None:
        monkeypatch.setenv("KERAS_BACKEND", backend)
    with pytest.raises(UsageError, match=f"^{tmp_path}/keras/keras.json {said}"):
        check_backend()


@pytest.mark.parametrize(
    ("told", "home", "found"),
    [
        ("{tmp}/keras", "{tmp}", "{tmp}/keras"),
        ("~/mine", "{tmp}", "{tmp}/mine"),
        ("", "{tmp}", "."),
        (None, "{tmp}", "{tmp}/.keras"),
        (None, "{tmp}/gone", "/tmp/.keras"),  # as the accounts of services have it
    ],
)
def test_the_folder_is_the_one_that_keras_takes(
    told: str | None, home: str, found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", home.format(tmp=tmp_path))
    if told is not None:
        monkeypatch.setenv("KERAS_HOME", told.format(tmp=tmp_path))
    assert keras_folder() == Path(found.format(tmp=tmp_path))


def test_an_empty_variable_asks_for_no_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(keras_json(tmp_path / "keras", {"backend": "jax"})))
    monkeypatch.setenv("KERAS_BACKEND", "")
    assert asked_backend()[0] == versions()["backend"] == "jax"


def test_settings_that_cannot_be_read_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "keras.json").mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(UsageError, match=r"keras\.json is no file of settings"):
        check_backend()


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_settings_of_keras_that_have_no_end_are_refused(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "keras.json"
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.touch()
        os.truncate(file, 2**30)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with pytest.raises(UsageError, match=r"keras\.json is no file of settings.*take it away"):
        asked_backend()


def test_a_bad_setting_leaves_nothing_behind(tmp_path: Path) -> None:
    home = keras_json(tmp_path / "keras", [1])
    status, said = asked("run --study blobs", environment(home), tmp_path)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"error: {home}/keras.json holds no settings")
    assert list(tmp_path.iterdir()) == [home]


def test_help_is_there_whatever_keras_is_told(tmp_path: Path) -> None:
    home = keras_json(tmp_path / "keras", {"backend": "torch"})
    assert asked("run --help", environment(home), tmp_path) == (0, "")


@pytest.mark.parametrize("settings", [{}, {"backend": "tensorflow"}])
def test_what_can_be_used_is_no_fault(settings: Any, tmp_path: Path) -> None:
    home = keras_json(tmp_path / "keras", settings)
    status, said = asked("status --study gone.py", environment(home), tmp_path)
    assert status == 2
    assert "gone.py" in said


@pytest.mark.numbers
@pytest.mark.slow
def test_networks_are_trained_alike_whatever_keras_is_told(tmp_path: Path) -> None:
    plain = keras_json(tmp_path / "plain", {})
    told = keras_json(tmp_path / "told", SETTINGS)

    def trained(surroundings: dict[str, str]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", TRAIN],
            env=surroundings,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    # One after the other: a program that is the same for both is compiled for the first alone.
    expected = trained(environment(plain))
    found = trained(environment(told, KERAS_MAX_STEPS_PER_EPOCH="2"))
    said = [line for line in found if line.startswith("Keras' ")]
    assert [line for line in found if line not in said] == expected
    assert len(expected) == 4
    names = {line.split()[1] for line in said}
    assert names == {*SETTINGS, "max_steps_per_epoch"}
    assert "Keras' floatx is float64 on this machine" in said[0]
    assert "with float32 everywhere" in said[0]
