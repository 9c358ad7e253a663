"""Codecs compared: each encodes and decodes the same recordings, and the result is measured.

- `codecs`: the contract of a codec, and those that are known by name; `ffmpeg_codecs`: Opus and Codec 2
- `listeners`: what a recogniser, a judge of quality and a knower of voices hear
- `measuring`: the measures of one recording; `run`: those of many, by many codecs, kept on disk
- `table`: means, Markdown, pictures; `published`: figures of others
- `bit_errors`, `agreement`: codes with flipped bits, and codes of two encoders
"""
