"""What a model of the study's own is made of: all the code and the values that ``build`` reaches.

Each part has a digest of its own, so that a change of one can be named. Of the study's file these
are the functions, classes and values that ``build`` uses, and those that they use in turn; of the
files beside it that it imports, the whole files. The budget and the target stand in the study's
file too, and no model depends on them.
"""

import ast
import dis
import hashlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from search.errors import SpecError

LETTERS = 12  # of a digest; enough to tell versions of a file apart
FOLLOWED = 10_000  # so many objects and containers of a value are followed
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")
# What Keras notes of a layer when that is built, and where its names are counted up.
_PASSING = {
    *("build_config", "build_input_shape", "compile_config", "shared_object_id"),
    *("keras_history", "input_layers", "output_layers"),
}


def parts_of(build: Callable[..., Any]) -> dict[str, str]:
    """Return the digest of each part that a study's own model is made of, by its name.

    Raises:
        SpecError: it is no function whose source can be found.

    """
    if not callable(build):
        raise SpecError(
            f"model is a {type(build).__name__}; give MLP(...) or a function that takes a "
            "configuration and returns a Keras model"
        )
    try:
        inspect.getsource(build)
        file = inspect.getsourcefile(build)
    except (OSError, TypeError) as error:
        raise SpecError(
            f"model is {build!r}, whose source is not to be found; define it with def in the "
            "study's file"
        ) from error
    reached = _Reached(Path(file or "").resolve(), build.__module__)
    reached.add(getattr(build, "__name__", "build"), build)
    return dict(sorted(reached.parts.items()))


class _Reached:
    """What has been reached so far from a study's file."""

    def __init__(self, file: Path, module: str) -> None:
        self.parts: dict[str, str] = {}
        self._file, self._module = file, module
        self._seen: dict[int, object] = {}  # held, or another one may get its identity

    def add(self, name: str, thing: object) -> None:
        """Add a part, and all that it uses."""
        if id(thing) in self._seen and not isinstance(thing, str | int | float):
            return
        self._seen[id(thing)] = thing
        if isinstance(thing, ModuleType):
            self._add_file(getattr(thing, "__file__", None))
        elif isinstance(thing, FunctionType | type):
            self._add_code(name, thing)
        elif wrapped := _got(thing, "__wrapped__") or _got(thing, "__func__"):
            self.add(name, wrapped)
        else:
            self._note(name, self._values(thing))

    def _note(self, name: str, text: str) -> None:
        """Add to the part of a name: others may be called so elsewhere."""
        before = self.parts.get(name, "")
        self.parts[name] = _digest((before + text).encode())

    def _values(self, thing: object) -> str:
        """Return a value's text, and add the code that it holds: of classes the user's alone."""
        values = _Values()
        text = values.written(thing)
        for inner in values.inside:
            if not isinstance(inner, type) or self._is_own(inner):
                self.add(inner.__name__, inner)
        return text

    def _is_own(self, kind: type) -> bool:
        file = self._file_of(kind)
        return file is not None and (file == self._file or _is_beside(file, self._file.parent))

    def _add_code(self, name: str, thing: Any) -> None:
        """Add a function or a class: by its text in the study's file, by its file elsewhere."""
        functions = [thing] if isinstance(thing, FunctionType) else list(_methods(thing))
        file = self._file_of(thing)
        if file != self._file:
            if not self._add_file(file):
                self._note(name, f"{thing.__module__}.{thing.__qualname__}")
            return
        said = "" if isinstance(thing, FunctionType) else self._values(_attributes(thing))
        self._note(name, self._text_of(thing) + said)
        for base in getattr(thing, "__bases__", ()):
            if base.__module__ == thing.__module__:
                self.add(base.__name__, base)
        for function in functions:
            self._follow(name, function)

    def _file_of(self, thing: Any) -> Path | None:
        if isinstance(thing, FunctionType):
            return Path(thing.__code__.co_filename).resolve()
        if thing.__module__ == self._module:  # which need not be among those that are imported
            return self._file
        module = sys.modules.get(thing.__module__)
        file = getattr(module, "__file__", None)
        return Path(file).resolve() if file else None

    def _text_of(self, thing: Any) -> str:
        if isinstance(thing, FunctionType):
            return inspect.getsource(thing)
        source = self._file.read_text()
        found = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.ClassDef) and node.name == thing.__name__
        ]
        lines = source.splitlines()
        first = (min([node.lineno, *(one.lineno for one in node.decorator_list)]) for node in found)
        texts = (
            "\n".join(lines[start - 1 : node.end_lineno])
            for start, node in zip(first, found, strict=True)
        )
        return "\n".join(texts)

    def _follow(self, name: str, function: FunctionType) -> None:
        """Add what a function finds in its module, in what encloses it, and in its defaults."""
        for used in sorted(set(_globals(function.__code__))):
            if used in function.__globals__:
                self.add(used, function.__globals__[used])
        for module in sorted(set(_imports(function.__code__))):
            for file in _files_of(module, self._file.parent):
                self._add_file(file)
        free = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
        for used, cell in free:
            if used != "__class__" and _is_filled(cell):
                self.add(f"{name}.{used}", cell.cell_contents)
        defaults = (function.__defaults__, function.__kwdefaults__)
        if any(defaults):
            self.add(f"{name}.defaults", defaults)

    def _add_file(self, file: Path | str | None) -> bool:
        """Add a file beside the study's, and what it imports from there; say whether it is one."""
        if not file:
            return False
        path = Path(file).resolve()
        if path == self._file or not _is_beside(path, self._file.parent):
            return path == self._file
        name = path.relative_to(self._file.parent).as_posix()
        if name not in self.parts:
            content = path.read_bytes()
            self.parts[name] = _digest(content)
            for level, module in _imported(content):
                folder = [self._file.parent, *path.parents][level]
                for other in _files_of(module, folder):
                    self._add_file(other)
        return True


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:LETTERS]


def _is_beside(path: Path, folder: Path) -> bool:
    """Say whether a file is the user's, in the study's folder or below it."""
    if path.suffix != ".py" or not path.is_file() or not path.is_relative_to(folder):
        return False
    ours, libraries = Path(__file__).parents[1], {"site-packages", "dist-packages"}
    installed = path.is_relative_to(Path(sys.prefix).resolve())
    return not (installed or path.is_relative_to(ours) or libraries & set(path.parts))


def _methods(kind: type) -> Iterator[FunctionType]:
    for member in vars(kind).values():
        function = getattr(member, "__func__", getattr(member, "fget", member))
        function = inspect.unwrap(function) if callable(function) else function
        if isinstance(function, FunctionType):
            yield function


def _attributes(kind: type) -> dict[str, Any]:
    """Return what a class has besides its own methods, which its text shows."""
    own = {id(function) for function in _methods(kind) if function.__module__ == kind.__module__}
    return {
        name: member
        for name, member in vars(kind).items()
        if not name.startswith("__")
        and not isinstance(member, property | staticmethod | classmethod)
        and (id(member) not in own or not member.__qualname__.startswith(kind.__qualname__))
    }


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _globals(code: CodeType) -> Iterator[str]:
    for one in _codes(code):
        for step in dis.get_instructions(one):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                yield step.argval


def _imports(code: CodeType) -> Iterator[str]:
    for one in _codes(code):
        for step in dis.get_instructions(one):
            if step.opname == "IMPORT_NAME":
                yield step.argval


def _imported(content: bytes) -> Iterator[tuple[int, str]]:
    """Yield the names of the modules that a file imports, each behind the dots before it."""
    try:
        tree = ast.parse(content)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            front = f"{node.module}." if node.module else ""
            yield from ((node.level, f"{front}{alias.name}") for alias in node.names)


def _files_of(module: str, folder: Path) -> Iterator[Path]:
    """Yield the files that a module of this name would have in a folder, its packages' first."""
    parts = module.split(".")
    for length in range(1, len(parts) + 1):
        path = folder.joinpath(*parts[:length])
        yield from (path / "__init__.py", path.with_suffix(".py"))


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True


class _Values:
    """The texts of values: the same in every process, and each object's once."""

    def __init__(self) -> None:
        self.inside: list[Any] = []  # the functions, classes and modules that have been met
        self._seen: dict[int, object] = {}  # by identity, which is theirs while they are held

    def written(self, thing: object) -> str:
        """Return a value's text, and remember the code that it holds."""
        if isinstance(thing, FunctionType | type | ModuleType):
            self.inside.append(thing)
            return getattr(thing, "__qualname__", thing.__name__)
        if isinstance(thing, str | bytes | bool | int | float | complex | None):
            return repr(thing)
        if id(thing) in self._seen or len(self._seen) > FOLLOWED:
            return type(thing).__qualname__
        self._seen[id(thing)] = thing
        if isinstance(thing, Mapping):
            items = (f"{self.written(key)}: {self.written(one)}" for key, one in thing.items())
            return f"{{{', '.join(items)}}}"
        if isinstance(thing, list | tuple):
            return f"[{', '.join(map(self.written, thing))}]"
        if isinstance(thing, set | frozenset):
            return f"{{{', '.join(sorted(map(self.written, thing)))}}}"
        if (bytes_of := _got(thing, "tobytes")) and (kind := _got(thing, "dtype")) is not None:
            return f"{kind} {_got(thing, 'shape') or ()} {_digest(bytes_of())}"
        return self._of_object(thing)

    def _of_object(self, thing: object) -> str:
        kind = type(thing)
        if kind.__module__ != "builtins":
            self.inside.append(kind)
        made_of = _made_of(thing)
        if made_of is not None:
            return f"{kind.__qualname__} {self.written(made_of)}"
        return _said_of(thing) or kind.__qualname__


def _got(thing: object, name: str) -> Any:
    """Return an attribute; nothing where there is none, or its author's code fails over it."""
    with suppress(Exception):
        return getattr(thing, name)
    return None


def _said_of(thing: object) -> str:
    """Return an object's own text; an empty one where that is another one in each process."""
    with suppress(Exception):
        text = repr(thing)
        return "" if _ADDRESS.search(text) else text
    return ""


def _made_of(thing: Any) -> Mapping[str, Any] | None:
    """Return what makes an object the one it is; nothing where its text says that.

    The text of a layer says whether it is built, and has a name that Keras counts up: other things
    in each process. A loss need not tell all that its function is given.
    """
    if isinstance(thing, partial):
        return {"func": thing.func, "args": thing.args, "keywords": thing.keywords}
    with suppress(Exception):
        if isinstance(config := thing.get_config(), Mapping):
            given = {"given": getattr(thing, "_fn_kwargs", None)}
            return {**_lasting(config), **given, **_learned(thing)}
    with suppress(Exception):
        return None if _said_of(thing) else dict(vars(thing))
    return None


def _learned(layer: Any) -> Mapping[str, Any]:
    """Return what a layer brings along that no training changes: frozen, or adapted to data.

    All else is drawn at random, in each process anew.
    """
    weights = [one.numpy() for one in _got(layer, "non_trainable_weights") or ()]
    return {"weights": weights} if weights else {}


def _lasting(config: Any) -> Any:
    """Return a configuration of Keras' without what differs from process to process."""
    if isinstance(config, Mapping):
        kept = {name: _lasting(value) for name, value in config.items() if name not in _PASSING}
        if isinstance(name := kept.get("name"), str):
            kept["name"] = re.sub(r"_\d+$", "", name)
        return kept
    return [_lasting(one) for one in config] if isinstance(config, list | tuple) else config
