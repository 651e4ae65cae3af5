"""The steps of the schema; a new one is a file more, and none is ever changed."""
