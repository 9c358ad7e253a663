"""Recordings: read a file, bring any recording to the waveform that the codec takes, write a file.

- `reading`: `load_audio`, the one reader of files, for the library, the command line, corpora and servers
- `long_recording`: `LongRecording`, of which parts are read one after the other
- `ffmpeg`: the program, for formats that libsndfile does not read or write
- `containers`: `find_recordings`, for files whose header does not tell how much is in them. It asks a module for each
  format (`riff`, `flac`, `ogg`, `caf`, `aiff_au_w64`, `sphere`, `mp4`, `mp3`); `recordings` holds what these share
- `splice`: parts of files as one
- `channels`: many channels to one
- `waveform`: `as_waveform` and `as_mono`, from all that people hold, and their checks
- `resampling`: other sample rates
- `writing`: `write_audio`
"""

from neucodec_tts.audio.long_recording import LongRecording
from neucodec_tts.audio.reading import AUDIO_SUFFIXES, AudioTooLongError, load_audio
from neucodec_tts.audio.waveform import Audio, as_mono, as_waveform
from neucodec_tts.audio.writing import check_output, opus_rate, write_audio

__all__ = [
    "AUDIO_SUFFIXES",
    "Audio",
    "AudioTooLongError",
    "LongRecording",
    "as_mono",
    "as_waveform",
    "check_output",
    "load_audio",
    "opus_rate",
    "write_audio",
]
