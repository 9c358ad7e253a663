"""The files that come with the package."""

from __future__ import annotations

from pathlib import Path

ASSETS = Path(__file__).parents[1] / "neucodec_tts" / "assets"
DEMO = ASSETS / "demo.flac"
