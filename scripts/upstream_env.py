"""Make `.venv-upstream` with Neuphonic's own `neucodec` 0.0.6, and print the path of its Python.

The parity tests run scripts with that Python to get reference codes and audio. It is an environment of its
own because upstream's requirements contradict ours. Done once, then it returns at once.
"""

from __future__ import annotations

import sys

from venvs import CONSTRAINTS, ROOT, Environment, SetupError, say

UPSTREAM = [
    "neucodec==0.0.6",
    "torchtune==0.6.1",  # upstream's rotary embedding
    "torchao==0.13.0",  # torchtune 0.6.1 imports torchao.dtypes.nf4tensor, which later versions lack
]


def main() -> int:
    """Make or complete the environment and print its Python; returns the exit status."""
    scripts = ROOT / "scripts"
    try:
        environment = Environment(
            ".venv-upstream", [CONSTRAINTS, scripts / "venvs.py", scripts / "upstream_env.py"]
        )
        if not environment.is_complete():
            environment.create()
            environment.install_torch()
            environment.install("upstream neucodec 0.0.6", *UPSTREAM)
            imported = environment.run("import neucodec")
            if imported.returncode != 0:
                raise SetupError(f"upstream neucodec does not import.\n{imported.stderr}")
            environment.mark_complete()
    except SetupError as error:
        say(f"error: {error}")
        return 1
    print(environment.python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
