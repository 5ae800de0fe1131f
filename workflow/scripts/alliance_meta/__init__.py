"""Meta-analysis of coded study extractions on the therapeutic alliance."""

__version__ = "0.1.0"
