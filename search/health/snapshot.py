"""Gradient health: what was measured of a trial's layers.

A `Snapshot` holds the measures of every layer at one moment of a trial, a `Health` all snapshots
of a trial. How the measures are measured is said in `search.health.measures`, and what they show
`search.health.verdict` puts into a sentence; here they are only numbers.
"""

import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any

# Klambauer et al. 2017, theorem 1: a selu layer with normalized weights maps means and variances
# within these bounds to such, and draws them towards mean 0 and variance 1.
MEANS = (-0.1, 0.1)
VARIANCES = (0.8, 1.5)
DIGITS = 4  # significant ones of what is stored: more than any of the measures is good for
SMALLEST_KEPT = 2.0**-126  # float32's smallest normal number: a norm of zero counts as this


@dataclass(frozen=True)
class LayerHealth:
    """One layer on one batch. Measures without a unit are ratios or plain numbers.

    The output layer's activation is left out, so its outputs are its pre-activations.
    """

    gradient_norm: float  # of the loss's gradient in the kernel, before clipping; nats
    weight_norm: float  # of the kernel
    update_ratio: float  # length of the next step on this batch to the kernel's
    delta_norm: float  # of the loss's gradient in the pre-activations; nats
    pre_mean: float  # of the pre-activations, over batch and units
    pre_std: float
    mean: float  # of the outputs, over batch and units
    std: float
    dead: float  # share of units with constant output and zero derivative on the whole batch
    saturated: float  # share of (example, unit) on the flat part of sigmoid, tanh, elu or selu

    @property
    def distance(self) -> float:
        """How far the outputs are from self-normalization, mean 0 and variance 1.

        The Euclidean distance from the fixed point (0, 1) in the plane of mean and variance in
        which Klambauer et al. 2017 (Self-Normalizing Neural Networks, section 2) follow a layer's
        outputs: ``sqrt(mean**2 + (std**2 - 1)**2)``.
        """
        return math.hypot(self.mean, self.std**2 - 1)

    @property
    def self_normalized(self) -> bool:
        """Whether mean and variance are where theorem 1 of that paper keeps them."""
        within = MEANS[0] <= self.mean <= MEANS[1]
        return within and VARIANCES[0] <= self.std**2 <= VARIANCES[1]

    @property
    def finite(self) -> bool:
        """Whether every measure is a finite number."""
        return all(map(math.isfinite, astuple(self)))


MEASURES = tuple(field.name for field in fields(LayerHealth))


@dataclass(frozen=True)
class Snapshot:
    """All layers at one moment of a trial."""

    epoch: int  # epochs done; 0 is before the first step
    layers: tuple[LayerHealth, ...]  # from the input to the output
    clipped: float | None = None  # share of the epoch's steps that clipping shortened; None = off
    # Quantiles of the output layer's weights, evenly spaced from the least to the largest; none
    # where the model has no such layer.
    weights: tuple[float, ...] = ()
    # The batch's mean loss by batch statistics and with dropout, as a step sees it, and by moving
    # statistics and without, as the finished model does; NaN where it was not measured.
    training_loss: float = math.nan
    inference_loss: float = math.nan

    @property
    def moment(self) -> str:
        """When in the trial it was, in words."""
        return f"after epoch {self.epoch}" if self.epoch else "before the first step"

    @classmethod
    def of(
        cls,
        measures: Iterable[Iterable[float]],
        weights: Iterable[float],
        losses: Iterable[float],
    ) -> "Snapshot":
        """Return what was measured, before the first step as far as this knows.

        All is rounded to what is stored of it, so that what comes back is what was there.

        Args:
            measures: ``[measure, layer]``, ordered as `MEASURES`.
            weights: quantiles of the output layer's weights.
            losses: of training and of inference.

        """
        columns = [map(_short, row) for row in measures]
        layers = tuple(LayerHealth(*layer) for layer in zip(*columns, strict=True))
        return cls(0, layers, None, tuple(map(_short, weights)), *map(_short, losses))

    @property
    def hidden(self) -> tuple[LayerHealth, ...]:
        """All layers but the output's."""
        return self.layers[:-1]

    @property
    def slope(self) -> float | None:
        """How the gradient changes with depth, in decades a layer towards the input.

        The least-squares slope of ``log10(delta_norm)`` over the hidden layers: negative where
        gradients vanish on their way to the input, positive where they explode. The gradient in the
        pre-activations is what is passed on from layer to layer (Hochreiter 1991; Glorot and
        Bengio 2010, figure 7); the kernels' gradients hide the change where a layer's inputs grow
        as its gradient shrinks. None with fewer than two hidden layers, and where a norm is not
        finite.
        """
        norms = [layer.delta_norm for layer in self.hidden]
        if len(norms) < 2 or not all(map(math.isfinite, norms)):
            return None
        towards_input = range(0, -len(norms), -1)
        decades = [math.log10(max(norm, SMALLEST_KEPT)) for norm in norms]
        return statistics.linear_regression(towards_input, decades).slope

    @property
    def decades(self) -> float:
        """The gradient's fitted change from the last hidden layer to the first, in decades."""
        return (self.slope or 0.0) * (len(self.hidden) - 1)

    @property
    def finite(self) -> bool:
        """Whether every layer's measures are finite numbers."""
        return all(layer.finite for layer in self.layers)


@dataclass(frozen=True)
class Health:
    """A trial's snapshots, in the order of their epochs."""

    snapshots: tuple[Snapshot, ...] = ()
    diverged_step: int | None = None  # from 1, the first whose loss was not finite

    def after(self, snapshot: Snapshot, diverged_step: int | None) -> "Health":
        """Return the health with one more snapshot."""
        return Health((*self.snapshots, snapshot), diverged_step)

    @property
    def clipped(self) -> float | None:
        """Share of steps, over the epochs that were looked at, that clipping shortened."""
        shares = [s.clipped for s in self.snapshots if s.clipped is not None]
        return statistics.fmean(shares) if shares else None

    def to_json(self) -> dict[str, Any]:
        """Return all curves: for each snapshot a list of each measure, by layer.

        JSON has no number for what is not finite; it is stored as null and read as NaN.
        """
        return {
            "diverged_step": self.diverged_step,
            "snapshots": [
                {
                    "epoch": snapshot.epoch,
                    "clipped": rounded(snapshot.clipped),
                    "weights": list(map(rounded, snapshot.weights)),
                    "training_loss": rounded(snapshot.training_loss),
                    "inference_loss": rounded(snapshot.inference_loss),
                }
                | {name: [rounded(getattr(y, name)) for y in snapshot.layers] for name in MEASURES}
                for snapshot in self.snapshots
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Health":
        """Return what `to_json` gave."""
        return cls(tuple(map(_snapshot, stored["snapshots"])), stored["diverged_step"])


def rounded(value: float | None) -> float | None:
    """Return a number as it is stored; None for one that is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return _short(value)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _snapshot(stored: Mapping[str, Any]) -> Snapshot:
    columns = [list(map(_number, stored[name])) for name in MEASURES]
    return Snapshot(
        epoch=stored["epoch"],
        layers=tuple(LayerHealth(*measures) for measures in zip(*columns, strict=True)),
        clipped=stored["clipped"],
        weights=tuple(map(_number, stored.get("weights", ()))),
        training_loss=_number(stored.get("training_loss")),
        inference_loss=_number(stored.get("inference_loss")),
    )


def _number(stored: float | None) -> float:
    return math.nan if stored is None else stored
