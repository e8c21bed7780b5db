"""Dictionaries that are not trained by gradient: what a trained one should be better than."""
