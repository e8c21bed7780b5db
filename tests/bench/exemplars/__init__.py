"""The sides of bench_exemplars.py, each run as a process of its own."""
