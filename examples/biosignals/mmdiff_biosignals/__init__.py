"""Heartbeats, pulses and breaths for mmdiff: ``mmdiff train adapter=biosignals``."""
