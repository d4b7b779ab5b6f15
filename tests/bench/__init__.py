"""Benchmarks: where time and memory go, and how that grows. See README.md beside this file for how to run each."""
