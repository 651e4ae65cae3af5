"""Clients that behave badly, each kind in its own way, and one that behaves well beside them.

`tests/hostile` holds a server against them, `bench` measures it. They know a server by its port
only, and share nothing with it.
"""
