"""The parts of ``benchmarks/gpu.py``: what is checked and timed on a card, and how it is told."""
