"""What trials must have in common to be stacked: one compiled program serves one structure."""

from dataclasses import dataclass, fields

from search.errors import SpecError
from search.spec import MLP, Recipe, StudySpec


@dataclass(frozen=True)
class Structure:
    """The settings that shape a compiled program; all others may differ from lane to lane."""

    hidden: tuple[int, ...]
    standardize: bool
    batch_size: int
    optimizer: str
    nesterov: bool

    @classmethod
    def of(cls, recipe: Recipe) -> "Structure":
        """Return a recipe's structure.

        Raises:
            SpecError: the recipe's model is not an MLP.

        """
        if not isinstance(recipe.model, MLP):
            raise SpecError(_OWN_MODEL)
        model, training = recipe.model, recipe.training
        return cls(
            model.hidden,
            model.standardize,
            training.batch_size,
            training.optimizer,
            training.nesterov,
        )

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe of another structure.

        Raises:
            SpecError: the recipe cannot be trained beside those of this structure.

        """
        other = Structure.of(recipe)
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs:
                raise SpecError(
                    f"{field.name} is {theirs}, but the lanes were compiled for {ours}; all "
                    "trials in lanes share it: use --trainer fit"
                )


def why_not(spec: StudySpec) -> str | None:
    """Return why a study's trials cannot be stacked, in one line; None when they can be."""
    if not isinstance(spec.model, MLP):
        return _OWN_MODEL
    names = {dimension.name for dimension in spec.search_space.dimensions}
    searched = sorted(names & {field.name for field in fields(Structure)})
    if searched:
        return (
            f"the space searches {searched[0]}, which all trials in lanes share; "
            "fix it or use --trainer fit"
        )
    return None


_OWN_MODEL = "the study builds its own model, and lanes stack MLP only; use --trainer fit"
