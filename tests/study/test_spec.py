import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from search.errors import SearchError, SpaceError, SpecError, StudyNotFound
from search.study.files import load_study
from search.study.mlp import MLP
from search.study.space import Config, off_or
from search.study.spec import Confirm, StudySpec
from search.study.training import Training

SPEC = StudySpec(
    name="study",
    data="blobs",
    space={
        "activation": ["relu", "elu"],
        "clipnorm": off_or(stats.reciprocal(0.1, 10)),
        "learning_rate": stats.reciprocal(1e-3, 1.0),
    },
    model=MLP(hidden=(30, 20), initializer="he_normal"),
    training=Training(epochs=9, momentum=0.9, clipnorm=2.0),
    trials=12,
)


def build(_config: Config) -> Any:
    return None


OWN = replace(SPEC, model=build, space={"hidden": stats.randint(8, 64), "dropout": [0.0, 0.5]})


def test_a_recipe_overrides_what_the_space_names_and_nothing_else() -> None:
    config = Config({"activation": "elu", "clipnorm": None, "learning_rate": 0.5})

    recipe = SPEC.recipe(config)

    assert recipe.config == config
    assert recipe.model == MLP(hidden=(30, 20), activation="elu", initializer="he_normal")
    assert recipe.training == Training(epochs=9, momentum=0.9, clipnorm=None, learning_rate=0.5)


def test_a_model_of_ones_own_takes_every_key_that_is_no_training_setting() -> None:
    recipe = OWN.recipe(Config({"hidden": 8, "batch_size": 16, "activation": "mine"}))

    assert recipe.model is build
    assert recipe.training == replace(SPEC.training, batch_size=16)


def test_depth_and_width_are_searched_where_the_model_has_them() -> None:
    even = replace(SPEC, model=MLP(depth=2, width=30), space={"depth": stats.randint(1, 41)})

    assert MLP(depth=2, width=30).hidden == (30, 30)
    assert even.recipe(Config({"depth": 40})).model == MLP(depth=40, width=30)
    assert even.recipe(Config({"activation": "elu"})).model.hidden == (30, 30)  # type: ignore[union-attr]
    described = even.describe()
    assert (described["model.hidden"], described["model.width"]) == ([30, 30], 30)


@pytest.mark.parametrize(
    ("clipping", "limit"),
    [("clipnorm", {"clipnorm": 2.0}), ("clipvalue", {"clipvalue": 0.5}), ("none", {})],
)
def test_clipping_says_which_limit_applies(clipping: str, limit: dict[str, float]) -> None:
    space = {
        "clipping": ["clipnorm", "clipvalue", "none"],
        "clipvalue": off_or(stats.reciprocal(0.1, 1)),
    }
    spec = replace(SPEC, space=space)

    recipe = spec.recipe(Config({"clipping": clipping, "clipvalue": 0.5}))

    assert recipe.training.limit == limit
    assert replace(recipe.training, clipping="clipvalue", clipvalue=None).limit == {}
    assert SPEC.training.limit == {"clipnorm": 2.0}


def test_the_corners_of_a_space_show_each_value_of_a_setting() -> None:
    corners = [dict(corner) for corner in SPEC.search_space.corners()]

    assert corners[0] == {"activation": "relu", "clipnorm": 0.1, "learning_rate": 1e-3}
    assert [{**corners[0], **corner} for corner in corners] == corners
    assert {"activation": "elu", "clipnorm": 0.1, "learning_rate": 1e-3} in corners
    assert {"activation": "relu", "clipnorm": None, "learning_rate": 1e-3} in corners
    assert len(corners) == 1 + 1 + 2 + 1


def _own(**settings: Any) -> StudySpec:
    return replace(SPEC, **settings)


def _training(**settings: Any) -> Training:
    return replace(SPEC.training, **settings)


UNUSABLE: dict[str, Callable[[], object]] = {
    "name is 'a/b'": lambda: _own(name="a/b"),
    "name is ''": lambda: _own(name=""),
    "name is '-q'": lambda: _own(name="-q"),
    "name is 'a\\n'": lambda: _own(name="a\n"),
    "trials is 0": lambda: _own(trials=0),
    "trials is 2.5": lambda: _own(trials=2.5),
    "standardize is 'features'; it must be True, False, 'feature', 'unit' or 'auto'": lambda: MLP(
        hidden=(4,), standardize="features"
    ),
    "target is 98": lambda: _own(target=98),
    "target is 0": lambda: _own(target=0),
    "target is 2.5; an accuracy or R² is in (0, 1], 98 % is 0.98, and for another": lambda: _own(
        target=2.5
    ),
    "target is 98; the accuracy is in (0, 1]": lambda: _own(metric="accuracy", target=98),
    "target is -2.5; give the RMSE to reach": lambda: _own(metric="rmse", target=-2.5),
    "target is 2.5; the R² is in (0, 1]": lambda: _own(task="regression", target=2.5),
    "metric 'auc' is unknown; known are accuracy, ": lambda: _own(metric="auc"),
    "metric is mae, which scores a regression": lambda: _own(metric="mae", task="classification"),
    "reduction_factor is 1": lambda: _own(reduction_factor=1),
    "seed is -1": lambda: _own(seed=-1),
    "sampler 'best' is unknown; known are tpe": lambda: _own(sampler="best"),
    "the sampler grid needs a list of choices for each hyperparameter, but clipnorm has a range; "
    "list its values": lambda: _own(sampler="grid"),
    "the sampler grid needs a list of choices for each hyperparameter, but learning_rate has": (
        lambda: _own(sampler="grid", space={"learning_rate": stats.expon(scale=0.01)})
    ),
    "pruner 'nop' is unknown": lambda: _own(pruner="nop"),
    "model is a int": lambda: _own(model=3),
    "space: it is empty": lambda: _own(space={}),
    "space: an MLP has no lr; it has activation": lambda: _own(space={"lr": [1]}),
    "space: epochs is a setting of the study": lambda: _own(space={"epochs": [1, 2]}),
    "space: hidden is 1; give each layer's units": lambda: _own(space={"hidden": [1, 2]}),
    "space: hidden is 0; it must be a whole number": lambda: _own(space={"hidden": [(4, 2), (0,)]}),
    "space: patience is a setting": lambda: _own(space={"patience": [1, 2]}),
    "space: activation 'cosine' is unknown": lambda: _own(space={"activation": ["relu", "cosine"]}),
    "space: negative_slope is 1.5": lambda: _own(
        space={"negative_slope": [0.1, 1.5], "activation": ["leaky_relu"]}
    ),
    "space: clipnorm and clipvalue may be on at once; search clipping": lambda: _own(
        space={"clipvalue": [0.5, None]}
    ),
    "space: learning_rate is -": lambda: _own(space={"learning_rate": stats.norm()}),
    "space: momentum is 1.5": lambda: _own(space={"momentum": stats.uniform(0, 1.5)}),
    "space: batch_size is 16.0": lambda: _own(space={"batch_size": stats.uniform(16, 32)}),
    "space: learning_rate is None": lambda: _own(space={"learning_rate": [0.1, None]}),
    "hidden is ()": lambda: MLP(hidden=()),
    "the network has 1,001 layers; take at most": lambda: MLP(hidden=(1,) * 1001),
    "the network has 2,147,483,647 layers": lambda: MLP(depth=2**31 - 1, width=1),
    "hidden is 300": lambda: MLP(hidden=300),  # type: ignore[arg-type]
    "hidden is 0": lambda: MLP(hidden=(30, 0)),
    "hidden is (); give each layer's units, like (300, 100), or depth": lambda: MLP(),
    "hidden gives each layer's units, and depth and width": lambda: MLP(hidden=(3,), depth=1),
    "width is None": lambda: MLP(depth=3),
    "depth is 0": lambda: MLP(depth=0, width=3),
    "space: it searches depth, but the model gives each layer's units": lambda: _own(
        space={"depth": [1, 2]}
    ),
    "space: width is 2.5": lambda: _own(space={"width": [2, 2.5]}, model=MLP(depth=1, width=2)),
    "dropout is 1.0": lambda: MLP(hidden=(30,), dropout=1.0),
    "l2 is -1": lambda: MLP(hidden=(30,), l2=-1),
    "max_norm is 0": lambda: MLP(hidden=(30,), max_norm=0),
    "alpha_dropout says how to drop": lambda: _own(space={"alpha_dropout": [True, False]}),
    "batch_norm_momentum is 2": lambda: MLP(hidden=(30,), batch_norm_momentum=2),
    "batch_norm_after belongs to batch_norm, which no trial has": lambda: _own(
        model=MLP(hidden=(30,), batch_norm_after=True)
    ),
    "initializer 'zeros' is unknown": lambda: MLP(hidden=(30,), initializer="zeros"),
    "epochs is 0": lambda: _training(epochs=0),
    "epochs is 2.5": lambda: _training(epochs=2.5),
    "epochs is True": lambda: _training(epochs=True),
    "batch_size is 0": lambda: _training(batch_size=0),
    "learning_rate is nan": lambda: _training(learning_rate=float("nan")),
    "learning_rate is '0.1'": lambda: _training(learning_rate="0.1"),
    "clipnorm is 0": lambda: _training(clipnorm=0),
    "clipvalue is -1": lambda: _training(clipvalue=-1, clipping="clipvalue"),
    "clipnorm and global_clipnorm are both set": lambda: _training(global_clipnorm=1.0),
    "clipping 'norm' is unknown": lambda: _training(clipping="norm"),
    "patience is 0": lambda: _training(patience=0),
    "momentum is None": lambda: _training(momentum=None),
    "momentum is 1": lambda: _training(momentum=1),
    "momentum belongs to sgd": lambda: _own(training=_training(optimizer="adam")),
    "schedule 'step' is unknown": lambda: _training(schedule="step"),
    "decay is 1.0; the schedule plateau": lambda: _training(schedule="plateau"),
    "plateau_epochs is 0": lambda: _training(plateau_epochs=0),
    "weight_decay is -1": lambda: _training(weight_decay=-1),
    "weight_decay belongs to adamw, which no trial has: optimizer is sgd": lambda: _own(
        space={"weight_decay": [0.1, 0.2]}
    ),
    "nesterov belongs to sgd, which no trial has: optimizer is adam": lambda: _own(
        training=_training(optimizer="adam", nesterov=True, momentum=0)
    ),
    "decay belongs to exponential and plateau, which no trial has: schedule is cos": lambda: _own(
        training=_training(schedule="cosine", decay=0.5)
    ),
    "plateau_epochs belongs to plateau, which no trial has": lambda: _own(
        training=_training(plateau_epochs=9)
    ),
    "maxout_pieces is 1": lambda: MLP(hidden=(30,), activation="maxout", maxout_pieces=1),
    "maxout_pieces belongs to maxout, which no trial has": lambda: _own(
        model=MLP(hidden=(30,), maxout_pieces=3)
    ),
    "negative_slope belongs to leaky_relu, which no trial has: activation is ": lambda: _own(
        model=MLP(hidden=(30,), negative_slope=0.1)
    ),
    "candidates is 0": lambda: Confirm(candidates=0),
    "seeds is 1": lambda: Confirm(seeds=1),
    "confidence is 95": lambda: Confirm(confidence=95),
}


@pytest.mark.parametrize("said", UNUSABLE)
def test_an_unusable_setting_is_refused_in_one_line(said: str) -> None:
    with pytest.raises(SearchError, match=f"^{re.escape(said)}") as refusal:
        UNUSABLE[said]()
    assert isinstance(refusal.value, SpecError | SpaceError)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("model", [partial(build), abs, int, eval("lambda config: None")])
def test_a_model_without_a_source_is_refused(model: Any) -> None:
    with pytest.raises(SpecError, match="define it with def in the study's file"):
        replace(OWN, model=model)


def test_a_study_whose_selu_cannot_normalize_itself_is_warned() -> None:
    selu = MLP(hidden=(30,), activation="selu", initializer="lecun_normal")
    space = {"learning_rate": [0.1, 0.2]}

    def warned(space: dict[str, Any] = space, **changes: Any) -> str:
        return " ".join(_own(model=replace(selu, **changes), space=space).selu_warnings)

    assert SPEC.selu_warnings == OWN.selu_warnings == []
    assert warned() == warned(initializer="paired") == ""
    assert warned(initializer="he_normal") == (
        "Warning: selu normalizes itself only with the initializer lecun_normal (or paired)."
    )
    assert "standardize=True" in warned(standardize=False)
    assert "standardize=True" in warned(standardize="unit")
    assert warned({"standardize": ["unit", True]}) == warned(standardize="feature") == ""
    assert "alpha_dropout=True" in warned(dropout=0.1)
    assert warned(dropout=0.1, alpha_dropout=True) == ""
    assert warned({"initializer": ["he_normal", "lecun_normal"]}) == ""
    assert warned(standardize=False, input_batch_norm=True) == ""
    unneeded: dict[str, Any] = {"batch_norm": True, "layer_norm": True, "l2": 0.1, "max_norm": 1}
    for name, value in unneeded.items():
        assert (
            warned(space, **{name: value})
            == f"Warning: selu normalizes itself only without {name}."
        )
    assert warned({"batch_norm": [True, False], "l2": [None, 0.1]}) == ""
    assert "lecun_normal" in warned({"activation": ["relu", "selu"]}, initializer="he_normal")


CHANGES: dict[str, Any] = {
    "data": {"data": "mnist"},
    "space.activation": {"space": {**SPEC.space, "activation": ["relu", "selu"]}},
    "model.hidden": {"model": replace(SPEC.model, hidden=(30,))},  # type: ignore[type-var]
    "model.batch_norm": {"model": replace(SPEC.model, batch_norm=True)},  # type: ignore[type-var]
    "training.batch_size": {"training": _training(batch_size=64)},
    "training.patience": {"training": _training(patience=3)},
    "sampler": {"sampler": "random"},
    "pruner": {"pruner": "none"},
    "reduction_factor": {"reduction_factor": 4},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_description_names_what_changes_a_result(name: str) -> None:
    before, now = SPEC.describe(), replace(SPEC, **CHANGES[name]).describe()

    assert [key for key in before if before[key] != now[key]] == [name]


def test_budget_target_and_proof_change_no_result() -> None:
    changed = replace(SPEC, trials=99, target=0.5, confirm=Confirm(seeds=9), name="other")

    assert changed.describe() == SPEC.describe()


def test_a_target_is_what_a_person_reads_of_the_metric() -> None:
    assert _own(metric="rmse", target=2.5).target == 2.5
    assert _own(metric="log_loss", target=0.1, task="classification").target == 0.1
    assert _own(metric="roc_auc").with_settings({"target": 0.9}).target == 0.9


@pytest.mark.parametrize("spec", [SPEC, OWN])
def test_the_description_is_flat_and_survives_json(spec: StudySpec) -> None:
    described = spec.describe()

    assert json.loads(json.dumps(described, allow_nan=False)) == described
    assert not any(isinstance(value, dict) for value in described.values())


def test_the_command_lines_settings_replace_the_studys() -> None:
    changed = SPEC.with_settings({"epochs": 3, "target": 0.7, "sampler": "qmc"})

    assert changed == replace(SPEC, training=_training(epochs=3), target=0.7, sampler="qmc")
    with pytest.raises(SpecError, match="epochs is 0"):
        SPEC.with_settings({"epochs": 0})


# -- study files -------------------------------------------------------------------------------

GOOD = """
from search import MLP, StudySpec, Training

def build(config):
    return {answer}

STUDY = StudySpec(
    name="mine", data="blobs", space={{"width": [1, 2]}}, model={model},
    training=Training(epochs=2), trials=4,
)
"""


def _write(folder: Path, text: str) -> str:
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_study_is_found_by_name_here_before_among_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").mkdir()
    _write(tmp_path / "studies", GOOD.format(model="build", answer=1))

    assert load_study("mine").name == "mine"
    assert load_study("mnist").name == "mnist"
    with pytest.raises(StudyNotFound, match=r"no study 'nist'; there are .*, mine, mnist, "):
        load_study("nist")


@pytest.mark.parametrize("model", ["build", "lambda config: build(config)"])
def test_a_models_source_is_part_of_the_study(tmp_path: Path, model: str) -> None:
    def described(answer: int) -> dict[str, Any]:
        text = GOOD.format(model=model, answer=answer)
        return load_study(_write(tmp_path, text)).describe()

    assert described(1) == described(1)
    if model == "build":
        assert described(1) != described(22)


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    study = load_study(_write(tmp_path, GOOD.format(model="build", answer=42)))

    model: Any = study.recipe(Config({"width": 1})).model
    assert model(Config({"width": 1})) == 42


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\nSTUDY = (\n", r"mine\.py, line 2: '\(' was never closed"),
        ("x = '\0'", r"mine\.py.*: .*null bytes"),
        ("STUDY = 3", r"mine\.py defines no study; it must say STUDY = "),
        ("", r"mine\.py defines no study"),
        ("1 / 0", r"mine\.py: ZeroDivisionError: division by zero"),
        ("import no_such_thing", r"mine\.py: ModuleNotFoundError: .*no_such_thing"),
        ("raise SystemExit(0)", r"mine\.py: SystemExit: 0"),
        (GOOD.format(model="print", answer=1), r"mine\.py: model is <built-in function print>"),
        (GOOD.format(model="'mlp'", answer=1), r"mine\.py: model is a str"),
        (GOOD.format(model="build", answer=1).replace("[1, 2]", "[]"), r"mine\.py: space: width"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises((SpecError, SpaceError), match=said) as refusal:
        load_study(_write(tmp_path, text))
    assert "\n" not in str(refusal.value)


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # a study may have kept it
@pytest.mark.parametrize(
    "does",
    [
        "os.chdir('/')",
        "print('of mine')",
        "sys.stdout.close()",
        "sys.stdout = None",
        "sys.stderr.close()",
        "sys.stderr = None",
    ],
)
def test_what_a_file_does_to_the_process_ends_with_it(
    does: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdout", os.fdopen(1, "w", closefd=False))
    monkeypatch.setattr(sys, "stderr", os.fdopen(2, "w", closefd=False))
    load_study(_write(tmp_path, f"import os, sys\n{does}\n{GOOD.format(model='build', answer=1)}"))
    assert Path.cwd() == tmp_path
    print("ours", flush=True)
    print("errors", file=sys.stderr, flush=True)
    assert capfd.readouterr() == ("ours\n", "of mine\nerrors\n" if "print" in does else "errors\n")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StudyNotFound, match=r"there is no study file .*gone\.py"):
        load_study(str(tmp_path / "gone.py"))
