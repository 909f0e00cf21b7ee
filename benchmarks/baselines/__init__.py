"""The methods that this package is compared with, each written from the description in its source."""
