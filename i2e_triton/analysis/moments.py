"""Mean and standard deviation of values that arrive in batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a quantity over images."""

    mean: float
    std: float  #: sample standard deviation (n - 1), as ``torch.std``; NaN for fewer than two images


class Moments:
    """Running mean and standard deviation over images. The values are not stored.

    Args:
        shape: shape of the values of one image.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        self.count = 0
        self.mean: Values = np.zeros(shape)
        self._squared_deviations: Values = np.zeros(shape)  # sum of (value - mean)²

    def add(self, values: Values) -> None:
        """Add the values of several images, ``[B, *shape]``, by the algorithm of Chan et al. (1979)."""
        if not len(values):
            return
        total = self.count + len(values)
        mean = values.mean(axis=0)
        difference = mean - self.mean
        self._squared_deviations = (
            self._squared_deviations
            + ((values - mean) ** 2).sum(axis=0)
            + difference**2 * (self.count * len(values) / total)
        )
        self.mean = self.mean + difference * (len(values) / total)
        self.count = total

    @property
    def std(self) -> Values:
        """Return the sample standard deviation, or NaN for fewer than two images."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self._squared_deviations / (self.count - 1))

    def spread(self, *index: int) -> Spread:
        """Return mean and standard deviation of the element ``index`` of the values."""
        return Spread(float(self.mean[index]), float(self.std[index]))
