"""A program that prepares a data set on a cluster of three nodes; one dies amid the run, and another joins.

Its arguments are a corpus, the data set's folder or URL, and an empty folder. The node of the first encoder that comes
to item 4 loses its raylet, the process of Ray's that makes it a node. It prints the number of nodes that were there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neucodec_tts.dataset import Item, PrepareSettings, Source, open_source

SMALL = PrepareSettings(min_seconds=0.1, shard_items=1, batch_seconds=4.0)


@dataclass(frozen=True)
class OnceDeadly:
    """A corpus of which one item ends the node that reads it first."""

    like: Source
    mark: Path

    @property
    def kind(self) -> str:
        return self.like.kind

    @property
    def name(self) -> str:
        return self.like.name

    @property
    def options(self) -> Mapping[str, object]:
        return self.like.options

    def items(self) -> Iterator[Item]:
        return self.like.items()

    def read(self, item: Item, longest: float | None) -> tuple[np.ndarray, int]:
        if item.id == "4" and not self.mark.exists():
            self.mark.touch()
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()  # until Ray ends this encoder, too
        return self.like.read(item, longest)


def main(corpus: str, out: str, marks: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    from neucodec_tts_ray.engine import prepare

    memory = 80 * 2**20
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": memory}, connect=True
    )
    joined: list[object] = []

    def join(progress: object) -> None:
        if (marks / "dead").exists() and not joined:
            joined.append(cluster.add_node(num_cpus=1, object_store_memory=memory))

    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=memory)
        cluster.wait_for_nodes()
        source = OnceDeadly(open_source(corpus), marks / "dead")
        prepare(source, out, "tiny", SMALL, workers=0, on_progress=join)
        dead = sum(not node["Alive"] for node in ray.nodes())
        print("nodes:", len(ray.nodes()), "dead:", dead, "joined:", len(joined), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
