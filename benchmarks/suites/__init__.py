"""The suites of benchmark.py, one file each; a suite is a function that takes a Plan and returns rows."""
