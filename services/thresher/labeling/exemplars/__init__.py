"""What is known of a feature: the texts that it fires on, and those it does not."""
