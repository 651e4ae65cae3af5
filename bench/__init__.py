"""Measurements: ratios against references of the same run, and what a user would feel."""
