"""From requests to files."""
