"""The sides of bench_harvest.py, one file each; every side runs in a process of its own."""
