"""skeleton for mmdiff: ``mmdiff train adapter=skeleton``."""
