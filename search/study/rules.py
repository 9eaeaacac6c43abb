"""What a study's settings may not say together, and what is to be warned of."""

from dataclasses import fields
from typing import Any

from search.errors import SpecError
from search.study.mlp import MLP
from search.study.recipe import BuildModel, Recipe, setting_names
from search.study.space import Choice, Space
from search.study.training import CLIPPINGS, OF_THE_STUDY, Training, check_chosen

# Setting -> the owner and the values of it that use the setting. Where the owner is searched, the
# trials with one of these values use the setting and the others ignore it.
_OWNERS: dict[str, tuple[str, set[Any]]] = {
    "momentum": ("optimizer", {"sgd"}),
    "nesterov": ("optimizer", {"sgd"}),
    "weight_decay": ("optimizer", {"adamw"}),
    "decay": ("schedule", {"exponential", "plateau"}),
    "plateau_epochs": ("schedule", {"plateau"}),
    "negative_slope": ("activation", {"leaky_relu"}),
    "maxout_pieces": ("activation", {"maxout"}),
    "batch_norm_after": ("batch_norm", {True}),
}


def _default(record: MLP | Training, name: str) -> Any:
    return next(field.default for field in fields(record) if field.name == name)


def check(model: MLP | BuildModel, training: Training, space: Space, sampler: str) -> None:
    """Refuse what a study's settings may not say together.

    Raises:
        SpecError: they contradict each other, or the space holds what no trial could use.

    """
    _check_owners(model, training, space)
    if isinstance(model, MLP):
        _check_mlp(model, space)
        check_chosen(space.names)
    _check_sampler(sampler, space)
    if isinstance(model, MLP):
        _check_limits(training, space)
    _check_corners(model, training, space)


def _check_mlp(model: MLP, space: Space) -> None:
    """Refuse to search what an MLP has not, or what it leaves nothing to choose of."""
    names = space.names
    known = setting_names(MLP) | setting_names(Training)
    if unknown := names - known:
        searchable = ", ".join(sorted(known - OF_THE_STUDY))
        raise SpecError(f"space: an MLP has no {min(unknown)}; it has {searchable}")
    if model.depth is None and (layers := names & {"depth", "width"}):
        raise SpecError(
            f"space: it searches {min(layers)}, but the model gives each layer's units; "
            "say MLP(depth=3, width=100) instead of hidden"
        )
    if space.values("alpha_dropout", model.alpha_dropout) != {False} and not (
        model.dropout or "dropout" in names
    ):
        raise SpecError("alpha_dropout says how to drop; say how much: dropout")


def _check_sampler(sampler: str, space: Space) -> None:
    """Refuse a space of which the sampler cannot draw."""
    for dimension in space.dimensions:
        choices = all(isinstance(one, Choice) for one in dimension.parameters.values())
        if sampler == "grid" and not choices:
            raise SpecError(
                "the sampler grid needs a list of choices for each hyperparameter, but "
                f"{dimension.name} has a range; list its values, or take the sampler random"
            )
    if sampler == "randomized" and not space.has_distribution:
        raise SpecError(
            "the sampler randomized needs a distribution for at least one hyperparameter: "
            "scikit-learn draws lists alone without replacement, as many as the budget has; "
            "take the sampler grid or random"
        )


def _check_limits(training: Training, space: Space) -> None:
    """Refuse several limits of a gradient of which nothing says which one applies."""
    limits = space.names & set(CLIPPINGS) | set(training.limits)
    if len(limits) > 1 and None in space.values("clipping", training.clipping):
        raise SpecError(
            f"space: {' and '.join(sorted(limits))} may be on at once; search clipping too, "
            "which says what applies, like ['clipnorm', 'clipvalue', 'none']"
        )


def _check_corners(model: MLP | BuildModel, training: Training, space: Space) -> None:
    """Refuse a space at whose ends no recipe is one."""
    for corner in space.corners():
        try:
            Recipe.of(corner, model, training)
        except SpecError as error:
            raise SpecError(f"space: {error}") from None


def _check_owners(model: MLP | BuildModel, training: Training, space: Space) -> None:
    """Refuse settings that no trial could use.

    With a model of one's own the keys are its author's, and so is what belongs to what.
    """
    records: list[Any] = [training]
    if isinstance(model, MLP):
        records.append(model)
    for record in records:
        for name, (owner, values) in _OWNERS.items():
            theirs = not isinstance(model, MLP) and {name, owner} & space.names
            if theirs or not hasattr(record, name):
                continue
            possible = space.values(owner, getattr(record, owner))
            named = name in space.names or getattr(record, name) != _default(record, name)
            if named and not values & possible:
                owners = sorted(owner if value is True else value for value in values)
                raise SpecError(
                    f"{name} belongs to {' and '.join(owners)}, which no trial has: "
                    f"{owner} is {' or '.join(map(str, possible))}"
                )


def selu_warnings(model: MLP | BuildModel, space: Space) -> list[str]:
    """What keeps each of the study's selu networks from normalizing itself, a line each.

    The conditions: Klambauer et al. 2017 (Self-Normalizing Neural Networks, sections 2 and 3).
    Layers that normalize take that over, and limits and penalties draw the weights away from
    those of mean 0 and variance 1 over the inputs that theorem 1 is about.
    """
    if not isinstance(model, MLP) or "selu" not in space.values("activation", model.activation):
        return []

    def values(name: str) -> set[Any]:
        return space.values(name, getattr(model, name))

    dropout = bool(values("dropout") - {None, 0})
    broken = {
        "with the initializer lecun_normal (or paired)": not values("initializer")
        & {"lecun_normal", "paired"},
        "with standardize=True": values("standardize") <= {False, "unit"}
        and True not in values("input_batch_norm"),
        "with alpha_dropout=True": dropout and True not in values("alpha_dropout"),
    }
    for name in ("batch_norm", "layer_norm", "l2", "max_norm"):
        broken[f"without {name}"] = not values(name) & {False, None}
    return [
        f"Warning: selu normalizes itself only {needed}."
        for needed, is_broken in broken.items()
        if is_broken
    ]
