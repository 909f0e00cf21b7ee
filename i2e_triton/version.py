"""The version, read by setup tools without importing the package."""

__version__ = "0.1.0"
