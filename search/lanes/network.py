"""The maths of many multilayer perceptrons stacked along a leading lane axis.

Everything here is a pure function of arrays, written once for every backend. No operation mixes
lanes, and every gate is a selection, never a product with zero: what is infinite or NaN in one
lane stays there. The gradient is written out: it reuses what the forward pass has at hand, and
asks nothing of a backend.

Axis names: ``lane`` (K trials), ``batch``, ``unit`` (of a layer), ``input`` (of a layer),
``class``.
"""

from typing import NamedTuple

from keras import ops

from search.lanes.activations import (
    activate,
    activation_slope,
    learned_gradient,
    maxout,
    maxout_gradient,
)
from search.lanes.dropout import Fed, feed
from search.lanes.gates import Gates, Tensor
from search.lanes.limits import penalized
from search.lanes.normalization import (
    Norm,
    Normed,
    moments,
    moved,
    normalized,
    normed,
    through,
    through_norm,
)
from search.lanes.variables import Statistics, Variables


class Pass(NamedTuple):
    """What one layer's forward pass leaves for its backward pass."""

    inputs: Tensor  # [lane, batch, input]
    sums: Tensor  # [lane, batch, unit] before batch normalization
    norm: Norm
    outputs: Tensor  # [lane, batch, unit]
    # None where no lane of the program has the technique.
    fed: Fed | None  # how outputs were dropped
    entry: Normed | None  # how the data became the inputs, of the first layer
    layered: Normed | None  # how the sums were normalized over their layer
    behind: Normed | None  # how the outputs were normalized

    @property
    def pre(self) -> Tensor:
        """The pre-activations, ``[lane, batch, unit]``."""
        return self.sums * self.norm.scale + self.norm.offset

    @property
    def passed(self) -> Tensor:
        """What the next layer had, ``[lane, batch, unit]``."""
        if self.fed:
            return self.fed.values
        return self.behind.values if self.behind else self.outputs


def forward(
    variables: Variables, statistics: Statistics, x: Tensor, gates: Gates, step: Tensor
) -> tuple[Tensor, list[Pass], Statistics]:
    """Run the training batch ``[lane, batch, input]`` of each lane's step through the network.

    Returns the logits ``[lane, batch, class]``, what the backward pass needs, and the moving
    statistics after this batch.
    """
    passes: list[Pass] = []
    means, variances = [], []
    behind_means, behind_variances = [], []
    entry, of_inputs = _entered(variables, statistics, x, gates)
    if entry:
        x = entry.values
    for layer, gamma in enumerate(variables.gammas):
        sums = ops.matmul(x, variables.kernels[layer])
        if layered := _layered(variables, layer, sums, gates):
            sums = layered.values
        mean, variance = moments(sums)
        folded = normalized(mean, variance, variables.shifts[layer], gamma, gates)
        means.append(moved(statistics.means[layer], mean[:, 0], gates))
        variances.append(moved(statistics.variances[layer], variance[:, 0], gates))
        outputs = shown = _activated(variables, layer, sums, folded, gates)
        behind = None
        if "batch_norm_after" in gates.options:
            mean, variance = moments(outputs)
            behind = _behind(variables, layer, outputs, mean, variance, gates)
            shown = behind.values
            behind_means.append(moved(statistics.behind_means[layer], mean[:, 0], gates))
            old = statistics.behind_variances[layer]
            behind_variances.append(moved(old, variance[:, 0], gates))
        fed = feed(shown, gates, step, layer) if "dropout" in gates.options else None
        passes.append(Pass(x, sums, folded, outputs, fed, entry, layered, behind))
        x, entry = passes[-1].passed, None
    parts = (means, variances, behind_means, behind_variances, of_inputs)
    return _logits(variables, x), passes, Statistics(*map(tuple, parts))


def infer(variables: Variables, statistics: Statistics, x: Tensor, gates: Gates) -> Tensor:
    """Return the logits ``[lane, example, class]`` of inputs ``[example, input]`` of all lanes."""
    x = ops.broadcast_to(x[None], (variables.shifts[0].shape[0], *x.shape))
    if (on := gates.options.get("input_batch_norm")) is not None:
        mean, variance = (moving[:, None, :] for moving in statistics.inputs)
        gamma, beta = variables.inputs
        x = normed(x, mean, variance, gamma, beta, on).values
    for layer, gamma in enumerate(variables.gammas):
        mean = statistics.means[layer][:, None, :]
        variance = statistics.variances[layer][:, None, :]
        folded = normalized(mean, variance, variables.shifts[layer], gamma, gates)
        sums = ops.matmul(x, variables.kernels[layer])
        if layered := _layered(variables, layer, sums, gates):
            sums = layered.values
        x = _activated(variables, layer, sums, folded, gates)
        if "batch_norm_after" in gates.options:
            mean = statistics.behind_means[layer][:, None, :]
            variance = statistics.behind_variances[layer][:, None, :]
            x = _behind(variables, layer, x, mean, variance, gates).values
    return _logits(variables, x)


def _entered(
    variables: Variables, statistics: Statistics, x: Tensor, gates: Gates
) -> tuple[Normed | None, tuple[Tensor, ...]]:
    """Normalize the data, and return the moving statistics of it after this batch."""
    if (on := gates.options.get("input_batch_norm")) is None:
        return None, ()
    own, (gamma, beta) = moments(x), variables.inputs
    entry = normed(x, *own, gamma, beta, on)
    pairs = zip(statistics.inputs, own, strict=True)
    return entry, tuple(moved(moving, new[:, 0], gates) for moving, new in pairs)


def _layered(variables: Variables, layer: int, sums: Tensor, gates: Gates) -> Normed | None:
    """Normalize a layer's sums over its units."""
    if (on := gates.options.get("layer_norm")) is None:
        return None
    return normed(sums, *moments(sums, axis=2), variables.layer_gammas[layer], None, on)


def _activated(
    variables: Variables, layer: int, sums: Tensor, folded: Norm, gates: Gates
) -> Tensor:
    pre = sums * folded.scale + folded.offset
    if (pieces := pieces_of(variables)) > 1:
        return maxout(pre, pieces)
    return activate(pre, gates, _of(variables.slopes, layer))


def _behind(
    variables: Variables, layer: int, outputs: Tensor, mean: Tensor, variance: Tensor, gates: Gates
) -> Normed:
    """Normalize a layer's outputs."""
    gamma, beta = variables.behind_gammas[layer], variables.behind_betas[layer]
    return normed(outputs, mean, variance, gamma, beta, gates.options["batch_norm_after"])


def pieces_of(variables: Variables) -> int:
    """Return of how many pieces maxout takes the largest; 1 with any other activation."""
    first, second, *_ = variables.kernels
    return int(first.shape[2] // second.shape[1])


def _of(part: tuple[Tensor, ...], layer: int) -> Tensor | None:
    """Return a layer's array of a part of the variables that may be empty."""
    return part[layer] if part else None


def backward(
    variables: Variables, passes: list[Pass], slope: Tensor, gates: Gates
) -> tuple[Variables, tuple[Tensor, ...]]:
    """Go back through the network from the loss's slope ``[lane, batch, class]`` in the logits.

    Returns the gradient, and the loss's slope in each layer's activation's argument,
    ``[lane, batch, unit]``.
    """
    parts: dict[str, list[Tensor]] = {name: [] for name in Variables._fields}
    deltas: list[Tensor] = []
    pieces = pieces_of(variables)
    x = passes[-1].passed
    for layer in reversed(range(len(variables.kernels))):
        if layer < len(passes):
            done, learned = passes[layer], _of(variables.slopes, layer)
            if done.fed:
                slope = slope * done.fed.slope
            if done.behind:
                gamma, on = variables.behind_gammas[layer], gates.options["batch_norm_after"]
                slope, gamma, beta = through(slope, done.behind, gamma, on)
                parts["behind_gammas"].append(gamma)
                parts["behind_betas"].append(beta)
            if learned is not None:
                parts["slopes"].append(learned_gradient(slope, done.pre, gates))
            if pieces > 1:
                slope = maxout_gradient(slope, done.pre, done.outputs, pieces)
            else:
                slope = slope * activation_slope(done.pre, done.outputs, gates, learned)
            deltas.append(slope)
            shift = ops.sum(slope, axis=1, keepdims=True)
            slope, gamma = through_norm(slope, shift, done.sums, done.norm, gates)
            parts["gammas"].append(gamma)
            if done.layered:
                gamma, on = variables.layer_gammas[layer], gates.options["layer_norm"]
                slope, gamma, _ = through(slope, done.layered, gamma, on, axis=2)
                parts["layer_gammas"].append(gamma)
            x = done.inputs
        else:
            deltas.append(slope)
            shift = ops.sum(slope, axis=1, keepdims=True)
        parts["shifts"].append(shift[:, 0])
        kernel = ops.matmul(_transposed(x), slope)
        parts["kernels"].append(penalized(kernel, variables.kernels[layer], gates))
        if layer or passes[0].entry:  # else nothing is to be learned about the data itself
            slope = ops.matmul(slope, _transposed(variables.kernels[layer]))
    if entry := passes[0].entry:
        on = gates.options["input_batch_norm"]
        _, gamma, beta = through(slope, entry, variables.inputs[0], on)
        parts["inputs"] = [beta, gamma]
    gradient = Variables(**{name: tuple(part[::-1]) for name, part in parts.items()})
    return gradient, tuple(deltas[::-1])


def _logits(variables: Variables, x: Tensor) -> Tensor:
    return ops.matmul(x, variables.kernels[-1]) + variables.shifts[-1][:, None, :]


def _transposed(x: Tensor) -> Tensor:
    return ops.swapaxes(x, 1, 2)
