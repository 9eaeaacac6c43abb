"""The reference of all settings, docs/settings.md, made of the code and the comments beside it.

    python -m tests.reference --write

writes it anew. A setting without a comment is a mistake, for the reference would not explain it.
"""

import ast
import inspect
import io
import sys
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, fields
from functools import cache
from pathlib import Path
from types import ModuleType

from search import MLP, Confirm, StudySpec, Table, Training
from search.errors import SpecError
from search.study import metric, mlp, spec, training

PAGE = Path(__file__).parents[1] / "docs/settings.md"

RECORDS = {
    StudySpec: "All that defines a study, in the order of its file.",
    Table: "A table as `StudySpec.data`, [data.md](data.md#tables); `source` comes first, unnamed.",
    MLP: "The network, unless a study builds one of its own.",
    Training: "How one configuration is trained.",
    Confirm: "How the winner is proven.",
}
# What a setting of a few words may be: title, module and the tuple there, and where it is used.
NAMES: tuple[tuple[str, ModuleType, str, str], ...] = (
    ("Scores", metric, "SCORES", "`StudySpec.metric`, each as scikit-learn defines it"),
    ("Samplers", spec, "SAMPLERS", "`StudySpec.sampler`"),
    ("Pruners", spec, "PRUNERS", "`StudySpec.pruner`"),
    ("Activations", mlp, "ACTIVATIONS", "`MLP.activation`; *z* is what the layer computes"),
    ("Initializers", mlp, "INITIALIZERS", "`MLP.initializer`; inputs and outputs are the layer's"),
    ("Optimizers", training, "OPTIMIZERS", "`Training.optimizer`"),
    ("Schedules", training, "SCHEDULES", "`Training.schedule`, of the learning rate"),
    ("Clippings", training, "CLIPPINGS", "`Training.clipping`"),
)
INTRODUCTION = """\
# Settings

`python -m tests.reference --write` makes this page of the code; a test holds it to the code.
A study is written with six names,
`from search import MLP, Confirm, StudySpec, Table, Training, off_or`; the [README](../README.md)
shows a whole one, the [glossary](glossary.md) explains the words, and [data.md](data.md) says what
`data` may be.

A key of `space` that names a setting of `MLP` or `Training` is searched: each trial has a value of
its own. The value of a key is a list of choices, a frozen `scipy.stats` distribution, or
`off_or(distribution)`, whose value may also be `None`. A trial must not choose how long it runs or
how it is judged, so these settings are the study's and cannot be searched:
{fixed}.

The sources of these techniques stand in the docstrings of the modules that implement them.
"""


def reference() -> str:
    """Return the page."""
    fixed = ", ".join(f"`{name}`" for name in _fixed())
    parts = [INTRODUCTION.format(fixed=fixed)]
    parts += [_record(record, text) for record, text in RECORDS.items()]
    parts += [_names(*one) for one in NAMES]
    return "\n".join(parts)


def _record(record: type, text: str) -> str:
    written = dict(_settings(record))
    rows = []
    for one in fields(record):
        kind, comment = map(_cell, written[one.name])
        rows.append(f"| `{one.name}` | `{kind}` | {_default(one)} | {comment} |")
    head = ["| setting | type | default | what it is |", "|---|---|---|---|"]
    return "\n".join([f"## {record.__name__}\n\n{text}\n", *head, *rows, ""])


def _names(title: str, module: ModuleType, name: str, use: str) -> str:
    comments = _comments_of_items(module, name)
    rows = [f"| `{value}` | {_cell(comments[value])} |" for value in getattr(module, name)]
    return "\n".join([f"## {title}\n\n{use}.\n", "| name | what it does |", "|---|---|", *rows, ""])


def _default(field: "Field[object]") -> str:
    if field.default is not MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is MISSING:
        return "must be given"
    made = field.default_factory()
    return f"`{made!r}`" if isinstance(made, Mapping) else f"`{type(made).__name__}()`"


def _cell(text: str) -> str:
    """Return a text as a table's cell has it."""
    return text.replace("``", "`").replace("|", "\\|")


def _fixed() -> Iterator[str]:
    """Yield the settings that a study refuses to search."""
    for record in (MLP, Training):
        for name in (one.name for one in fields(record)):
            layers = MLP(depth=1, width=1) if name in ("depth", "width") else MLP(hidden=(1,))
            training = Training(epochs=1)
            try:
                StudySpec(
                    name="any",
                    data="blobs",
                    space={name: [None]},
                    model=layers,
                    training=training,
                    trials=1,
                )
            except SpecError as error:
                if "a setting of the study" in str(error):
                    yield name


# -- comments --------------------------------------------------------------------------------


def _settings(record: type) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each field's name, with its type and its comment as they are written."""
    module = inspect.getmodule(record)
    assert module is not None
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ClassDef) and node.name == record.__name__:
            for part in node.body:
                # A field without a letter in its name is the mark behind which all are named.
                if isinstance(part, ast.AnnAssign) and ast.unparse(part.target).strip("_"):
                    assert isinstance(part.target, ast.Name)
                    yield part.target.id, (ast.unparse(part.annotation), _beside(module, part))


def _comments_of_items(module: ModuleType, name: str) -> dict[str, str]:
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            assert isinstance(node.value, ast.Tuple)
            items = [one for one in node.value.elts if isinstance(one, ast.Constant)]
            return {str(one.value): _beside(module, one) for one in items}
    raise LookupError(f"{module.__name__} has no tuple {name}")


def _beside(module: ModuleType, node: ast.stmt | ast.expr) -> str:
    """Return the comment that begins on a node's last line, with the lines that go on with it."""
    lines, comments = inspect.getsource(module).splitlines(), _comments(module)
    assert node.end_lineno is not None
    line = node.end_lineno
    said: list[str] = []
    while line in comments and (not said or lines[line - 1].lstrip().startswith("#")):
        said.append(comments[line])
        line += 1
    assert said, f"{module.__name__}, line {node.lineno}: {ast.unparse(node)} has no comment"
    return " ".join(said)


@cache
def _tree(module: ModuleType) -> ast.Module:
    return ast.parse(inspect.getsource(module))


@cache
def _comments(module: ModuleType) -> dict[int, str]:
    """Return the comments of a module, line -> text."""
    tokens = tokenize.generate_tokens(io.StringIO(inspect.getsource(module)).readline)
    return {
        one.start[0]: one.string.removeprefix("#").strip()
        for one in tokens
        if one.type == tokenize.COMMENT
    }


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("Usage: python -m tests.reference --write")
    PAGE.write_text(reference())
