"""What trials must have in common to be stacked: one compiled program serves one structure."""

from dataclasses import dataclass, fields, replace

from search.errors import SpecError
from search.lanes.gates import CURVES, OFF
from search.spec import MLP, Recipe, StudySpec, Training


@dataclass(frozen=True)
class Structure:
    """The settings that shape a compiled program; all others may differ from lane to lane."""

    hidden: tuple[int, ...]
    standardize: bool
    batch_size: int
    optimizer: str
    nesterov: bool
    features: frozenset[str] = frozenset()  # of `OFF`: each trial may do without them

    @classmethod
    def of(cls, recipe: Recipe) -> "Structure":
        """Return a recipe's structure.

        Raises:
            SpecError: the recipe's model is not an MLP.

        """
        if not isinstance(recipe.model, MLP):
            raise SpecError(_OWN_MODEL)
        if reason := _unstacked(recipe.model):
            raise SpecError(reason)
        model, training = recipe.model, recipe.training
        return cls(
            model.hidden,
            model.standardize,
            training.batch_size,
            training.optimizer,
            training.nesterov,
            _features(model, training),
        )

    @classmethod
    def of_study(cls, spec: StudySpec) -> "Structure":
        """Return the structure that serves all of a study's trials.

        Raises:
            SpecError: the study's trials cannot be stacked.

        """
        if reason := why_not(spec):
            raise SpecError(reason)
        structures = [cls.of(spec.recipe(corner)) for corner in spec.corners()]
        features = frozenset[str]().union(*(structure.features for structure in structures))
        return replace(structures[0], features=features)

    def check(self, recipe: Recipe) -> None:
        """Refuse a recipe of another structure.

        Raises:
            SpecError: the recipe cannot be trained beside those of this structure.

        """
        other = Structure.of(recipe)
        if more := sorted(other.features - self.features):
            raise SpecError(
                f"the lanes were compiled without {more[0]}, which the study does not name; "
                "use --trainer fit"
            )
        for field in fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours != theirs and field.name != "features":
                raise SpecError(
                    f"{field.name} is {theirs}, but the lanes were compiled for {ours}; all "
                    "trials in lanes share it: use --trainer fit"
                )


def _features(model: MLP, training: Training) -> frozenset[str]:
    """Return the techniques of `OFF` that a trial may use.

    Each follows from one setting alone: the corners of a study's space, in which one setting
    varies at a time, show all that any of its trials needs.
    """
    named = {
        model.activation: model.activation in CURVES,
        "clipvalue": training.clipvalue is not None,
        "global_clipnorm": training.global_clipnorm is not None,
        "dropout": model.dropout is not None,
        "seed": model.dropout is not None,
        "alpha_dropout": model.alpha_dropout,
        "batch_norm_momentum": model.batch_norm_momentum != OFF["batch_norm_momentum"],
        "l2": model.l2 is not None,
        "max_norm": model.max_norm is not None,
        "weight_decay": training.optimizer == "adamw",
    }
    return frozenset(name for name, is_named in named.items() if is_named)


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
    for corner in spec.corners():
        model = spec.recipe(corner).model
        if isinstance(model, MLP) and (reason := _unstacked(model)):
            return reason
    return None


def _unstacked(model: MLP) -> str | None:
    """Say what of a model lanes do not have; None when they have it all."""
    missing = {
        "batch_norm_after": model.batch_norm_after,
        "input_batch_norm": model.input_batch_norm,
        "layer_norm": model.layer_norm,
        "the activation prelu": model.activation == "prelu",
    }
    named = [name for name, is_named in missing.items() if is_named]
    return f"lanes do not have {named[0]}; use --trainer fit" if named else None


_OWN_MODEL = "the study builds its own model, and lanes stack MLP only; use --trainer fit"
