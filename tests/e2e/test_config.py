"""`berth serve --config`: the file's names and keys hold, and SIGHUP changes them in a stream."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path

from e2e.berth_server import berth_serve, poll

FILE = """\
models:
  mine:
    source: pocket
    threads: {threads}
aliases:
  {alias}: mine
limits:
  max_waiting: {waiting}
keys:
  - file: keys
log:
  level: {level}
"""


def test_sighup_changes_what_can_change_and_drops_no_stream(tmp_path: Path) -> None:
    path, keys = tmp_path / "berth.yaml", tmp_path / "keys"
    first = FILE.format(threads=1, alias="gpt-3.5-turbo", waiting=8, level="info")
    path.write_text(first)
    keys.write_text("sk-first\n")
    options = ("--config", str(path), "--state-dir", str(tmp_path / "state"))
    with berth_serve(tmp_path, *options) as server:

        def status(key: str, model: str) -> int:
            body = {"model": model, "prompt": "a", "max_tokens": 1}
            said = server.call("/v1/completions", body, headers={"Authorization": f"Bearer {key}"})
            return said[0]

        def reload() -> str:
            before = len(server.log)
            server.process.send_signal(signal.SIGHUP)
            words = ("is read anew", "all stays as it is")
            poll(lambda: any(one in server.log[before:] for one in words), what="the reload")
            return server.log[before:]

        assert status("sk-none", "mine") == 401
        assert [status("sk-first", name) for name in ("mine", "gpt-3.5-turbo", "pocket")] == [
            200, 200, 404
        ]  # fmt: skip
        stream = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        asked = {
            "model": "gpt-3.5-turbo", "prompt": "Once upon a time", "stream": True,
            "max_tokens": 200, "ignore_eos": True, "stream_options": {"include_usage": True},
        }  # fmt: skip
        stream.request("POST", "/v1/completions", json.dumps(asked), {
            "Authorization": "Bearer sk-first", "Content-Type": "application/json"
        })  # fmt: skip
        answer = stream.getresponse()
        assert answer.status == 200
        begun = answer.readline()

        path.write_text(FILE.format(threads=2, alias="other", waiting=9, level="info"))
        keys.write_text("sk-second\n")
        said = reload()
        assert "aliases.gpt-3.5-turbo is changed" in said
        assert "aliases.other is changed" in said
        assert "limits.max_waiting is changed" in said
        assert "models.mine.threads changes with a restart of the server, not before" in said
        assert "keys: 1 of the owner's own hold from now on" in said
        assert "sk-second" not in said
        assert status("sk-first", "mine") == 401
        assert [status("sk-second", one) for one in ("other", "gpt-3.5-turbo")] == [200, 404]

        whole = begun + answer.read()
        assert whole.rstrip().endswith(b"data: [DONE]")
        last = json.loads(whole.split(b"data: ")[-2])
        assert last["usage"]["completion_tokens"] == 200

        path.write_text("limits: {max_wait: 1}\n")
        assert f"{path}:1: limits.max_wait: unknown key; did you mean max_waiting?" in reload()
        path.write_text("models: {mine: {source: pocket}}\n")
        assert "a server with keys does not open to all" in reload()
        assert [status("sk-second", "other"), status("", "other")] == [200, 401]
        path.write_text(first.replace("aliases:", "  extra:\naliases:"))
        assert "models.extra changes with a restart of the server, not before" in reload()
        # What waits for a restart is told again, and is not once the file has what runs.
        path.write_text(first)
        assert "models.mine.threads" not in reload()
        assert server.stop() == 0
