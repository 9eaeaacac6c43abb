"""Command lines that a page or a file shows, and the commands of ours that take them."""

import importlib
import re
import shlex
from collections.abc import Iterator, Sequence

import click


def shown(page: str) -> Iterator[list[str]]:
    """Yield the words of each command of ours that a page in Markdown shows, in the order there.

    It shows them in indented lines and between backticks, and comments behind them.
    """
    text = re.sub(r"(?s)```.*?```", "", page)
    spans = re.findall(r"(?m)^ {4,}\S.*$|`[^`]+`", text)
    for span in spans:
        if found := re.search(r"python -m\s+search\b.*", span.strip("` "), re.DOTALL):
            yield shlex.split(found.group(), comments=True)


def ours(words: Sequence[str]) -> bool:
    """Say whether a command line calls us."""
    return list(words[:2]) == ["python", "-m"] and words[2].startswith("search")


def parse(words: Sequence[str]) -> click.Context:
    """Have a command parse its line, ``python -m search.NAME ...``, as it does when it is called.

    Raises:
        click.UsageError: it refuses the line.

    """
    _python, _m, module, *arguments = words
    imported = importlib.import_module(module)
    if hasattr(imported, "__path__"):
        imported = importlib.import_module(f"{module}.__main__")
    found = vars(imported).values()
    (command,) = [one for one in found if isinstance(one, click.Command)]
    return command.make_context(module, arguments)
