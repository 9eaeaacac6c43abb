"""Why it worked: how gradients and outputs fared, layer by layer."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from search.health.snapshot import MEANS, VARIANCES, Health, LayerHealth, Snapshot
from search.health.verdict import Kind
from search.page.figure import GREEN, ORANGE, PALETTE, Figure, Trace, count, drawn, log_ticks, plain
from search.result.factors import factors, judged, kinds
from search.result.result import Result, TrialRow
from search.result.sample import few

BINS = 40  # of the weights' distributions
FRAME = ((-2.0, 2.0), (1e-3, 1e3))  # of means and of variances; what lies outside is counted


def heat_maps(result: Result) -> list[Figure]:
    """Return the gradients of the winner and of one trial for each verdict but healthy."""
    shown = [(row, role) for row, role in _typical(result) if _snapshots(result, row)]
    norms = [
        math.log10(norm)
        for row, _ in shown
        for snapshot in _snapshots(result, row)
        for layer in snapshot.layers
        if (norm := layer.gradient_norm) > 0 and math.isfinite(norm)
    ]
    if not norms:
        return []
    ends = (math.floor(min(norms)), math.ceil(max(norms)))
    return [_heat_map(result, row, role, ends) for row, role in shown]


def _snapshots(result: Result, row: TrialRow) -> Sequence[Snapshot]:
    health = result.health.get(row.number, Health())
    return [snapshot for snapshot in health.snapshots if snapshot.layers]


def _typical(result: Result) -> Iterator[tuple[TrialRow, str]]:
    winner = result.winner
    if winner is not None:
        yield winner, f"Trial {winner.number}, the winner"
    for verdict in kinds(judged(result)):
        rows = [row for row in result.counted if row.verdict == verdict and row is not winner]
        if verdict != Kind.HEALTHY and rows:
            row = max(rows, key=lambda row: (len(_snapshots(result, row)), -row.number))
            yield row, f"Trial {row.number}, {verdict}"


def _heat_map(result: Result, row: TrialRow, role: str, ends: tuple[int, int]) -> Figure:
    snapshots = _snapshots(result, row)
    depth = len(snapshots[0].layers)
    names = [*(f"layer {number}" for number in range(1, depth)), "output"]
    norms = [
        [snapshot.layers[layer].gradient_norm for snapshot in snapshots] for layer in range(depth)
    ]
    low, high = ends
    ticks = sorted({low, (low + high) // 2, high})
    return Figure(
        f"heat-{row.number}",
        role,
        f"{_change(snapshots[0])} {row.verdict_reason or ''}".strip(),
        [
            {
                "type": "heatmap",
                "x": [str(snapshot.epoch) for snapshot in snapshots],
                "y": names,
                "z": [[_decade(norm) for norm in line] for line in norms],
                "text": [[f"{norm:.2g}" for norm in line] for line in norms],
                "hovertemplate": "%{y}, after epoch %{x}: norm %{text}<extra></extra>",
                "hoverongaps": False,
                "zmin": low,
                "zmax": max(high, low + 1),
                "colorscale": "Viridis",
                "xgap": 1,
                "ygap": 1,
                "colorbar": {
                    "thickness": 10,
                    "outlinewidth": 0,
                    "tickvals": ticks,
                    "ticktext": [f"10<sup>{tick}</sup>" for tick in ticks],
                },
            }
        ],
        {
            "xaxis": {"type": "category", "title": {"text": "epochs done"}, "showgrid": False},
            "yaxis": {"type": "category", "showgrid": False},
        },
        height=120 + 30 * depth,
        width="half",
    )


def _decade(norm: float) -> float | None:
    return round(math.log10(norm), 3) if norm > 0 and math.isfinite(norm) else None


def _change(first: Snapshot) -> str:
    norms = first.layers[0].gradient_norm, first.layers[-1].gradient_norm
    if not all(norm > 0 and math.isfinite(norm) for norm in norms):
        return ""
    return (
        f"The gradient's norm is {norms[0]:.2g} in the first layer and {norms[1]:.2g} in the "
        f"output's, {first.moment}."
    )


# -- weights ---------------------------------------------------------------------------------


def last_weights(result: Result) -> list[Figure]:
    """Return how the output layer's weights are distributed in the course of the typical trials."""
    shown = []
    for row, role in _typical(result):
        looks = [one for one in _snapshots(result, row) if all(map(math.isfinite, one.weights))]
        if looks := [one for one in looks if one.weights]:
            shown.append(_distributions(row, role, looks))
    return shown


def _distributions(row: TrialRow, role: str, looks: Sequence[Snapshot]) -> Figure:
    edges = _edges(looks)
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    shares = [_shares(one.weights, edges) for one in looks]
    first, last = (
        f"{one.weights[0]:.2g} and {one.weights[-1]:.2g}" for one in (looks[0], looks[-1])
    )
    return Figure(
        f"weights-{row.number}",
        role,
        f"How the output layer's weights are distributed. They lie between {first} "
        f"{looks[0].moment}, and between {last} {looks[-1].moment}.",
        [
            {
                "type": "heatmap",
                "x": [str(one.epoch) for one in looks],
                "y": [float(f"{middle:.4g}") for middle in middles],
                "z": [
                    [round(100 * share, 2) for share in line] for line in zip(*shares, strict=True)
                ],
                "hovertemplate": "%{z:.1f} % of the weights about %{y:.2g}, after epoch %{x}"
                "<extra></extra>",
                "zmin": 0,
                "colorscale": "Viridis",
                "xgap": 1,
                "colorbar": {"thickness": 10, "outlinewidth": 0, "ticksuffix": " %"},
            }
        ],
        {
            "xaxis": {"type": "category", "title": {"text": "epochs done"}, "showgrid": False},
            "yaxis": {"title": {"text": "weight"}, "showgrid": False},
        },
        height=300,
        width="half",
    )


def _edges(looks: Sequence[Snapshot]) -> list[float]:
    """Return the ends of bins that hold all weights of all looks."""
    low = min(one.weights[0] for one in looks)
    high = max(one.weights[-1] for one in looks)
    high = max(high, low + 1e-6)  # weights that are all the same have a bin too
    return [low + (high - low) * place / BINS for place in range(BINS + 1)]


def _shares(quantiles: Sequence[float], edges: Sequence[float]) -> list[float]:
    """Return the share of the weights in each bin, evenly spread between two quantiles."""
    # At equal quantiles the share jumps, and the edge has the last one's level.
    below = np.interp(edges, quantiles, np.linspace(0, 1, len(quantiles)))
    below[0] = 0.0  # but for the first edge, whose weights are the first bin's
    return list(map(float, np.diff(below)))


# -- self-normalisation ----------------------------------------------------------------------


def self_normalization(result: Result) -> Figure | None:
    """Return mean and variance of every hidden layer at its trial's last look."""
    rows = [
        row
        for row in result.counted
        if row.config and any(layer.finite for layer in _hidden(result, row))
    ]
    if not rows:
        return None
    label, labels = _grouping(result)
    groups = [(name, few([row for row in rows if label(row) == name])) for name in labels]
    some = sum(len(own) for _, own in groups)
    traces = [
        _points(result, name, own, PALETTE[index % len(PALETTE)])
        for index, (name, own) in enumerate(groups)
        if own
    ]
    winner = result.winner
    if winner is not None and any(row is winner for row in rows):
        traces.append(_path(result, winner))
    within = [row for row in rows if all(layer.self_normalized for layer in _hidden(result, row))]
    outside = sum(not _framed(layer) for row in rows for layer in _hidden(result, row))
    left_out = f" {count(outside, 'layer')} beyond the frame." if outside else ""
    (left, right), (bottom, top) = MEANS, VARIANCES
    variances = [variance for trace in traces for variance in trace["y"]]
    return Figure(
        "self-normalisation",
        "Self-normalisation",
        f"{len(within)} of {count(len(rows), 'trial')} kept every hidden layer's outputs within "
        "the bounds on mean and variance that Klambauer et al. (2017) prove for selu (the box) "
        f"when last looked at.{left_out}{drawn(some, len(rows))}",
        traces,
        {
            "xaxis": {"title": {"text": "mean of a layer's outputs"}},
            "yaxis": {
                "type": "log",
                "title": {"text": "variance"},
                "tickvals": log_ticks([*VARIANCES, *variances]),
                "tickformat": "~g",
            },
            "shapes": [
                {
                    "type": "rect",
                    "x0": left,
                    "x1": right,
                    "y0": bottom,
                    "y1": top,
                    "fillcolor": "rgba(13,154,104,0.2)",
                    "line": {"color": GREEN, "width": 1.5},
                    "layer": "below",
                }
            ],
        },
        height=380,
    )


def _hidden(result: Result, row: TrialRow) -> Sequence[LayerHealth]:
    snapshots = _snapshots(result, row)
    return snapshots[-1].hidden if snapshots else ()


def _grouping(result: Result) -> tuple[Callable[[TrialRow], str], Sequence[str]]:
    """Return how the trials are told apart: by activation, where that was searched."""
    for factor in factors(result):
        if factor.name == "activation":
            return factor.label, factor.labels
    return lambda _row: "all trials", ["all trials"]


def _framed(layer: LayerHealth) -> bool:
    (left, right), (bottom, top) = FRAME
    return left <= layer.mean <= right and bottom <= layer.std**2 <= top


def _points(result: Result, name: str, rows: Sequence[TrialRow], colour: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": plain(name),
        "marker": {"color": colour, "size": 7, "opacity": 0.65},
        **_places(result, rows),
    }


def _path(result: Result, winner: TrialRow) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"winner, trial {winner.number}, layer by layer",
        "marker": {"color": ORANGE, "size": 10, "symbol": "diamond"},
        "line": {"color": ORANGE, "width": 2},
        **_places(result, [winner]),
    }


def _places(result: Result, rows: Sequence[TrialRow]) -> Trace:
    layers = [
        (row, number, layer)
        for row in rows
        for number, layer in enumerate(_hidden(result, row), 1)
        if _framed(layer)
    ]
    return {
        "x": [layer.mean for _, _, layer in layers],
        "y": [float(f"{layer.std**2:.4g}") for _, _, layer in layers],
        "text": [
            f"trial {row.number}, layer {number}: mean {layer.mean:.2g}, "
            f"variance {layer.std**2:.2g}"
            for row, number, layer in layers
        ],
        "hovertemplate": "%{text}<extra></extra>",
    }
