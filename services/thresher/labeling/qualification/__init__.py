"""Whether a scorer can tell true labels from false ones, tried on features whose rules are known."""
