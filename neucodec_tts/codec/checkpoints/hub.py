"""Model folders and hub repositories: found by name, and their files downloaded."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlparse
from urllib.request import getproxies, proxy_bypass

from neucodec_tts.built_in import CODECS
from neucodec_tts.errors import CheckpointError

GGUF = ".gguf"
"""Ending of the files that llama.cpp runs."""
_CONNECT_SECONDS = 3.0
_T = TypeVar("_T")


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
    force_download: bool = False
    """Download files again that were downloaded before, once for each `Location`."""

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
    _downloaded: set[str] = field(default_factory=set, repr=False, compare=False)

    def find(self, filename: str) -> Path | None:
        """Path of a file, downloaded if need be; None if the folder or the repository has no such file.

        Raises:
            CheckpointError: the hub cannot be reached, or has no such repository.
        """
        if self.folder is not None:
            path = self.folder / filename
            return path if path.is_file() else None
        return self._download(filename)

    def names(self) -> list[str]:
        """Names of its files, sorted; without a network, of those that were downloaded before.

        Raises:
            CheckpointError: the hub cannot be reached, or has no such repository.
        """
        from huggingface_hub import HfApi, snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        folder, why = self.folder, None if self.folder is not None else self._unreachable()
        if why is not None:
            try:
                folder = Path(
                    snapshot_download(
                        self.name, local_files_only=True, **self._keywords("revision", "cache_dir")
                    )
                )
            except LocalEntryNotFoundError as error:
                raise self._not_cached(why) from error
        if folder is not None:
            return sorted(path.name for path in folder.iterdir() if path.is_file())
        api = HfApi(token=self.hub.token)
        listed = self._ask(
            "the list of files", lambda: api.list_repo_files(self.name, revision=self.hub.revision)
        )
        return sorted(listed or [])

    def _download(self, filename: str) -> Path | None:
        from huggingface_hub import hf_hub_download, try_to_load_from_cache

        why = self._unreachable()
        if why is None:
            keywords = self._keywords("revision", "cache_dir", "token")
            keywords["force_download"] = self.hub.force_download and filename not in self._downloaded
            path = self._ask(filename, lambda: hf_hub_download(self.name, filename, **keywords))
            self._downloaded.add(filename)
            return None if path is None else Path(path)
        if self.hub.force_download:
            raise CheckpointError(f"cannot download {self.name!r} again: {why}; leave force_download out")

        def cached(name: str) -> object:
            return try_to_load_from_cache(self.name, name, **self._keywords("revision", "cache_dir"))

        found = cached(filename)
        if isinstance(found, str):
            return Path(found)
        if cached("config.json"):
            return None  # the repository has been downloaded before, without this file
        raise self._not_cached(why)

    def _keywords(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self.hub, name) for name in names}

    def _unreachable(self) -> str | None:
        """The reason why the network is not used, or None if it is."""
        return "offline mode is on" if self.hub.local_files_only else _why_unreachable()

    def _not_cached(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"cannot get {self.name!r}: {why}, and it is not in the cache; connect to the network, name a folder, "
            "or use the built-in 'tiny'"
        )

    def _ask(self, what: str, question: Callable[[], _T]) -> _T | None:
        """Ask the hub; None if the repository has no such file.

        Raises:
            CheckpointError: the hub does not answer, or has no such repository.
        """
        from huggingface_hub.errors import (
            EntryNotFoundError,
            GatedRepoError,
            LocalEntryNotFoundError,
            OfflineModeIsEnabled,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )

        try:
            return question()
        except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
            raise CheckpointError(f"cannot get {what} of {self.name!r} from the hub: {error}") from error
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
            raise CheckpointError(f"{self.name!r} has no revision {self.hub.revision!r}") from error
        except EntryNotFoundError:
            return None
        except _network_errors() as error:
            raise CheckpointError(f"cannot get {what} of {self.name!r} from the hub: {error}") from error


def _why_unreachable() -> str | None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return "offline mode is on"
    return None if is_reachable(constants.ENDPOINT) else f"{constants.ENDPOINT} cannot be reached"


def _network_errors() -> tuple[type[Exception], ...]:
    """Errors of a network or a hub that fails: huggingface_hub's own, and those of the HTTP library that it uses."""
    from huggingface_hub import errors

    return (errors.HfHubHTTPError, getattr(errors, "HTTPError", OSError), OSError)


def upload(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str,
    private: bool | None,
    token: str | bool | None,
    branch: str | None,
    create_pr: bool | None,
) -> str:
    """Upload a folder to a repository of the hub, which is made if need be; the URL of the commit.

    Raises:
        CheckpointError: the hub cannot be reached, or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    why = _why_unreachable()
    if why is not None:
        raise CheckpointError(f"cannot upload to {repo_id!r}: {why}; save_pretrained writes a folder")
    api = HfApi(token=token)
    failures: tuple[type[Exception], ...] = (HFValidationError, *_network_errors())
    try:
        repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if branch is not None:
            api.create_branch(repo_id, branch=branch, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=commit_message,
            revision=branch,
            create_pr=create_pr,
        )
    except failures as error:
        raise CheckpointError(f"cannot upload to {repo_id!r}: {error}") from error
    return str(commit.commit_url)


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
        raise CheckpointError(
            f"{text} is a GGUF file, which only llama.cpp runs"
            if folder.suffix == GGUF
            else f"{text} is a file; name the folder that holds it"
        )
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


def find_gguf(name: str | os.PathLike[str], hub: HubOptions | None = None) -> Path | None:
    """Find the GGUF file of a language model, and download it if need be.

    Args:
        name: a ``.gguf`` file, a folder, a repository of the hub, or ``OWNER/REPOSITORY/FILE.gguf``.
        hub: how a repository of the hub is reached.

    Returns:
        The file; None for a model in the layout of ``transformers``, which has a ``config.json``.

    Raises:
        CheckpointError: there is no such file or model, or there are several files to choose from.
    """
    text = os.fspath(name)
    file = Path(text).expanduser()
    wanted = None
    if file.suffix == GGUF:
        if file.is_file():
            return file
        if text.count("/") != 2 or text.startswith((".", "/", "~")):
            raise CheckpointError(f"there is no file {text!r} (now in {Path.cwd()})")
        text, wanted = text.rsplit("/", 1)
    location = locate(text, hub)
    # Repositories that hold nothing else are named so; any other is asked for what it must have in any case.
    if wanted is None and "gguf" not in text.lower() and location.find("config.json") is not None:
        return None
    files = [each for each in location.names() if each.endswith(GGUF)]
    if wanted is None and len(files) > 1:
        raise CheckpointError(
            f"{text} holds several GGUF files; name one: {', '.join(f'{text}/{each}' for each in files)}"
        )
    if wanted is not None and wanted not in files:
        raise CheckpointError(f"{text} has no file {wanted}; it has {', '.join(files) or 'no GGUF file'}")
    return location.find(wanted or files[0]) if files else None


def is_reachable(endpoint: str) -> bool:
    """True if a server, or the proxy before it, takes a connection; huggingface_hub alone tries for 24 s."""
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
