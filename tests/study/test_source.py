"""What a study's own model is made of: a change of it is noticed, and of nothing else."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from search.study.files import load_study
from search.study.source import parts_of

STUDY = """
import numpy as np
import blocks
from blocks import width
from search import StudySpec, Training

UNITS = 32
TABLE = {"a": [1, 2], "b": np.arange(3)}
TRIALS = 4
def helper(size):
    return [size, *TABLE]
class Base:
    def call(self):
        return deep()
class Mine(Base):
    def get(self):
        return helper(UNITS)
def deep():
    return lambda: 7
def unused():
    return 1
def build(config, extra=UNITS):
    inner = lambda: Mine().get()
    return inner(), width(), blocks

STUDY = StudySpec(
    name="mine", data="blobs", space={"width": [1, 2]}, model=build,
    training=Training(epochs=2), trials=TRIALS,
)
"""
BLOCKS = """
import parts.inner

def width():
    return 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in (
        *("blocks", "parts", "parts.inner", "parts.deep", "parts.deep.own", "parts.beside"),
    ):
        monkeypatch.delitem(sys.modules, module, raising=False)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "inner.py").write_text("from .deep import own\nDEPTH = 1\n")
    (tmp_path / "parts" / "deep").mkdir()
    (tmp_path / "parts" / "deep" / "__init__.py").write_text("from . import own\n")
    (tmp_path / "parts" / "deep" / "own.py").write_text("from ..beside import HIGH\nLOW = 3\n")
    (tmp_path / "parts" / "beside.py").write_text("HIGH = 4\n")
    (tmp_path / "blocks.py").write_text(BLOCKS)
    (tmp_path / "stranger.py").write_text("x = 1\n")
    (tmp_path / "mine.py").write_text(STUDY)
    return tmp_path


def described(folder: Path) -> dict[str, Any]:
    return load_study(str(folder / "mine.py")).describe()


def changed(folder: Path, file: str, old: str, new: str) -> set[str]:
    before = described(folder)
    path = folder / file
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    after = described(folder)
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name) != after.get(name)}


@pytest.mark.parametrize(
    ("file", "old", "new", "names"),
    [
        ("mine.py", "UNITS = 32", "UNITS = 64", {"model.UNITS", "model.build.defaults"}),
        ("mine.py", "np.arange(3)", "np.arange(4)", {"model.TABLE"}),
        ("mine.py", "[size, *TABLE]", "[*TABLE]", {"model.helper"}),
        ("mine.py", "return helper(", "return not helper(", {"model.Mine"}),
        ("mine.py", "return deep()", "return deep", {"model.Base"}),
        ("mine.py", "lambda: 7", "lambda: 8", {"model.deep"}),
        ("mine.py", "inner(), width()", "width()", {"model.build"}),
        ("blocks.py", "return 3", "return 4", {"model.blocks.py"}),
        ("parts/inner.py", "1", "2", {"model.parts/inner.py"}),
        ("parts/deep/own.py", "3", "5", {"model.parts/deep/own.py"}),
        ("parts/beside.py", "4", "5", {"model.parts/beside.py"}),
        ("mine.py", "TRIALS = 4", "TRIALS = 9\n# a remark", set()),
        ("mine.py", "return 1", "return 2", set()),
        ("stranger.py", "1", "2", set()),
    ],
)
def test_what_build_reaches_is_named_when_it_changes(
    folder: Path, file: str, old: str, new: str, names: set[str]
) -> None:
    assert changed(folder, file, old, new) == names


def test_equal_studies_have_equal_descriptions(folder: Path) -> None:
    assert described(folder) == described(folder)


OBJECTS = """
import functools
from search import StudySpec, Training

class Normal:
    def __init__(self, stddev):
        self.stddev, self.me = stddev, self
    def get_config(self):
        return {"stddev": self.stddev, "name": NAME}
    def __repr__(self):
        return f"<Normal, built={NAME}>"
class Plain:
    def __init__(self, units):
        self.units, self.me = units, [self]
class Broken:
    size = {"a": {1, 2}}
    def __getattr__(self, name):
        raise RuntimeError(name)
    def __repr__(self):
        raise ValueError
def relu(x):
    return x
NAME = "normal_1"
LAYER = functools.partial(dict, 16, activation=relu, start=Normal(0.3))
CONFIGURED = [Plain(5), Normal(7)]
BROKEN = Broken()
class Late:
    units = 0
Late.units = 11
def build(config):
    return LAYER, CONFIGURED, BROKEN, Late

STUDY = StudySpec(
    name="mine", data="blobs", space={"width": [1, 2]}, model=build,
    training=Training(epochs=2), trials=4,
)
"""


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("dict, 16", "dict, 17", "LAYER"),
        ("activation=relu", "activation=[relu]", "LAYER"),
        ("return x\n", "return -x\n", "relu"),
        ("0.3", "30.0", "LAYER"),
        ("Plain(5)", "Plain(6)", "CONFIGURED"),
        ("[self]", "list([self])", "Plain"),
        ("Normal(7)", "Normal(8)", "CONFIGURED"),
        ("{1, 2}", "{1, 3}", "Broken"),
        ("= 11", "= 12", "Late"),
        ("normal_1", "normal_2", ""),
    ],
)
def test_what_objects_are_made_of_is_noticed(folder: Path, old: str, new: str, name: str) -> None:
    (folder / "mine.py").write_text(OBJECTS)
    different = changed(folder, "mine.py", old, new) - {"model.NAME"}
    assert different == ({f"model.{name}"} if name else set())


def test_objects_are_described_alike_in_each_process(folder: Path) -> None:
    (folder / "mine.py").write_text(OBJECTS)
    load = f"load_study({str(folder / 'mine.py')!r})"
    code = f"from search.study.files import load_study; print({load}.describe())"
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in "12"
    }
    assert len(said) == 1


class Frozen:
    """A layer as far as it is looked at: what has weights that no training changes."""

    def __init__(self, *weights: float) -> None:
        self.non_trainable_weights = [SimpleNamespace(numpy=lambda: np.array(weights))]

    def get_config(self) -> dict[str, Any]:
        return {"units": 1}


def test_weights_that_no_training_changes_are_part_of_a_model() -> None:
    def parts(layer: Any) -> dict[str, str]:
        def build(_config: Any) -> Any:
            return layer

        return parts_of(build)

    assert parts(Frozen(1, 2)) == parts(Frozen(1, 2))
    assert parts(Frozen(1, 2)) != parts(Frozen(1, 3))
