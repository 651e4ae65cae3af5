"""Audiences: user tags in, profiles of the newest and exact per-minute aggregates out."""
