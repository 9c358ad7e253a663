"""Training a codec: its decoder for codes that exist, an encoder for them, all of it, or all of it from nothing.

    sources -> packed_speech.pack -> segments.SegmentBatches -> trainer.CodecTrainer -> OUT/checkpoint

``examples/train_codec/train.py`` is the command.
"""
