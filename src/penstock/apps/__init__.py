"""The applications: each one folder of the same shape, none knowing another."""
