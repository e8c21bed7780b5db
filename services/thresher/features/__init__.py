"""From sparse codes to feature statistics and exemplars."""
