"""Editing: entities in the database, each change with its audit and its way to the log."""
