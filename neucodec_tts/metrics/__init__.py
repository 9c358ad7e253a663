"""Scores and pictures of speech before and after a codec."""
