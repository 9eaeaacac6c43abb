"""What is learned: classes or numbers."""

from enum import StrEnum
from typing import TypeAlias

Label: TypeAlias = str | bool | int | float  # what a user calls a class


class Task(StrEnum):
    """What a study's networks are to tell of an example."""

    CLASSIFICATION = "classification"  # to which class it belongs
    REGRESSION = "regression"  # a number
