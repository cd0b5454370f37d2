"""The states of a model along its training."""
