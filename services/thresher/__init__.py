"""thresher: harvest a language model's activations, fit sparse dictionaries to them, label every feature."""

__version__ = "0.1.0"
