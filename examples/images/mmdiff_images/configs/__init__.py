"""YAML of this package, laid out as mmdiff's own."""
