"""The verdict on a trial's gradients: one sentence that says what its snapshots show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from search.health.snapshot import Health, LayerHealth, Snapshot, rounded


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
        reason = f"A weight, an output or a gradient is no longer finite {latest.moment}."
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
            f"its weights, layer {number}'s, {latest.moment}.",
        )
    return Verdict(
        Kind.HEALTHY,
        f"{_well(latest)} {said}; a step still is {layer.update_ratio:.1g} of the "
        f"weights of layer {number}.",
    )


KEY_NUMBERS = (
    "diverged_step",
    "slope",
    "update_ratio",
    "dead",
    "saturated",
    "distance",
    "clipped",
)


def key_numbers(health: Health) -> dict[str, Any]:
    """Return a few numbers of the latest snapshot, to filter and colour trials by.

    ``slope`` is in decades a layer towards the input; the others are those of the worst layer.
    """
    values: dict[str, Any] = {}
    if health.diverged_step is not None:
        values["diverged_step"] = health.diverged_step
    if health.snapshots and (layers := health.snapshots[-1].layers):
        values |= {
            "slope": rounded(health.snapshots[-1].slope),
            "update_ratio": rounded(max(layer.update_ratio for layer in layers)),
            "dead": rounded(max(layer.dead for layer in layers)),
            "saturated": rounded(max(layer.saturated for layer in layers)),
            "distance": rounded(max((y.distance for y in layers[:-1]), default=math.nan)),
            "clipped": rounded(health.clipped),
        }
    return values


def _exploding(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    if latest.decades >= limits.decades:
        return Verdict(
            Kind.EXPLODING,
            f"The gradient grows {_times(latest.decades)} from the last hidden layer to the first, "
            f"{latest.slope:.2g} decades a layer, {latest.moment}.",
        )
    number, layer = _worst(latest.layers, "update_ratio")
    if layer.update_ratio >= limits.update_ratio:
        return Verdict(
            Kind.EXPLODING,
            f"A step is {layer.update_ratio:.3g} times as long as the weights of layer {number} "
            f"{latest.moment}.",
        )
    return None


def _dying(latest: Snapshot, limits: Thresholds) -> Verdict | None:
    number, layer = _worst(latest.layers, "dead")
    if layer.dead < limits.dead:
        return None
    return Verdict(
        Kind.DYING,
        f"{layer.dead:.0%} of the units of layer {number} give the same on every example and "
        f"pass no gradient {latest.moment}.",
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
        f"{-(latest.slope or 0):.2g} decades a layer, {latest.moment}; a step changes the first "
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
        f"{latest.moment}.",
    )


def _well(latest: Snapshot) -> str:
    dead = _worst(latest.layers, "dead")[1].dead
    saturated = _worst(latest.layers, "saturated")[1].saturated
    shares = f"at most {dead:.0%} of a layer's units are dead and {saturated:.0%} saturated"
    if latest.slope is None:
        return f"{shares.capitalize()} {latest.moment}."
    change = f"changes by a factor of {10**latest.decades:.2g}"
    return f"Towards the first hidden layer the gradient {change}, {shares} {latest.moment}."


def _worst(layers: Sequence[LayerHealth], measure: str) -> tuple[int, LayerHealth]:
    """Return the layer in which a measure is largest, and its number from 1."""
    return max(enumerate(layers, 1), key=lambda pair: getattr(pair[1], measure))


def _times(decades: float) -> str:
    """Say a factor in words that stay short for any size."""
    if decades >= 4:
        return f"10^{decades:.0f}-fold"
    return f"{10**decades:,.{0 if decades >= 1 else 1}f}-fold"
