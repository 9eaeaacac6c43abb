"""How far numbers reach, and whether float32 can hold them: networks reckon in float32.

Numbers are looked at in their own precision, piece by piece, before they are rounded.
"""

import numpy as np
from numpy.typing import NDArray

from search.data.formats import Array

# Differences, scales and their reciprocals must all be float32's, whose ends are 1e-38 and 3e38.
LARGEST = 1e37
SMALLEST = float(np.finfo(np.float32).tiny)  # nearer to 0 processors take numbers for 0

INPUT_STEPS = 8  # of float32, that a column's spread must have
TARGET_STEPS = 100  # so that rounding what a network says costs less than 1e-5 of R²
ROUNDING = 1e-12  # spreads of this share of a number are float64's own rounding
FAR = 100  # times the width of what was trained on
SAMPLE = 4_000_000  # numbers at most that are looked at together, of 8 to 1,000 examples

Numbers = NDArray[np.float64]


class Extent:
    """The least and the largest of each number of an example, over all examples.

    Args:
        examples: how many there will be.
        sampled: keep a few of them, for `lost`.

    """

    def __init__(self, examples: int, sampled: bool = False) -> None:
        self._examples = examples if sampled else 0
        self._seen = 0
        self._sample: list[Numbers] = []
        self._exact = True
        self._shape: tuple[int, ...] = ()
        self.low = self.high = np.empty(0)

    def add(self, piece: Array) -> None:
        """Take in more examples, ``[example, ...]``."""
        flat = piece.reshape(len(piece), -1)
        self._shape = piece.shape[1:]
        with np.errstate(all="ignore"):  # what is beyond float64 becomes infinite, and is found
            low, high = (np.asarray(end, np.float64) for end in (flat.min(0), flat.max(0)))
            if self._seen:
                low, high = np.minimum(self.low, low), np.maximum(self.high, high)
            if self._examples:
                rows = min(1000, max(8, SAMPLE // flat.shape[1]))
                every = max(1, self._examples // rows)
                self._sample.append(flat[-self._seen % every :: every].astype(np.float64))
        self.low, self.high = low, high
        self._exact = exact(piece.dtype)
        self._seen += len(piece)

    @property
    def peak(self) -> Numbers:
        """The largest distance from 0."""
        peak: Numbers = np.maximum(np.abs(self.low), np.abs(self.high))
        return peak

    @property
    def width(self) -> Numbers:
        """How far apart the ends are."""
        return self.high - self.low

    def unusable(self) -> str | None:
        """Return what no network can be given, in words; None where all can."""
        if which := self._which(~np.isfinite(self.peak)):
            return f"numbers that are not finite{which}; fill them in, or leave out these examples"
        if which := self._which(self.peak > LARGEST):
            first = int(np.flatnonzero(self.peak > LARGEST)[0])
            ends = self.low[first], self.high[first]
            return (
                f"{max(ends, key=abs):g}{which}, but networks reckon in float32, with numbers up "
                f"to {LARGEST:g}; if it marks what is missing, fill that in, else divide all by it"
            )
        return None

    def lost(self) -> str | None:
        """Return what float32 would blur, in words; None where it keeps what differs."""
        sample = np.concatenate(self._sample)
        low, high = np.percentile(sample, [25, 75], axis=0)
        widths = ((self.low, self.high), (low, high))  # the latter without a few far off
        blurred = np.zeros(len(self.low), bool)
        for least, most in widths:
            peak = np.maximum(np.abs(least), np.abs(most))
            width = most - least
            step = np.full(len(peak), SMALLEST) if self._exact else steps(peak)
            blurred |= (width > ROUNDING * peak) & (width < INPUT_STEPS * step)
        if not self._exact:
            rounded = sample.astype(np.float32).astype(np.float64)
            blurred &= (rounded != sample).any(axis=0) | (self.peak < 1)
        if not (which := self._which(blurred)):
            return None
        first = int(np.flatnonzero(blurred)[0])
        return blur(float(np.median(sample[:, first])), float(self.peak[first]), which)

    def far_from(self, trained: "Extent") -> str | None:
        """Return where these numbers leave what was trained on far behind, in words."""
        beyond = np.maximum(trained.low - self.low, self.high - trained.high)
        slack = np.maximum(FAR * trained.width, ROUNDING * trained.peak)
        return self._which(beyond > slack) or None

    def _which(self, flags: NDArray[np.bool_]) -> str:
        """Name the columns that are flagged; empty where there are none."""
        found = np.flatnonzero(flags)
        if not len(found):
            return ""
        names = [self._name(int(place)) for place in found[:2]]
        if len(found) > 2:
            names[1:] = [f"{len(found) - 1} others"]
        return f" in column{'s' if len(found) > 1 else ''} {' and '.join(names)}"

    def _name(self, place: int) -> str:
        """Return a column's number, counted from 0 as NumPy does; of pictures all indices."""
        indices = [int(index) for index in np.unravel_index(place, self._shape)]
        return str(indices[0] if len(indices) == 1 else indices)


def exact(dtype: np.dtype[np.generic]) -> bool:
    """Say whether float32 holds all numbers of a type."""
    return dtype.kind == "b" or dtype.itemsize <= (4 if dtype.kind == "f" else 2)


def steps(peak: Numbers) -> Numbers:
    """Return the distance of float32's numbers from each other at some sizes."""
    apart: Numbers = np.maximum(np.spacing(peak.astype(np.float32)), SMALLEST).astype(np.float64)
    return apart


def blur(middle: float, peak: float, which: str) -> str:
    """Say that numbers differ by less than float32 can tell, and what to do."""
    step = float(steps(np.array([peak]))[0])
    if peak < 1e-30:
        return f"numbers of {peak:g}{which}, which float32 takes for 0; multiply them first"
    return (
        f"numbers around {middle:g}{which} that differ by too little for float32, in which "
        f"networks reckon and whose steps are {step:g} there; subtract {middle:g} from them first"
    )
