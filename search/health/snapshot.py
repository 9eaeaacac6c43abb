"""Gradient health: what was measured of a trial's layers, and what that says about the trial.

A `Snapshot` holds the figures of every layer at one moment of a trial, a `Health` all snapshots
of a trial, and `judge` puts into one sentence what they show. How the figures are measured is said
in `search.health.measures`; here they are only numbers.
"""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from enum import StrEnum
from typing import Any, TypeAlias

# Klambauer et al. 2017, theorem 1: a selu layer with normalized weights maps means and variances
# within these bounds to such, and draws them towards mean 0 and variance 1.
MEANS = (-0.1, 0.1)
VARIANCES = (0.8, 1.5)
DIGITS = 4  # significant ones of what is stored: more than any of the figures is good for
SMALLEST = 2.0**-126  # float32's smallest normal number: a norm of zero counts as this

LOOK_BATCH = 256  # validation examples, the first, that all trials are looked at with

# Whether to look at a trial after so many epochs, and whether these were its last.
Cadence: TypeAlias = Callable[[int, bool], bool]


def at_rungs(epoch: int, over: bool) -> bool:
    """Look before the first step, after epochs 1, 3, 9, 27, ..., asha's rungs, and at the end."""
    while epoch > 1 and epoch % 3 == 0:
        epoch //= 3
    return over or epoch in (0, 1)


def never(_epoch: int, _over: bool) -> bool:
    """Do not look."""
    return False


@dataclass(frozen=True)
class LayerHealth:
    """One layer on one batch. Figures without a unit are ratios or plain numbers.

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
    weight_mean: float  # of the kernel's weights
    weight_std: float
    weight_low: float  # the least of them
    weight_high: float

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
        """Whether every figure is a finite number."""
        return all(map(math.isfinite, astuple(self)))


FIGURES = tuple(field.name for field in fields(LayerHealth))


def layers_of(figures: Iterable[Iterable[float]]) -> tuple["LayerHealth", ...]:
    """Return the layers of measured figures, ``[figure, layer]``.

    They are rounded to what is stored of them, so that what comes back is what was there.
    """
    columns = [[_short(value) for value in row] for row in figures]
    return tuple(LayerHealth(*layer) for layer in zip(*columns, strict=True))


@dataclass(frozen=True)
class Snapshot:
    """All layers at one moment of a trial."""

    epoch: int  # epochs done; 0 is before the first step
    layers: tuple[LayerHealth, ...]  # from the input to the output
    clipped: float | None = None  # share of the epoch's steps that clipping shortened; None = off

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
        decades = [math.log10(max(norm, SMALLEST)) for norm in norms]
        return statistics.linear_regression(towards_input, decades).slope

    @property
    def decades(self) -> float:
        """The gradient's fitted change from the last hidden layer to the first, in decades."""
        return (self.slope or 0.0) * (len(self.hidden) - 1)

    @property
    def finite(self) -> bool:
        """Whether every layer's figures are finite numbers."""
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
        """Return all curves: for each snapshot a list of each figure, by layer.

        JSON has no number for what is not finite; it is stored as null and read as NaN.
        """
        return {
            "diverged_step": self.diverged_step,
            "snapshots": [
                {"epoch": snapshot.epoch, "clipped": _rounded(snapshot.clipped)}
                | {name: [_rounded(getattr(y, name)) for y in snapshot.layers] for name in FIGURES}
                for snapshot in self.snapshots
            ],
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Health":
        """Return what `to_json` gave."""
        return cls(tuple(map(_snapshot, stored["snapshots"])), stored["diverged_step"])


class Kind(StrEnum):
    """What a trial's gradients are like."""

    HEALTHY = "healthy"
    VANISHING = "vanishing"
    EXPLODING = "exploding"
    DYING = "dying units"
    SATURATED = "saturated"
    CLIPPED = "clipped throughout"  # to steps that are too short
    DIVERGED = "diverged"


@dataclass(frozen=True)
class Verdict:
    """What a trial's health comes to."""

    kind: Kind
    reason: str  # one sentence, with the numbers
    hopeless: bool = False  # whether no further training can help, so that pruning is safe


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where a verdict begins."""

    # One learning rate serves all layers: with gradients a hundredfold apart, the rate at which
    # one end learns leaves the other where it is, or breaks it.
    decades: float = 2.0
    # Steps of a thousandth of the weights are usual; a step as long as the weights replaces them.
    update_ratio: float = 1.0
    # Half of a relu layer's (example, unit) are zero by design, but hardly ever the same unit on
    # every example: a few percent of units are. With half of them gone the layer is another one.
    dead: float = 0.5
    # With outputs of mean 0 and variance 1, some 3 % of tanh and 0.1 % of selu are flat.
    saturated: float = 0.5
    # Clipping now and then is what it is for; clipping always gives every step the same length.
    clipped: float = 0.95
    # Steps of one length train well (Hazan, Levy and Shalev-Shwartz 2015, Beyond Convexity,
    # normalized gradient descent), unless that length leaves the network where it is. At a
    # hundredth of the usual thousandth, 1e5 steps in one direction make one weight's length.
    shortened: float = 1e-5
    # float32 rounds a change of less than this share of a weight away.
    rounding: float = 2.0**-24


def judge(health: Health, thresholds: Thresholds | None = None) -> Verdict:
    """Say what a trial's gradients are like, as far as the trial has come.

    Layers are judged by the latest snapshot, since training heals what initialization spoils, and
    the other way round. Where several verdicts apply, the one that explains the others is given.
    """
    limits = thresholds or Thresholds()
    if health.diverged_step is not None:
        reason = f"The loss was no longer finite at step {health.diverged_step:,}."
        return Verdict(Kind.DIVERGED, reason, hopeless=True)
    if not health.snapshots or not health.snapshots[-1].layers:
        return Verdict(Kind.HEALTHY, "No layer was measured.")
    latest = health.snapshots[-1]
    if not latest.finite:
        reason = f"A weight, an output or a gradient is no longer finite {_when(latest)}."
        return Verdict(Kind.DIVERGED, reason, hopeless=latest.epoch > 0)
    for rule in (_exploding, _dying, _vanishing, _saturated):
        if verdict := rule(latest, limits):
            return verdict
    if health.clipped is None or health.clipped < limits.clipped:
        return Verdict(Kind.HEALTHY, _well(latest))
    said = f"Clipping shortened a gradient on {health.clipped:.0%} of the steps"
    number, layer = _worst(latest.layers, "update_ratio")
    if layer.update_ratio < limits.shortened:
        return Verdict(
            Kind.CLIPPED,
            f"{said}, and what is left changes no layer by more than {layer.update_ratio:.1g} of "
            f"its weights, layer {number}'s, {_when(latest)}.",
        )
    return Verdict(
        Kind.HEALTHY,
        f"{_well(latest)} {said}; a step still is {layer.update_ratio:.1g} of the "
        f"weights of layer {number}.",
    )


def summary(health: Health, thresholds: Thresholds | None = None) -> dict[str, Any]:
    """Return the verdict and a few key numbers of the latest snapshot, to filter and colour by.

    ``slope`` is in decades a layer towards the input; the others are those of the worst layer.
    """
    verdict = judge(health, thresholds)
    values: dict[str, Any] = {"verdict": str(verdict.kind), "verdict_reason": verdict.reason}
    if health.diverged_step is not None:
        values["diverged_step"] = health.diverged_step
    if health.snapshots and (layers := health.snapshots[-1].layers):
        values |= {
            "slope": _rounded(health.snapshots[-1].slope),
            "update_ratio": _rounded(max(layer.update_ratio for layer in layers)),
            "dead": _rounded(max(layer.dead for layer in layers)),
            "saturated": _rounded(max(layer.saturated for layer in layers)),
            "distance": _rounded(max((y.distance for y in layers[:-1]), default=math.nan)),
            "clipped": _rounded(health.clipped),
        }
    return values


def _exploding(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    if latest.decades >= limits.decades:
        return Verdict(
            Kind.EXPLODING,
            f"The gradient grows {_times(latest.decades)} from the last hidden layer to the first, "
            f"{latest.slope:.2g} decades a layer, {_when(latest)}.",
        )
    number, layer = _worst(latest.layers, "update_ratio")
    if layer.update_ratio >= limits.update_ratio:
        return Verdict(
            Kind.EXPLODING,
            f"A step is {layer.update_ratio:.3g} times as long as the weights of layer {number} "
            f"{_when(latest)}.",
        )
    return None


def _dying(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    number, layer = _worst(latest.layers, "dead")
    if layer.dead < limits.dead:
        return None
    return Verdict(
        Kind.DYING,
        f"{layer.dead:.0%} of the units of layer {number} give the same on every example and "
        f"pass no gradient {_when(latest)}.",
        # Behind a layer without a living unit every example looks the same.
        hopeless=layer.dead == 1 and latest.epoch > 0,
    )


def _vanishing(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    if latest.decades > -limits.decades:
        return None
    first = latest.layers[0].update_ratio
    return Verdict(
        Kind.VANISHING,
        f"The gradient shrinks {_times(-latest.decades)} from the last hidden layer to the first, "
        f"{-(latest.slope or 0):.2g} decades a layer, {_when(latest)}; a step changes the first "
        f"layer by {first:.1g} of its weights.",
        hopeless=first < limits.rounding and latest.epoch > 0,
    )


def _saturated(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    number, layer = _worst(latest.layers, "saturated")
    if layer.saturated < limits.saturated:
        return None
    return Verdict(
        Kind.SATURATED,
        f"{layer.saturated:.0%} of layer {number} lie on the flat part of the activation "
        f"{_when(latest)}.",
    )


def _well(latest: Snapshot) -> str:
    dead = _worst(latest.layers, "dead")[1].dead
    saturated = _worst(latest.layers, "saturated")[1].saturated
    shares = f"at most {dead:.0%} of a layer's units are dead and {saturated:.0%} saturated"
    if latest.slope is None:
        return f"{shares.capitalize()} {_when(latest)}."
    change = f"changes by a factor of {10**latest.decades:.2g}"
    return f"Towards the first hidden layer the gradient {change}, {shares} {_when(latest)}."


def _worst(layers: Sequence[LayerHealth], figure: str) -> tuple[int, LayerHealth]:
    """Return the layer in which a figure is largest, and its number from 1."""
    return max(enumerate(layers, 1), key=lambda pair: getattr(pair[1], figure))


def _when(snapshot: Snapshot) -> str:
    return f"after epoch {snapshot.epoch}" if snapshot.epoch else "before the first step"


def _times(decades: float) -> str:
    """Say a factor in words that stay short for any size."""
    if decades >= 4:
        return f"10^{decades:.0f}-fold"
    return f"{10**decades:,.{0 if decades >= 1 else 1}f}-fold"


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return _short(value)


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _snapshot(stored: Mapping[str, Any]) -> Snapshot:
    columns = [[math.nan if v is None else v for v in stored[name]] for name in FIGURES]
    layers = tuple(LayerHealth(*figures) for figures in zip(*columns, strict=True))
    return Snapshot(stored["epoch"], layers, stored["clipped"])
