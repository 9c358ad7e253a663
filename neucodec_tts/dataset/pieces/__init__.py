"""Long recordings in pieces: cut where nobody speaks, or where a transcript with times says.

- `pauses`: the pauses of a recording, and cuts in them
- `transcripts`: files of cues: whisper's JSON, TextGrid, WebVTT, SubRip, LRC
- `cues`: cues to pieces, each a sentence or more
"""
