"""Install Chromium, which the test of the server's page drives, where that needs no questions: as root on Debian.

Run by `make test`. Anywhere else, and if it fails, the test is skipped with its reason. BROWSER=no leaves it out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from venvs import say

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")  # as tests/.../browser.py looks for them
_APT = ("apt-get", "--quiet", "--yes", "-o", "Acquire::Retries=1", "-o", "DPkg::Lock::Timeout=60")


def wants_chromium() -> bool:
    """Whether there is none and it can be had."""
    if os.environ.get("BROWSER") == "no" or any(map(shutil.which, NAMES)):
        return False
    return _is_debian() and os.geteuid() == 0 and shutil.which("apt-get") is not None


def _is_debian() -> bool:
    """Debian itself: what Ubuntu calls chromium is an installer of a snap."""
    try:
        lines = Path("/etc/os-release").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return "ID=debian" in lines


def _apt(*arguments: str) -> str | None:
    """Run apt-get; returns None, or the end of what it said if it failed."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        [*_APT, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=environment,
        check=False,
    )
    lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
    return None if done.returncode == 0 else lines[-1]


def main() -> int:
    """Install it if it is wanted; never fails."""
    if not wants_chromium():
        return 0
    start = time.monotonic()
    wanted = ("install", "--no-install-recommends", "chromium")
    failure = _apt(*wanted)
    if failure is not None:  # a fresh machine has no lists yet
        failure = _apt("update") or _apt(*wanted)
    if failure is not None:
        say(f"Chromium could not be installed, the test of the page will be skipped ({failure})")
    else:
        say(f"Chromium for the test of the page, {time.monotonic() - start:.0f} s (BROWSER=no leaves it out)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
