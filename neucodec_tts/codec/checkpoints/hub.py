"""Model folders and hub repositories: found by name, and their files downloaded."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

from neucodec_tts.built_in import CODECS
from neucodec_tts.errors import CheckpointError

_CONNECT_SECONDS = 3.0


class HubKeywords(TypedDict):
    """The keyword arguments that ``from_pretrained`` has here and in ``transformers``."""

    revision: str
    cache_dir: str | Path | None
    token: str | bool | None
    local_files_only: bool


@dataclass(frozen=True)
class HubOptions:
    """Arguments for downloads from the hub, named as those of ``transformers``."""

    revision: str | None = None
    """Branch, tag or commit; None is the main branch."""
    cache_dir: str | Path | None = None
    """Folder of the downloads; None is that of ``huggingface_hub``."""
    token: str | bool | None = None
    """Access token; True or None takes the one you are logged in with."""
    local_files_only: bool = False
    """Never use the network."""

    def keywords(self) -> HubKeywords:
        """The options as keyword arguments of a ``from_pretrained``."""
        return HubKeywords(
            revision=self.revision or "main",
            cache_dir=self.cache_dir,
            token=self.token,
            local_files_only=self.local_files_only,
        )


@dataclass(frozen=True)
class Location:
    """A folder, or a repository of the hub."""

    name: str
    folder: Path | None
    hub: HubOptions

    def find(self, filename: str) -> Path | None:
        """Path of a file, downloaded if need be; None if the folder or the repository has no such file.

        Raises:
            CheckpointError: the hub cannot be reached, or has no such repository.
        """
        if self.folder is not None:
            path = self.folder / filename
            return path if path.is_file() else None
        return self._download(filename)

    def _download(self, filename: str) -> Path | None:
        from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            HfHubHTTPError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        options = self.hub
        offline = options.local_files_only or constants.HF_HUB_OFFLINE
        if offline or not _reachable(constants.ENDPOINT):

            def cached(name: str) -> object:
                return try_to_load_from_cache(
                    self.name, name, cache_dir=options.cache_dir, revision=options.revision
                )

            path = cached(filename)
            if isinstance(path, str):
                return Path(path)
            if cached("config.json"):
                return None  # the repository has been downloaded before, without this file
            why = "offline mode is on" if offline else f"{constants.ENDPOINT} cannot be reached"
            raise CheckpointError(
                f"cannot get {self.name!r}: {why}, and it is not in the cache; connect to the network, name a folder, "
                "or use the built-in 'tiny'"
            )
        try:
            return Path(
                hf_hub_download(
                    self.name,
                    filename,
                    revision=options.revision,
                    cache_dir=options.cache_dir,
                    token=options.token,
                )
            )
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise CheckpointError(f"cannot get {filename} of {self.name!r} from the hub: {error}") from error
        except GatedRepoError as error:
            raise CheckpointError(
                f"{self.name!r} is gated: accept its conditions on the hub and log in with `hf auth login`"
            ) from error
        except RepositoryNotFoundError as error:
            raise CheckpointError(
                f"{self.name!r} is neither a folder here, nor a built-in model ({', '.join(CODECS)}), nor a "
                "repository of the hub that you can read"
            ) from error
        except RevisionNotFoundError as error:
            raise CheckpointError(f"{self.name!r} has no revision {options.revision!r}") from error
        except EntryNotFoundError:
            return None
        except (HfHubHTTPError, OSError) as error:
            raise CheckpointError(f"cannot get {filename} of {self.name!r} from the hub: {error}") from error


def locate(name: str | os.PathLike[str], hub: HubOptions | None = None) -> Location:
    """Find a model by its name: a built-in one, a folder, or a repository of the hub.

    Raises:
        CheckpointError: it can be none of these.
    """
    text, hub = os.fspath(name), hub or HubOptions()
    if not text:
        raise CheckpointError(
            f"the name of the model is empty; give a folder, a hub id, or one of the built-in: {', '.join(CODECS)}"
        )
    if text in CODECS:
        return Location(text, CODECS[text], hub)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return Location(text, folder, hub)
    if folder.is_file():
        raise CheckpointError(f"{text} is a file; name the folder that holds it")
    if (
        isinstance(name, os.PathLike)
        or text.startswith((".", "/", "~"))
        or text.count("/") != 1
        or "\\" in text
    ):
        raise CheckpointError(
            f"there is no folder {text!r}; a model is a folder, a hub id such as 'neuphonic/neucodec', or one of the "
            f"built-in: {', '.join(CODECS)}"
        )
    return Location(text, None, hub)


def _reachable(endpoint: str) -> bool:
    """True if the hub, or the proxy before it, takes a connection; huggingface_hub alone tries for 24 s."""
    url = urlparse(endpoint)
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if proxy and not proxy_bypass(url.hostname or ""):
        url = urlparse(proxy if "://" in proxy else f"http://{proxy}")
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        with socket.create_connection((url.hostname or "", port), timeout=_CONNECT_SECONDS):
            return True
    except OSError:
        return False
