"""One label run over several processes: Ray actors explain and score ranges of features, one driver publishes."""
