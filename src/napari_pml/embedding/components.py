"""What a network sees, as colours: the directions in which embeddings differ most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

COLOURED = (1, 99)
"""Percentiles of a component that become 0 and 1: what is rarer may be as bright or dark as it likes."""


@dataclass(frozen=True)
class PrincipalComponents:
    """The three principal components of some embeddings of D >= 3 components, on a fixed scale.

    Attributes:
        mean: (D,) float32, becomes the origin.
        axes: (D, 3) float32, unit vectors, that of the largest variance first. The largest entry of each is positive,
            so that the same embeddings always give the same axes.
        low: (3,) float32, position that becomes 0 in a colour.
        high: (3,) float32, position that becomes 1, larger than `low`.
    """

    mean: Floats
    axes: Floats
    low: Floats
    high: Floats

    @classmethod
    def fit(cls, embeddings: Sequence[Floats]) -> PrincipalComponents:
        """Find the components of frames or other sets of embeddings, each (..., D) float32, at least one in all."""
        every = np.concatenate([part.reshape(-1, part.shape[-1]) for part in embeddings])
        mean = every.mean(0)
        centred = every - mean
        axes = np.linalg.eigh(centred.T @ centred)[1][:, :-4:-1]  # in order of increasing variance
        axes = axes * np.sign(axes[np.abs(axes).argmax(0), np.arange(3)])
        low, high = np.percentile(centred @ axes, COLOURED, axis=0).astype(np.float32)
        return cls(mean, axes, low, np.maximum(high, low + np.float32(1e-6)))

    def positions(self, embeddings: Floats) -> Floats:
        """Return where embeddings, (..., D) float32, lie along the three axes, as (..., 3) float32."""
        return ((embeddings - self.mean) @ self.axes).astype(np.float32, copy=False)

    def rgb(self, embeddings: Floats) -> Floats:
        """Return the colours of embeddings, (..., D) float32, as (..., 3) float32 in 0..1."""
        colours: Floats = np.clip((self.positions(embeddings) - self.low) / (self.high - self.low), 0, 1)
        return colours
