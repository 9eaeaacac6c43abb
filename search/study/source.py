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
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

from search.errors import SpecError

LETTERS = 12  # of a digest; enough to tell versions of a file apart


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
        self._seen: set[int] = set()

    def add(self, name: str, thing: object) -> None:
        """Add a part, and all that it uses."""
        if id(thing) in self._seen and not isinstance(thing, str | int | float):
            return
        self._seen.add(id(thing))
        if isinstance(thing, ModuleType):
            self._add_file(getattr(thing, "__file__", None))
        elif isinstance(thing, FunctionType | type):
            self._add_code(name, thing)
        elif wrapped := getattr(thing, "__wrapped__", None) or getattr(thing, "__func__", None):
            self.add(name, wrapped)
        else:
            self.parts[name] = _digest(_written(thing).encode())
            for inner in _inside(thing):
                self.add(inner.__name__, inner)

    def _add_code(self, name: str, thing: Any) -> None:
        """Add a function or a class: by its text in the study's file, by its file elsewhere."""
        functions = [thing] if isinstance(thing, FunctionType) else list(_methods(thing))
        file = self._file_of(thing)
        if file != self._file:
            if not self._add_file(file):
                self.parts[name] = _digest(f"{thing.__module__}.{thing.__qualname__}".encode())
            return
        self.parts[name] = _digest(self._text_of(thing).encode())
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
            for module in _imported(content):
                for other in _files_of(module, self._file.parent):
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


def _imported(content: bytes) -> Iterator[str]:
    """Yield the names of the modules that a file imports."""
    try:
        tree = ast.parse(content)
    except SyntaxError:
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


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


def _written(thing: object) -> str:
    """Return a value in a text that is the same in every process."""
    if isinstance(thing, Mapping):
        return f"{{{', '.join(f'{key!r}: {_written(value)}' for key, value in thing.items())}}}"
    if isinstance(thing, list | tuple):
        return f"[{', '.join(map(_written, thing))}]"
    if isinstance(thing, set | frozenset):
        return f"{{{', '.join(sorted(map(_written, thing)))}}}"
    if hasattr(thing, "tobytes") and hasattr(thing, "dtype"):
        return f"{thing.dtype} {getattr(thing, 'shape', ())} {_digest(thing.tobytes())}"
    text = repr(thing)
    return type(thing).__qualname__ if re.search(r"\b0x[0-9a-f]+", text) else text


def _inside(thing: object) -> Iterator[Any]:
    """Yield the functions, classes and modules that a container holds."""
    if isinstance(thing, FunctionType | type | ModuleType):
        yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from _inside(value)
    elif isinstance(thing, list | tuple | set | frozenset):
        for value in thing:
            yield from _inside(value)
