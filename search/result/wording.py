"""Values, configurations and time spans as a person reads them."""

import re
from collections.abc import Mapping
from typing import Any

from search.errors import printable
from search.study.space import Config

# What begins markup in Markdown wherever it stands; an underscore does so beside a word only, and
# a colon before slashes makes a link.
_MARKUP = re.compile(r"[\\`*<>\[\]|&~]|(?<!\w)_|_(?!\w)|:(?=//)")


def describe(config: Config | Mapping[str, Any]) -> str:
    """Return a configuration in one short line."""
    return ", ".join(f"{name} {shown(value)}" for name, value in config.items())


def shown(value: Any) -> str:
    """Return a hyperparameter's value as a person wants to read it."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value)) or '""'


def escaped(text: str) -> str:
    """Return a text so that Markdown shows it as it is, in one line."""
    return _MARKUP.sub(r"\\\g<0>", printable(text))


def clock(seconds: float) -> str:
    """Return a time span as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
