"""Speech from vLLM: constrained generation, batches offline, and an HTTP API on vLLM's own server.

vLLM finds this package by its entry points; importing it costs nothing until something of it is used.
"""
