"""Penstock: one durable event log, and every product a team needs built on it."""

__version__ = "0.1.0"
