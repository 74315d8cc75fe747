"""The shipped configuration; installed as the package ``mmdiff.configs``."""
