"""The layout as docs/layout.md draws it: imports run one way, and two lines are never crossed."""

import ast
import graphlib
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import pytest
from optuna.trial import TrialState

from search.__main__ import COMMANDS
from search.result.state import State
from search.service.status import StudyState
from search.store.tables import TicketState

ROOT = Path(__file__).parent.parent

LAYOUT = (ROOT / "docs/layout.md").read_text()
# The wings that a line of the layout names, from the ground up. Lines begin with their names.
FLOORS = [line.split("  ")[0].split(", ") for line in re.findall(r"(?m)^    (\S.*)$", LAYOUT)]
RANK = {wing: rank for rank, wings in enumerate(FLOORS) for wing in wings}
MODULES = sorted(
    ".".join(
        part
        for part in path.relative_to(ROOT / "search").with_suffix("").parts
        if part != "__init__"
    )
    for path in (ROOT / "search").rglob("*.py")
)
COMMAND_MODULES = set(re.findall(r"\w+", LAYOUT.partition("    commands")[2].partition("\n")[0]))
LEARNING = ("data", "health", "trainers", "lanes", "proof")
SEARCHING = ("store",)
RECORDS = ("result", "page")


def wing_of(module: str) -> str:
    """Return the wing, or the small module, that a module belongs to; "" is the face."""
    first = module.partition(".")[0]
    return "commands" if first in COMMAND_MODULES else first


def modules_of(*wings: str) -> list[str]:
    return [module for module in MODULES if wing_of(module) in wings]


def path_of(module: str) -> Path:
    path = (ROOT / "search").joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(path_of(module).read_text())


def imported(module: str, typing_too: bool = True) -> Iterator[str]:
    """Return the full names of what a module imports, anywhere in its file."""
    hidden = set() if typing_too else set(map(id, _for_types(tree(module))))
    for node in ast.walk(tree(module)):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _for_types(module: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(module):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from ast.walk(node)


def ours(module: str, typing_too: bool = True) -> set[str]:
    """Return the modules of ours that a module imports."""
    names = [name.split(".")[1:] for name in imported(module, typing_too) if _is_ours(name)]
    # The longest part of a name that is a module; what follows is something in it.
    parts = ([".".join(name[:length]) for length in (2, 1, 0)] for name in names)
    return {next(part for part in options if part in MODULES) for options in parts}


def _is_ours(name: str) -> bool:
    return name.startswith("search.")


def theirs(module: str, typing_too: bool = True) -> set[str]:
    """Return the packages that a module imports, and those that our modules drag in with them."""
    reached: set[str] = set()
    waiting = {module}
    while waiting:
        reached |= waiting
        waiting = {name for one in waiting for name in ours(one, typing_too)} - reached
    return {name.split(".")[0] for one in reached for name in imported(one, typing_too)}


def test_the_layout_names_every_wing_and_nothing_else() -> None:
    assert {wing_of(module) for module in MODULES} - {""} == set(RANK)
    assert {module for module in MODULES if wing_of(module) == "commands"} == COMMAND_MODULES


@pytest.mark.parametrize("module", MODULES)
def test_imports_run_one_way_between_wings(module: str) -> None:
    if module == "":
        assert {wing_of(name) for name in ours(module)} <= {"study", "commands"}
        return
    others = {name for name in ours(module) if wing_of(name) not in (wing_of(module), "")}
    rank = RANK[wing_of(module)]
    assert {name for name in others if RANK[wing_of(name)] >= rank} == set()


def test_no_imports_run_in_a_circle() -> None:
    graph = {module: ours(module) - {""} for module in MODULES}

    graphlib.TopologicalSorter(graph).prepare()


def test_the_shared_options_know_of_nothing_heavy() -> None:
    assert ours("cli") == {"errors", "machine.keras_home"}
    assert ours("machine.keras_home") == {"errors"}


@pytest.mark.parametrize("module", [one for one in modules_of(*LEARNING) if one != "proof.ledger"])
def test_learning_knows_nothing_of_the_search(module: str) -> None:
    """Only the ledger does, which keeps a confirmation in the store."""
    assert theirs(module) & {"optuna", "sqlalchemy"} == set()


@pytest.mark.parametrize("module", [*modules_of(*SEARCHING), "service.trials", "service.loop"])
def test_the_search_knows_nothing_of_learning(module: str) -> None:
    """The annotation of a trainer's model is the only Keras it ever meets."""
    assert theirs(module, typing_too=False) & {"keras", "tensorflow", "jax"} == set()
    assert {wing_of(name) for name in ours(module)}.isdisjoint({"lanes"})
    assert {"trainers.fit", "trainers.model"}.isdisjoint(ours(module))


@pytest.mark.parametrize("module", modules_of(*RECORDS))
def test_records_and_pages_read_no_store(module: str) -> None:
    assert theirs(module) & {"optuna", "sqlalchemy"} == set()


# -- one word, one meaning -------------------------------------------------------------------


def defined(module: str) -> Iterator[str]:
    """Return the public names that a module gives something at its top."""
    for node in tree(module).body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names = [name]
            case ast.Assign(targets=targets):
                parts = (part for target in targets for part in ast.walk(target))
                names = [part.id for part in parts if isinstance(part, ast.Name)]
            case ast.AnnAssign(target=ast.Name(id=name)):
                names = [name]
            case _:
                names = []
        yield from (name for name in names if not name.startswith("_"))


def test_a_public_name_is_defined_in_one_module() -> None:
    owners: dict[str, set[str]] = {}
    for module in MODULES:
        for name in defined(module):
            owners.setdefault(name, set()).add(module)
    shared = {name: sorted(modules) for name, modules in owners.items() if len(modules) > 1}
    assert shared == {}


# -- the lock on the test split --------------------------------------------------------------


def words(module: str) -> set[str]:
    """Return all identifiers and strings of a module."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        for _name, value in ast.iter_fields(node):
            values = value if isinstance(value, list) else [value]
            found |= {word for word in values if isinstance(word, str)}
    return found


def test_only_the_confirmation_opens_the_test_split() -> None:
    assert {module for module in MODULES if "open_test" in words(module)} == {
        "data",
        "proof.confirm",
    }


def test_nothing_goes_around_the_lock() -> None:
    # What is read of a file that a command names, what new rows become, and what columns are, knows
    # of no splits.
    open_to_all = {
        "splits",
        "cells",
        "columns",
        "encoding",
        "files",
        "frames",
        "inputs",
        "quoting",
        "__main__",
    }
    helpers = set(modules_of("data")) - {"data", *(f"data.{name}" for name in open_to_all)}
    for module in sorted(set(MODULES) - set(modules_of("data"))):
        assert ours(module) & helpers == set(), module
        assert words(module) & {"x_test", "y_test"} == set(), module
        private = [name for name in imported(module) if name.startswith("search.data._")]
        assert private == [], module


# -- names that have a home ------------------------------------------------------------------

STATES = {*State, *TicketState, *StudyState, *(state.name for state in TrialState)}
SAYS_A_STATE = ("state", "default", "else_")  # what is stored, unless told or by a condition
# NamedTuple's own, which begin so that they cannot clash with fields.
NAMED_TUPLE = {"_make", "_replace", "_fields", "_asdict"}
# What others keep to themselves and we need all the same; each is held by a test of its own.
DOORS = {
    "_trial_id": "a storage speaks in ids, and Optuna's own storages read them so",
    "_storage": "a sampler is given a study, and Optuna's own ask its storage",
    "_exit": "os has it for everybody",
    "_registry": "TensorFlow has no other way to forget a function that it traced",
    "_keras_history": "Keras has no other way from a tensor to the layer that made it",
    "_inbound_nodes": "nor from a layer to the one before",
    "_flatten_layers": "nor to the layers within one that is no model",
    "_inmemory_cache": "optuna-dashboard has no other way to look at each trial once",
    "_cached_extra_study_property_cache": "nor another name for what it then knows",
}


def _texts(nodes: Iterator[ast.AST]) -> set[str]:
    found = {one.value for node in nodes for one in ast.walk(node) if isinstance(one, ast.Constant)}
    return {text for text in found if isinstance(text, str)}


@pytest.mark.parametrize("module", MODULES)
def test_no_state_is_compared_as_a_string(module: str) -> None:
    nodes = list(ast.walk(tree(module)))
    compared: list[ast.AST] = [node for node in nodes if isinstance(node, ast.Compare)]
    given = [
        node.value for node in nodes if isinstance(node, ast.keyword) and node.arg in SAYS_A_STATE
    ]
    assert _texts(iter([*compared, *given])) & STATES == set()


@pytest.mark.parametrize("module", [one for one in MODULES if one != "store.attributes"])
def test_no_attribute_of_a_trial_is_spelled_out(module: str) -> None:
    """A typo in one would be silence."""
    spelled: list[ast.AST] = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Subscript) and _ends_in(node.value, "user_attrs", "system_attrs"):
            spelled.append(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            told = node.func.attr in ("set_user_attr", "set_trial_user_attr")
            asked = node.func.attr == "get" and _ends_in(
                node.func.value, "user_attrs", "system_attrs"
            )
            spelled += node.args[: 2 if told else 1] if told or asked else []
    names = {node.value for node in spelled if isinstance(node, ast.Constant)}
    assert names == set()


def _ends_in(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr in names


@pytest.mark.parametrize("module", MODULES)
def test_nobody_reaches_into_private_parts(module: str) -> None:
    """Those of a class are for its own file; what is asked of ``self`` it has itself."""
    nodes = list(ast.walk(tree(module)))
    own = {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and _is_self(node.value) and _is_private(node.attr)
    }
    own |= {node.id for node in nodes if isinstance(node, ast.Name)}
    reached = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_self(node.value)
    }
    assert reached - own - NAMED_TUPLE - DOORS.keys() == set()
    imported_names = {
        alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and _is_ours(f"{node.module}.")
        for alias in node.names
    }
    assert {name for name in imported_names if _is_private(name)} == set()


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


# -- commands --------------------------------------------------------------------------------


def test_commands_load_nothing_heavy() -> None:
    # What fetches data stands in their wing, and its help loads NumPy.
    code = f"""
import sys
import {", ".join(sorted(COMMANDS.keys() - {"search.data"}))}
from search import optimize
heavy = {{
    *("keras", "numpy", "optuna", "pandas", "scipy", "sklearn", "sqlalchemy", "tensorflow"),
}}
print(*{{name.split(".")[0] for name in sys.modules}} & heavy)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == []


def python_m(*words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_command_explains_itself() -> None:
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda module: python_m(module, "--help"), COMMANDS))
    listed = python_m("search").stdout
    for module, done in zip(COMMANDS, answers, strict=True):
        assert (done.returncode, done.stderr) == (0, ""), module
        assert "Usage:" in done.stdout
        assert f"python -m {module} " in listed


def test_the_quick_run_loads_nothing_heavy(pytestconfig: pytest.Config) -> None:
    """In the whole run there is nothing to see."""
    if pytestconfig.getoption("quick"):
        heavy = {"tensorflow", "jax", "keras", "selenium"} & set(sys.modules)
        assert heavy == set(), "name the file that loads it in SLOW, tests/conftest.py"


# -- what a stranger would trip over ---------------------------------------------------------

# In two halves, or this file would hold what it forbids.
FORBIDDEN = [
    *("/" + folder + "/" for folder in ("home", "work")),
    *(".".join(host) for host in (("registry", "npmjs", "org"), ("registry", "yarnpkg", "com"))),
    *(".".join(host) for host in (("pypi", "org"), ("pypi", "python", "org"))),
    ".".join(("files", "pythonhosted", "org")),
]


def test_no_file_names_a_machine_or_a_registry() -> None:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    pattern = re.compile("|".join(rf"(?<![\w.]){re.escape(text)}" for text in FORBIDDEN))
    paths = [path for name in listing.stdout.split("\0") if (path := ROOT / name).is_file()]
    assert len(paths) > 30
    found = {
        str(path.relative_to(ROOT)): hit.group()
        for path in paths
        if (hit := pattern.search(path.read_text(errors="replace")))
    }
    assert found == {}
