"""From what was logged to tidy frames."""
