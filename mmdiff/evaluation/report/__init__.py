"""Reports: as JSON, Markdown, one HTML page, and plots."""
