"""Values, configurations and time spans as a person reads them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from search.study.space import Config

if TYPE_CHECKING:  # the report's command shares this module, and --help needs no Optuna
    pass


def describe(config: Config | Mapping[str, Any]) -> str:
    """Return a configuration in one short line."""
    return ", ".join(f"{name} {shown(value)}" for name, value in config.items())


def shown(value: Any) -> str:
    """Return a hyperparameter's value as a person wants to read it."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def clock(seconds: float) -> str:
    """Return a time span as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
