"""Load a server of speech: a client that asks, listens and compares."""
