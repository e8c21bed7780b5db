"""From exemplars to labels with scores: client, explainers, scorers, response ledger."""
