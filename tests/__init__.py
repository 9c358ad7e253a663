"""Tests mirror the packages they test; ``tests/parity`` compares with the other implementations."""
