"""Releases: published from stored artifacts, pulled into a folder that SAELens opens, verified byte by byte."""
