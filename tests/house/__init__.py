"""The rules of the house, checked over its source."""
