"""The sides of bench_fit.py, one file each; every side runs in a process of its own."""
