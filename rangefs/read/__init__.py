"""Flights (one fetch, many waiters), the reader that runs the plan, and the prefetcher."""
