"""What Keras is told on this machine: by its folder, in its settings, and of its backend.

Keras reads them when it is imported, which takes seconds. What it would stumble over is said
before, and by whom it was asked for.
"""

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

from search.errors import UsageError

_TAKEN = {
    "floatx": ("float16", "float32", "float64"),
    "image_data_format": ("channels_last", "channels_first"),
}
_MOST_SETTINGS = 2**20  # bytes


def keras_folder() -> Path:
    """Return the folder of Keras' settings and data sets, by the rules of Keras itself.

    See ``keras.src.backend.config``: a home that is not this account's to write to gives way to
    the folder for temporary files.
    """
    told = os.environ.get("KERAS_HOME")
    if told is not None:
        return _expanded(told)
    home = _expanded("~")
    return (home if os.access(home, os.W_OK) else Path("/tmp")) / ".keras"


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the account has no home, and then its sign stays
        return Path(path)


def asked_backend() -> tuple[str, str]:
    """Return the backend that Keras is asked to run on, and who asks, in words."""
    if name := os.environ.get("KERAS_BACKEND"):  # Keras, too, does not heed an empty one
        return name, f"KERAS_BACKEND is {name}"
    file, settings = _keras_json()
    name = str(settings.get("backend", "tensorflow"))
    return name, f"{file} asks for the backend {name}"


def check_backend() -> None:
    """Refuse what Keras cannot run on or with: its import would fail, and not say who asked.

    Raises:
        UsageError: this is such a backend, or such a setting.

    """
    name, asked = asked_backend()
    if name not in ("tensorflow", "jax"):
        raise UsageError(f"{asked}; search runs on tensorflow or jax: set KERAS_BACKEND=tensorflow")
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"{asked}, which is not installed; set KERAS_BACKEND=tensorflow")
    file, settings = _keras_json()
    for key, taken in _TAKEN.items():
        if key in settings and settings[key] not in taken:
            raise UsageError(
                f"{file} has {settings[key]!r} for {key}, and Keras takes {' or '.join(taken)} "
                "alone; change it there, or take the file away"
            )
    if not isinstance(settings.get("epsilon", 1e-7), float):
        raise UsageError(
            f"{file} has {settings['epsilon']!r} for epsilon, and Keras takes a number with a "
            "point alone, like 1e-07; change it there, or take the file away"
        )


def _keras_json() -> tuple[Path, dict[str, Any]]:
    """Return where Keras finds its settings, and those in it.

    Raises:
        UsageError: Keras would stumble over the file.

    """
    file = keras_folder() / "keras.json"
    try:
        there = file.exists()
        if there and not (file.is_file() and file.stat().st_size <= _MOST_SETTINGS):
            raise UsageError(
                f"{file} is no file of settings, and Keras would read it when it starts; take it "
                "away"
            )
        settings = json.loads(file.read_text()) if there else {}
    except ValueError:
        settings = {}  # Keras takes its defaults then, too
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read ({error.strerror or error}), which Keras does when it starts; "
            "take it away"
        ) from error
    if not isinstance(settings, dict):
        raise UsageError(
            f"{file} holds no settings by their names, as Keras has them; write {{}} into it, or "
            "take it away"
        )
    return file, settings
