"""A wallet: money comes, is held and goes; docs/write-an-application.md builds it step by step."""
