"""How a message shows the values of data: in few letters."""

import numpy as np

LENGTH = 40  # characters of a value in a message


def quoted(value: object) -> str:
    """Return a value of a table as a message shows it, in few letters."""
    return shortened(repr(value.item() if isinstance(value, np.generic) else value))


def shortened(text: str) -> str:
    """Return the beginning of a text, all of it where it is short."""
    return text if len(text) <= LENGTH else f"{text[: LENGTH - 3]}..."
