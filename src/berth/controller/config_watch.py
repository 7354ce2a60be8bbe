"""Watches on the ConfigMaps that Workspaces name, one for each, by name and of its metadata alone.

All ConfigMaps of a cluster are many, and none of ours: kopf's watches, of a whole kind, will not
do. What changed is not taken from here: the reconcile that follows reads the ConfigMap.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from berth.controller import rbac
from berth.controller.api import METADATA_ONLY
from berth.controller.errors import from_status
from berth.controller.kinds import CONFIG_MAP, Key

_log = logging.getLogger(__name__)

_SERVER_SECONDS = 240  # until the server ends a watch
_LIMITS = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=_SERVER_SECONDS + 60)
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0  # seconds before watching again after a refusal

Changed = Callable[[Key], None]


class ConfigWatcher:
    """Follows the ConfigMaps that `follow` names.

    Args:
        client: a kubernetes.client.ApiClient, whose address and credentials are used.
        changed: called with a ConfigMap's namespace and name whenever it may have changed.
    """

    def __init__(self, client: Any, changed: Changed) -> None:
        self._configuration = client.configuration
        self._changed = changed
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._session: aiohttp.ClientSession | None = None

    def follow(self, wanted: Collection[Key]) -> None:
        """Watch these and no others. To be called in a running event loop."""
        for key in self._tasks.keys() - set(wanted):
            self._tasks.pop(key).cancel()
        for key in set(wanted) - self._tasks.keys():
            self._tasks[key] = asyncio.create_task(self._watch(key), name=f"watch {key}")

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        self.follow(())
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _watch(self, key: Key) -> None:
        pause = _FIRST_PAUSE
        while True:
            refused = ""
            try:
                refused = await self._stream(key)
            except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError) as error:
                _log.debug("watching ConfigMap %s ended: %s", key, type(error).__name__)
            if refused and pause == _FIRST_PAUSE:
                # It is still read, with each look at its Workspace.
                _log.warning("ConfigMap %s cannot be watched: %s", key, refused)
            pause = min(_LONGEST_PAUSE, pause * 2) if refused else _FIRST_PAUSE
            await asyncio.sleep(pause * random.uniform(0.75, 1.25))

    async def _stream(self, key: Key) -> str:
        """One watch, until its end; what a server says that refuses it."""
        rbac.check("watch", CONFIG_MAP)
        url = (
            f"{self._configuration.host}/api/v1/namespaces/{quote(key.namespace, safe='')}"
            f"/{CONFIG_MAP.plural}"
        )
        query = {
            "watch": "true",
            "fieldSelector": f"metadata.name={key.name}",
            "timeoutSeconds": str(_SERVER_SECONDS),
        }
        async with self._client().get(url, params=query, headers=self._headers()) as answer:
            if answer.status != 200:
                said = await answer.read()
                return "" if answer.status >= 500 else _words(answer.status, said)
            # Without a resourceVersion it begins with what is there. What is not there any more
            # is not told of, so that each beginning counts as a change.
            self._changed(key)
            last = ""
            async for line in answer.content:
                event = msgspec.json.decode(line)
                if event.get("type") == "ERROR":
                    return ""
                version = str(event["object"]["metadata"].get("resourceVersion", ""))
                if event.get("type") != "BOOKMARK" and version != last:
                    last = version
                    self._changed(key)
        return ""

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # Each watch holds a connection for as long as it lasts.
            connector = aiohttp.TCPConnector(ssl=_trust(self._configuration), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=_LIMITS, read_bufsize=2**20
            )
        return self._session

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": METADATA_ONLY, "User-Agent": "berth-controller"}
        for setting in self._configuration.auth_settings().values():
            headers[setting["key"]] = setting["value"]
        return headers


def _words(status: int, body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        found = {}
    return str(from_status(status, found if isinstance(found, dict) else {}))


def _trust(configuration: Any) -> ssl.SSLContext | bool:
    """As the kubernetes client trusts the server, and shows itself to it."""
    if not str(configuration.host).startswith("https"):
        return True
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context
