"""What trials must have in common to be stacked: one compiled program serves one structure."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from search.errors import SpecError
from search.lanes.optimizers import rule_of
from search.lanes.techniques import CURVES, named_by
from search.study.mlp import MLP
from search.study.recipe import Recipe
from search.study.space import Config
from search.study.spec import StudySpec
from search.study.stackable import OWN_MODEL, why_not


@dataclass(frozen=True)
class Structure:
    """The settings that shape a compiled program; all others may differ from lane to lane.

    Trials of equal structure are a group: they share programs and, on an accelerator, stacks.
    """

    hidden: tuple[int, ...]
    standardize: bool | str
    batch_size: int
    optimizer: str
    nesterov: bool
    features: frozenset[str] = frozenset()  # of `TECHNIQUES`: each trial may do without
    pieces: int = 1  # of each hidden unit; more than one with maxout only
    weighted: bool = False  # whether examples have weights in the loss; each trial may do without
    told: bool = False  # whether all answers are returned, for a score that is no mean over them

    @classmethod
    def of(cls, recipe: Recipe) -> "Structure":
        """Return a recipe's structure.

        Raises:
            SpecError: the recipe's model is not an MLP.

        """
        if not isinstance(recipe.model, MLP):
            raise SpecError(OWN_MODEL)
        model, training = recipe.model, recipe.training
        return cls(
            model.hidden,
            model.standardize,
            training.batch_size,
            training.optimizer,
            training.nesterov and training.optimizer == "sgd",
            named_by(model, training),
            model.pieces,
            training.class_weight is not None,
        )

    @classmethod
    def of_study(cls, spec: StudySpec) -> "Structure":
        """Return the largest structure of a study's trials, with the features of all of them.

        The largest has the longest and widest networks, batches and optimizer's memory of all.

        Raises:
            SpecError: the study's trials cannot be stacked.

        """
        if reason := why_not(spec):
            raise SpecError(reason)
        corners = list(spec.search_space.corners())
        possible = [cls.of(spec.recipe(corner)) for corner in corners]
        features = frozenset[str]().union(*(one.features for one in possible))
        weighted = any(one.weighted for one in possible)
        largest = dict(corners[0])
        for dimension in spec.search_space.dimensions:
            if size := _SIZES.get(dimension.name):
                largest[dimension.name] = max(dimension.extremes(), key=size)
        structure = cls.of(spec.recipe(Config(largest)))
        return replace(structure, features=features, weighted=weighted)

    def serving(self, recipe: Recipe) -> "Structure":
        """Return the structure of the program that trains a recipe, with this one's features.

        Raises:
            SpecError: the recipe cannot be trained in lanes, or not with these features.

        """
        own = Structure.of(recipe)
        more = sorted(own.features - self.features)
        if own.weighted and not self.weighted:
            more.append("class_weight")
        if more:
            raise SpecError(
                f"the lanes were compiled without {more[0]}, which the study does not name; "
                "use --trainer fit"
            )
        return replace(own, features=self.features, weighted=self.weighted).possible

    @property
    def possible(self) -> "Structure":
        """This structure with those of its features that a trial of it can have."""
        # The others a trial may switch off; these come with its optimizer, and without its
        # activation.
        others = set() if self.optimizer == "adamw" else {"weight_decay"}
        if self.pieces > 1:
            others |= {*CURVES, "prelu"}
        return replace(self, features=self.features - others)


# What makes a structure large, of what a study may search.
_SIZES: Mapping[str, Callable[[Any], float]] = {
    "hidden": lambda units: sum(before * one for before, one in pairwise((units[0], *units))),
    "depth": int,
    "width": int,
    "activation": "maxout".__eq__,
    "maxout_pieces": int,
    "batch_size": int,
    "optimizer": lambda name: rule_of(name, False)[1],
}


def structures_of(spec: StudySpec) -> float:
    """Return how many structures a study's trials may have; infinite where nobody can count."""
    names = {*_SIZES, "nesterov", "standardize"} - {"activation"}
    counts = [d.count for d in spec.search_space.dimensions if d.name in names]
    activations = (d for d in spec.search_space.dimensions if d.name == "activation")
    kinds = {value == "maxout" for dimension in activations for value in dimension.extremes()}
    return math.prod(counts) * max(1, len(kinds))
