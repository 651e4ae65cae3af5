"""What every application stands on. Nothing in here knows an application."""
