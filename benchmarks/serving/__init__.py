"""What a server of speech is like for those who use it: a client that loads it, listens, and compares."""
