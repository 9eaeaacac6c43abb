"""The programs that the lanes run: an epoch, a refill, and keeping the best weights."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeAlias

from keras import ops, tree

from search.backend import Program, rows
from search.health import measures as probe
from search.lanes import activations, limits, network, optimizers
from search.lanes.gates import Gates, Tensor
from search.lanes.losses import judged_batch
from search.lanes.structure import Structure
from search.lanes.variables import Statistics, Variables

SCORED_BATCH = 250  # examples; large enough for the matrix rate, small beside the weights


class Kept(NamedTuple):
    """What the lanes' models are made of."""

    variables: Variables
    statistics: Statistics


class LaneState(NamedTuple):
    """All that training changes."""

    current: Kept
    slots: tuple[Variables, ...]  # what the optimizer keeps for each variable
    moment: optimizers.Moment


class Data(NamedTuple):
    """Both splits on the device. Images stay bytes there: they are read faster than floats."""

    x: Tensor  # [example, input] raw
    y: Tensor  # [example] labels, int32, or standardized targets, float32
    validation_x: Tensor  # [example, input] raw
    validation_y: Tensor  # [example]
    validation_weight: Tensor | None  # [example], of the losses
    few: Tensor  # [look] int32, the validation examples that health is looked at with
    # What is subtracted from raw inputs, their factor then, and what is added, each [] or [input],
    # by the setting "standardize".
    scalings: dict[str, tuple[Tensor, ...]]


class Looked(NamedTuple):
    """What a look at a lane finds."""

    measures: Tensor  # [measure, layer], ordered as search.health.snapshot.MEASURES
    output: Tensor  # [input, unit] the output layer's kernel
    losses: Tensor  # [2] the batch's mean loss as in training and as at inference


class Work(NamedTuple):
    """What the lanes are trained on in an epoch."""

    order: Tensor  # [step, lane, batch] examples
    rates: Tensor  # [step, lane] learning rates
    weights: Tensor | None  # [step, lane, batch] of these examples; None where none has any


Epoch: TypeAlias = Callable[
    [LaneState, Gates, Work, Tensor, Data], tuple[LaneState, Tensor, Tensor | None]
]
Look: TypeAlias = Callable[[LaneState, Gates, Tensor, Data], Looked]


def epoch_of(structure: Structure) -> Epoch:
    """Return the function that trains all lanes for an epoch and validates them.

    It takes the state, the gates, the epoch's work, how many of its steps to make, and the data. It
    returns the state and ``[6, lane]``: sums over all examples of loss and score, and both of the
    validation split; how many steps were clipped, and how many were made before the first whose
    loss is not finite. Then, where the structure has it told, what the networks say of the
    validation split, ``[lane, example, unit]``.
    """
    rule, _ = optimizers.rule_of(structure.optimizer, structure.nesterov)
    inputs = _scaled(structure)

    def step(
        state: LaneState, x: Tensor, y: Tensor, weights: Tensor | None, gates: Gates
    ) -> tuple[LaneState, Tensor]:
        (variables, statistics), slots, moment = state
        logits, passes, statistics = network.forward(variables, statistics, x, gates, moment.step)
        loss, score, slope = judged_batch(logits, y, weights=weights)
        loss = loss + limits.penalty(variables, gates) * x.shape[1]
        gradient, _ = network.backward(variables, passes, slope, gates)
        gradient, clipped = limits.clipped(gradient, gates)
        moment = optimizers.advance(moment)
        variables, slots = optimizers.apply(rule, variables, slots, gradient, gates, moment)
        counts = [ops.cast(of_lane, "float32") for of_lane in (clipped, ops.isfinite(loss))]
        return LaneState(Kept(variables, statistics), slots, moment), ops.stack(
            [loss, score, *counts]
        )

    def epoch(
        state: LaneState, gates: Gates, work: Work, count: Tensor, data: Data
    ) -> tuple[LaneState, Tensor, Tensor | None]:
        def body(index: Tensor, carry: tuple[LaneState, Tensor]) -> tuple[LaneState, Tensor]:
            state, sums = carry
            chosen = rows(work.order, index)
            now = gates._replace(learning_rate=rows(work.rates, index))
            x = inputs(rows(data.x, chosen), data)
            weights = None if work.weights is None else rows(work.weights, index)
            state, more = step(state, x, rows(data.y, chosen), weights, now)
            return state, sums + more

        state, sums = ops.fori_loop(0, count, body, (state, ops.zeros((4, work.order.shape[1]))))
        validated, told = _validated(state.current, gates, inputs, data, structure.told)
        return state, ops.concatenate([sums[:2], validated, sums[2:]]), told

    return epoch


def look_of(structure: Structure) -> Look:
    """Return the function that measures the health of the lane in a place, and changes nothing.

    It takes that lane alone out of the stack: what runs uncompiled may round otherwise beside
    others.
    """
    rule, _ = optimizers.rule_of(structure.optimizer, structure.nesterov)
    inputs = _scaled(structure)

    def look(state: LaneState, gates: Gates, place: Tensor, data: Data) -> Looked:
        state, gates = tree.map_structure(lambda stack: _part(stack, place, 1), (state, gates))
        (variables, statistics), slots, moment = state
        batch = inputs(rows(data.validation_x, data.few), data)
        answers = rows(data.validation_y, data.few)[None]
        logits, passes, _ = network.forward(variables, statistics, batch[None], gates, moment.step)
        loss, _, slope = judged_batch(logits, answers)
        finished, _, _ = judged_batch(network.infer(*state.current, batch, gates), answers)
        losses = ops.stack([loss, finished]) / batch.shape[0] + limits.penalty(variables, gates)
        gradient, deltas = network.backward(variables, passes, slope, gates)
        shortened, _ = limits.clipped(gradient, gates)
        moment = optimizers.advance(moment)
        after, _ = optimizers.apply(rule, variables, slots, shortened, gates, moment)
        layers, pieces = [], network.pieces_of(variables)
        for number, (kernel, raw, new, delta) in enumerate(
            zip(variables.kernels, gradient.kernels, after.kernels, deltas, strict=True)
        ):
            if number < len(passes) and pieces == 1:
                pre, outputs = passes[number].pre, passes[number].outputs
                learned = variables.slopes[number] if variables.slopes else None
                slopes = activations.activation_slope(pre, outputs, gates, learned)
                steepest = activations.steepest(gates)
            else:  # a linear layer, as each piece of maxout is
                pre = outputs = passes[number].pre if number < len(passes) else logits
                slopes, steepest = ops.ones_like(pre), ops.zeros_like(gates.positive)
            done = probe.Layer(kernel, raw, new - kernel, pre, delta, outputs, slopes, steepest)
            layers.append(probe.measures_of(done))
        return Looked(ops.stack(layers, axis=1)[..., 0], variables.kernels[-1][0], losses[:, 0])

    return look


def _part(array: Tensor, start: Tensor, size: int) -> Tensor:
    """Return so many entries of the first axis."""
    behind = array.shape[1:]
    return ops.slice(array, (start, *[0] * len(behind)), (size, *behind))


def _scaled(structure: Structure) -> Callable[[Tensor, Data], Tensor]:
    """Return the function from raw inputs to those of the first layer."""
    if not structure.standardize:
        return lambda raw, _: ops.cast(raw, "float32")

    def scaled(raw: Tensor, data: Data) -> Tensor:
        mean, factor, offset = data.scalings[str(structure.standardize)]
        return (ops.cast(raw, "float32") - mean) * factor + offset

    return scaled


def _validated(
    kept: Kept, gates: Gates, inputs: Callable[[Tensor, Data], Tensor], data: Data, telling: bool
) -> tuple[Tensor, Tensor | None]:
    """Return the validation split's summed loss and score, ``[2, lane]``.

    And what the networks say, ``[lane, example, unit]``, where that is to be told.
    """
    variance = ops.var(ops.cast(data.validation_y, "float32"))  # of targets

    def chunk(start: Tensor, size: int, carry: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x, y = (_part(each, start, size) for each in (data.validation_x, data.validation_y))
        weights = None
        if data.validation_weight is not None:
            weights = _part(data.validation_weight, start, size)[None]
        logits = network.infer(*kept, inputs(x, data), gates)
        loss, score, _ = judged_batch(logits, y[None], variance, weights)
        sums, *told = carry
        told = [ops.slice_update(all_of_it, (0, start, 0), logits) for all_of_it in told]
        return sums + ops.stack([loss, score]), *told

    lanes, examples = kept.variables.shifts[0].shape[0], data.validation_x.shape[0]
    batch = min(SCORED_BATCH, examples)
    whole, rest = divmod(examples, batch)
    units = kept.variables.shifts[-1].shape[1]
    carry = (ops.zeros((2, lanes)), ops.zeros((lanes, examples, units)))[: 1 + telling]
    carry = ops.fori_loop(0, whole, lambda index, carry: chunk(index * batch, batch, carry), carry)
    if rest:
        carry = chunk(whole * batch, rest, carry)
    sums, *told = carry
    penalty = limits.penalty(kept.variables, gates) * examples
    sums = sums + ops.stack([penalty, ops.zeros_like(penalty)])
    return sums, told[0] if told else None


def fresh(kernels: tuple[Tensor, ...], structure: Structure) -> LaneState:
    """Return the state of untrained lanes with these kernels, ``[lane, input, unit]`` each."""
    lanes, inputs, _ = kernels[0].shape
    shapes = [(lanes, kernel.shape[2]) for kernel in kernels]
    fed = [(lanes, kernel.shape[1]) for kernel in kernels[1:]]  # to the next layers
    zeros, ones = tuple(map(ops.zeros, shapes)), tuple(map(ops.ones, shapes[:-1]))
    of_inputs = ops.zeros((lanes, inputs)), ops.ones((lanes, inputs))

    def where_named(name: str, arrays: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return arrays if name in structure.features else ()

    variables = Variables(
        kernels,
        zeros,
        ones,
        behind_gammas=where_named("batch_norm_after", tuple(map(ops.ones, fed))),
        behind_betas=where_named("batch_norm_after", tuple(map(ops.zeros, fed))),
        layer_gammas=where_named("layer_norm", ones),
        slopes=where_named("prelu", zeros[:-1]),
        inputs=where_named("input_batch_norm", of_inputs[::-1]),
    )
    statistics = Statistics(
        zeros[:-1],
        ones,
        behind_means=variables.behind_betas,
        behind_variances=variables.behind_gammas,
        inputs=where_named("input_batch_norm", of_inputs),
    )
    _, slots = optimizers.rule_of(structure.optimizer, structure.nesterov)
    empty = tree.map_structure(ops.zeros_like, variables)
    moment = optimizers.Moment(ops.zeros(lanes), ops.ones(lanes))
    return LaneState(Kept(variables, statistics), (empty,) * slots, moment)


def refilled(
    state: LaneState, kept: Kept, lane: Tensor, kernels: tuple[Tensor, ...], structure: Structure
) -> tuple[LaneState, Kept]:
    """Return all lanes with an untrained network of these kernels, ``[1, ...]``, in one of them."""
    new = fresh(kernels, structure)
    return written(state, kept, lane, new, new.current)


def written(
    state: LaneState, kept: Kept, lane: Tensor, new: LaneState, new_kept: Kept
) -> tuple[LaneState, Kept]:
    """Return all lanes with the new arrays, ``[1, ...]``, in one of them."""

    def put(stack: Tensor, value: Tensor) -> Tensor:
        return ops.slice_update(stack, (lane, *[0] * (len(stack.shape) - 1)), value)

    return tree.map_structure(put, state, new), tree.map_structure(put, kept, new_kept)


def keeping(kept: Kept, current: Kept, better: Tensor) -> Kept:
    """Return what is kept, replaced by the current networks in lanes that are better."""

    def chosen(old: Tensor, new: Tensor) -> Tensor:
        return ops.where(ops.reshape(better, (-1, *[1] * (len(old.shape) - 1))), new, old)

    result: Kept = tree.map_structure(chosen, kept, current)
    return result


class Programs:
    """The compiled programs of one structure; stacks of one width share them."""

    def __init__(self, structure: Structure) -> None:
        self.fresh = Program(partial(fresh, structure=structure))
        self.refill = Program(partial(refilled, structure=structure), donated=(0, 1))
        self.restore = Program(written, donated=(0, 1))
        self.train = Program(epoch_of(structure), donated=(0,))
        self.keep = Program(keeping, donated=(0,))
        self.look = Program(look_of(structure), rare=True)
