"""The night's work: which labels are missing or no longer hold, in which order, within which windows."""
