"""The codec: 16 kHz speech to codes at 50 Hz, and codes to speech. It knows nothing of language models."""
