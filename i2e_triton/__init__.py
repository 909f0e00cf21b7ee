"""I2E image-to-event conversion (Ma et al., AAAI 2026) as one fused Triton kernel.

``i2e_triton.convert(images)`` converts a batch of images to events for spiking networks. Subpackages such as
``i2e_triton.formats`` are imported when they are first used, because they need more packages than PyTorch.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from i2e_triton import augmentation as augmentation
from i2e_triton.draws import random_shifts
from i2e_triton.functional import convert, event_rate, pack, unpack
from i2e_triton.install_hints import needs_extra
from i2e_triton.module import I2E
from i2e_triton.shifts import ORDERS, canonical_shifts, row_shifts
from i2e_triton.surrogate import Surrogate

__version__ = "0.1.0"

__all__ = [
    "I2E",
    "ORDERS",
    "Surrogate",
    "__version__",
    "canonical_shifts",
    "convert",
    "event_rate",
    "pack",
    "random_shifts",
    "row_shifts",
    "unpack",
]

#: Modules that are imported when they are first used, and the extra that installs their dependencies.
_LAZY_MODULES = {
    "analysis": "data",
    "datasets": "data",
    "formats": "data",
    "pipeline": "data",
    "recordings": "recordings",
    "sources": "data",
    "training": "train",
    "transforms": "vision",
    "video": "video",
    "visualize": "cli",
}

if TYPE_CHECKING:
    from i2e_triton import analysis as analysis
    from i2e_triton import datasets as datasets
    from i2e_triton import formats as formats
    from i2e_triton import pipeline as pipeline
    from i2e_triton import recordings as recordings
    from i2e_triton import sources as sources
    from i2e_triton import training as training
    from i2e_triton import transforms as transforms
    from i2e_triton import video as video
    from i2e_triton import visualize as visualize
else:  # hidden from type checkers, because with __getattr__ they would accept every misspelt name

    def __getattr__(name: str) -> ModuleType:
        """Import and return a module of :data:`_LAZY_MODULES`.

        Raises:
            AttributeError: if there is no such module.
            ModuleNotFoundError: if the module needs a package that is not installed. The message names the command that
                installs it.
        """
        if name not in _LAZY_MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        with needs_extra(f"{__name__}.{name}", _LAZY_MODULES[name]):
            return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """Return the names of the package, including the modules that are not yet imported."""
    return sorted({*globals(), *_LAZY_MODULES})
