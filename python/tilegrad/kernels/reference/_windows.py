"""Sliding windows over 1 to 3 spatial axes, shared by convolution and pooling.

Along one axis, tap t of output o reads padded position o * stride + t * dilation; taps are walked
in a Python loop, outputs are one strided slice.
"""

import itertools
import math

import numpy as np

from tilegrad import errors


def output_size(op, size, kernel, stride, pad, dilation, ceil_mode=False):
    """(size + before + after - dilation (kernel - 1) - 1) // stride + 1, or rounded up.

    Rounded up, the last window must still start inside the input or the padding before it.
    """
    before, after = pad
    if kernel < 1 or stride < 1 or dilation < 1 or before < 0 or after < 0:
        raise errors.ShapeError(
            f"{op}: expected kernel, stride, dilation >= 1 and padding >= 0, got kernel {kernel},"
            f" stride {stride}, dilation {dilation}, padding {pad}"
        )
    span = dilation * (kernel - 1) + 1
    room = size + before + after - span
    if room < 0:
        raise errors.ShapeError(
            f"{op}: a window of {span} does not fit an input of {size} with padding {pad}"
        )
    if not ceil_mode:
        return room // stride + 1
    out = -(-room // stride) + 1
    return out - 1 if (out - 1) * stride >= size + before else out


class Windows:
    """The geometry of one call: sizes, and for every tap the slice of the padded input it reads."""

    def __init__(self, op, spatial, kernel, stride, padding, dilation, ceil_mode=False):
        lengths = {len(spatial), len(kernel), len(stride), len(padding), len(dilation)}
        if len(lengths) != 1 or not 1 <= len(spatial) <= 3:
            raise errors.ShapeError(
                f"{op}: expected 1 to 3 spatial sizes, as many in each argument, got input"
                f" {spatial}, kernel {kernel}, stride {stride}, padding {padding}, dilation"
                f" {dilation}"
            )
        self.spatial = tuple(spatial)
        self.kernel, self.stride, self.padding = tuple(kernel), tuple(stride), tuple(padding)
        self.dilation = tuple(dilation)
        geometry = list(zip(spatial, kernel, stride, padding, dilation, strict=True))
        self.out = tuple(output_size(op, *axis, ceil_mode) for axis in geometry)
        # A last window of ceil_mode may hang over the padding; the overhang is padding too.
        self.after = tuple(
            max(after, (o - 1) * s + d * (k - 1) + 1 - size - before)
            for (size, k, s, (before, after), d), o in zip(geometry, self.out, strict=True)
        )

    def taps(self):
        """(offset within the kernel, slices of the padded spatial axes), row major."""
        for offset in itertools.product(*map(range, self.kernel)):
            starts = [t * d for t, d in zip(offset, self.dilation, strict=True)]
            yield (
                offset,
                tuple(
                    slice(start, start + (o - 1) * s + 1, s) if o else slice(0, 0)
                    for start, o, s in zip(starts, self.out, self.stride, strict=True)
                ),
            )

    def pad(self, x, value=0):
        """x (N, C, *spatial) with value around it."""
        sides = [
            (before, after) for (before, _), after in zip(self.padding, self.after, strict=True)
        ]
        return np.pad(x, [(0, 0), (0, 0), *sides], constant_values=value)

    def zeros_padded(self, n, c, dtype):
        """Zeros of a padded input's shape, to add gradients into."""
        sides = zip(self.spatial, self.padding, self.after, strict=True)
        return np.zeros((n, c, *(s + before + a for s, (before, _), a in sides)), dtype)

    def crop(self, padded):
        """What lies within the padding."""
        sides = zip(self.padding, self.spatial, strict=True)
        return padded[(..., *(slice(before, before + size) for (before, _), size in sides))]

    def positions(self, offset):
        """Per axis, the unpadded input position of this tap for every output, broadcastable."""
        ndim = len(self.out)
        for axis, o in enumerate(self.out):
            at = np.arange(o) * self.stride[axis] + offset[axis] * self.dilation[axis]
            yield (at - self.padding[axis][0]).reshape((o,) + (1,) * (ndim - 1 - axis))

    def count(self, counts_padding):
        """How many taps of each window lie in the input, or in the input and its padding."""
        counts = np.zeros(self.out, np.int64)
        for offset, _ in self.taps():
            inside = np.ones(self.out, bool)
            for at, size, (before, after) in zip(
                self.positions(offset), self.spatial, self.padding, strict=True
            ):
                low, high = (-before, size + after) if counts_padding else (0, size)
                inside &= (at >= low) & (at < high)
            counts += inside
        return counts


def flatten_plane(x):
    """(N, C, *spatial) as (N, C, product of spatial)."""
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))
