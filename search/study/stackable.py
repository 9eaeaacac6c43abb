"""Whether lanes can stack a study's trials, which a command is told before it loads any of it."""

from search.errors import SpecError
from search.study.mlp import MLP
from search.study.spec import StudySpec


def why_not(spec: StudySpec) -> str | None:
    """Return why a study's trials cannot be stacked, in one line; None when they can be."""
    return None if isinstance(spec.model, MLP) else OWN_MODEL


def check_lanes(spec: StudySpec, kind: str, lanes: int | None) -> None:
    """Refuse a trainer or a number of lanes that cannot serve a study's models.

    Raises:
        SpecError: it is such a one.

    """
    reason = why_not(spec)
    if reason and (kind == "lanes" or (lanes or 1) > 1):
        raise SpecError(f"no lanes: {reason}")
    if kind == "fit" and (lanes or 1) > 1:
        raise SpecError("the fit trainer has one lane; leave out --lanes or use lanes")


OWN_MODEL = "the study builds its own model, and lanes stack MLP only; use --trainer fit"
