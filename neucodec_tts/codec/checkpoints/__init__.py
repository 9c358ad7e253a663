"""Checkpoints on disk and on the hub, in the layouts of transformers and of upstream."""
