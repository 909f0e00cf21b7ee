"""The methods that this package is compared with, each rewritten from its paper or its official scripts."""
