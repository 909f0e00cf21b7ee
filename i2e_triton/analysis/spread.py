"""Mean and standard deviation over images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of a quantity over images."""

    mean: float
    std: float  #: sample standard deviation (n - 1), as ``torch.std``; NaN for fewer than two images

    @classmethod
    def of(cls, values: npt.ArrayLike) -> Spread:
        """Return the spread of one value per image."""
        array = np.asarray(values)
        return cls(float(array.mean()), float(array.std(ddof=1)) if len(array) > 1 else float("nan"))

    def as_json(self) -> dict[str, float | None]:
        """Return mean and standard deviation as JSON types. NaN becomes None."""
        return {"mean": self.mean, "std": None if np.isnan(self.std) else self.std}
