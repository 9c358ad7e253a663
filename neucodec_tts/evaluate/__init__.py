"""Measurements of serving, streaming and the speech pipeline."""
