"""The methods that the conversion races, each written from the description of its source."""
