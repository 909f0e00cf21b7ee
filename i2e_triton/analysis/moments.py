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
        self._squares: Values = np.zeros(shape)

    def add(self, values: Values) -> None:
        """Add the values of several images, ``[B, *shape]``, by the algorithm of Chan et al. (1979)."""
        if not len(values):
            return
        total = self.count + len(values)
        mean = values.mean(axis=0)
        difference = mean - self.mean
        self._squares = (
            self._squares + ((values - mean) ** 2).sum(axis=0) + difference**2 * (self.count * len(values) / total)
        )
        self.mean = self.mean + difference * (len(values) / total)
        self.count = total

    @property
    def std(self) -> Values:
        """Return the sample standard deviation; NaN for fewer than two images."""
        return np.sqrt(self._squares / (self.count - 1)) if self.count > 1 else np.full_like(self.mean, np.nan)

    def spread(self, *index: int) -> Spread:
        """Return mean and standard deviation of the value at ``index``."""
        return Spread(float(self.mean[index]), float(self.std[index]))
