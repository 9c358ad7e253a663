"""``python -m neucodec_tts`` is ``neucodec-tts``."""

from neucodec_tts.cli import main

if __name__ == "__main__":
    main()
