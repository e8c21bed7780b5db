"""Which label each feature has now, and how well it stands: read from stored runs."""
