"""An engine process without a model: speaks berth.protocol, answers by arithmetic, fails at will.

It is started through the very same path as the real one, by naming it as the engine's command:

    EngineConfig(...) plus engine_argv=(FAKE_ENGINE, "--step-seconds", "0.01", "--reply", "echo")

and then connects to the socket in its configuration. By default it says the token
`next_token(prompt, position, vocab)` at each output position, which depends on nothing else, so a
test can compute the whole expected answer with `expected_tokens`. Options:

    --vocab N            ids are below N (default 400, the size of tiny_model's tokenizer)
    --reply hash         pseudo-random tokens of the whole vocabulary, parts of characters too
    --reply echo         the prompt without its first token, over and over: readable text
    --reply 5,6,7        these tokens, over and over
    --inputs "A B"       says that it takes these kinds of inputs, none by default
    --eos-after N        the token 2 (</s>) as the N-th token
    --step-seconds S     time of one step (default 0.002); every running request gets one token
    --load-seconds S     time between Loading messages at start (default 0)
    --journal FILE       appends one JSON line per start, submit and cancel
    --state FILE         counts starts, so that faults can be planned per life
    --die-after A,B      SIGKILLs itself after A tokens in its first life, B in its second, …
    --die-unbegun L,M    SIGKILLs itself in these lives (from 0) when a request comes
    --hang-after A,B     the same, but hangs (needs --state, like --die-after)
    --hang-kind frozen   heartbeats go on, busy, with `work` standing still (default)
    --hang-kind silent   heartbeats stop, the process lives
    --poison-token ID    dies when a prompt holding this token runs its first step
    --fatal TEXT         reports Fatal(retry=False) while loading, and exits
    --exit-early         exits with status 3 before it connects
    --hang-rank R        the rank that hangs or dies (default 0)

Under torchrun (RANK, LOCAL_RANK in the environment) ranks above 0 connect and send heartbeats only.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import socket
import sys
import threading
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from berth.protocol.begun import Begun
from berth.protocol.config import EngineConfig
from berth.protocol.messages import (
    Cancel,
    Delta,
    EngineStats,
    Fatal,
    Heartbeat,
    Loading,
    Ready,
    SamplingParams,
    Shutdown,
    StepReport,
    Submit,
    ToEngine,
    TokenLogprob,
)
from berth.protocol.wire import FrameReader, decode_to_engine, frame

FAKE_ENGINE = str(Path(__file__).resolve())
FIRST_TOKEN = 3  # after <unk>, <s> and </s>
EOS = 2


def next_token(prompt: Sequence[int], position: int, vocab: int) -> int:
    """What the fake says at output position `position` in its "hash" mode."""
    text = ",".join(map(str, prompt)) + f"@{position}"
    return FIRST_TOKEN + zlib.crc32(text.encode()) % (vocab - FIRST_TOKEN)


def reply_token(reply: str, prompt: Sequence[int], position: int, vocab: int) -> int:
    """What the fake says at `position` in the mode `reply` (see the module's docstring)."""
    if reply == "hash":
        return next_token(prompt, position, vocab)
    script = list(prompt[1:]) if reply == "echo" else [int(part) for part in reply.split(",")]
    return script[position % len(script)]


def expected_tokens(
    prompt: Sequence[int], count: int, *, vocab: int = 400, reply: str = "hash"
) -> list[int]:
    """The first `count` tokens of the fake's answer to `prompt`."""
    return [reply_token(reply, prompt, position, vocab) for position in range(count)]


class Running:
    """One request inside the fake."""

    def __init__(self, submit: Submit) -> None:
        self.id = submit.request_id
        self.prompt = submit.prompt
        self.params: SamplingParams = submit.params
        self.position = len(submit.emitted)
        self.first = True


class FakeEngine:
    """The main thread steps; one thread reads the socket, one sends heartbeats."""

    def __init__(self, options: argparse.Namespace, config: EngineConfig) -> None:
        self.options = options
        self.config = config
        self.rank = int(os.environ.get("RANK", "0"))
        self.life = self._count_start()
        self.inbox: queue.SimpleQueue[ToEngine | None] = queue.SimpleQueue()
        self.sending = threading.Lock()
        self.work = 0
        self.busy = False
        self.silent = False
        self.tokens = 0
        self.running: list[Running] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def _count_start(self) -> int:
        if not self.options.state:
            return 0
        path = Path(f"{self.options.state}.{self.rank}")
        starts = int(path.read_text()) if path.exists() else 0
        path.write_text(str(starts + 1))
        return starts

    def run(self) -> NoReturn:
        self.journal(event="start", life=self.life, pid=os.getpid(), rank=self.rank)
        if self.options.exit_early:
            sys.stderr.write("the fake engine exits early\n")
            os._exit(3)
        self.socket.connect(self.config.socket)
        self.begun = Begun.open(self.config.socket)
        threading.Thread(target=self._heartbeats, daemon=True).start()
        threading.Thread(target=self._read, daemon=True).start()
        for done in (0, 50, 100):
            self.send(Loading(rank=self.rank, done=done, total=100))
            time.sleep(self.options.load_seconds / 3)
        if self.options.fatal:
            self.send(Fatal(rank=self.rank, reason=self.options.fatal, retry=False))
            os._exit(1)
        if self.rank == 0:
            self.send(self._ready())
        while True:
            self._take(block=not self.running)
            self._step()

    def _ready(self) -> Ready:
        return Ready(
            engine="fake",
            architecture="fake",
            vocab_size=self.options.vocab,
            max_model_len=self.config.max_model_len or 512,
            max_num_seqs=self.config.max_num_seqs,
            block_size=16,
            blocks_total=1024,
            dtype="float32",
            device="cpu",
            degree=self.config.degree,
            weight_bytes=100,
            kv_bytes=100,
            load_seconds=self.options.load_seconds,
            inputs=tuple(self.options.inputs.split()),
        )

    def _take(self, *, block: bool) -> None:
        while True:
            try:
                message = self.inbox.get(block=block)
            except queue.Empty:
                return
            block = False
            match message:
                case Submit():
                    self.journal(
                        event="submit",
                        id=message.request_id,
                        emitted=len(message.emitted),
                        root=message.root,
                    )
                    self.running.append(Running(message))
                    if str(self.life) in self.options.die_unbegun.split(","):
                        self._die()
                case Cancel():
                    self.journal(event="cancel", ids=message.request_ids)
                    self.running = [r for r in self.running if r.id not in message.request_ids]
                case Shutdown() | None:
                    os._exit(0)

    def _step(self) -> None:
        if not self.running:
            self._maybe_fail()
            return
        self.busy = True
        started = time.monotonic()
        self.work += 1
        batch = self.running[: self.config.max_num_seqs]
        for request in batch:
            self.begun.mark(request.id)
        if any(r.first and self.options.poison_token in r.prompt for r in batch):
            self._die()
        if self.options.step_seconds:
            time.sleep(self.options.step_seconds)
        deltas = []
        for request in batch:
            deltas.append(self._advance(request))
            self._maybe_fail()
        ended = {delta.request_id for delta in deltas if delta.finish_reason}
        self.running = [r for r in self.running if r.id not in ended]
        self.busy = False
        running = min(len(self.running), self.config.max_num_seqs)
        self.send(
            StepReport(
                deltas=deltas,
                stats=EngineStats(
                    running=running,
                    waiting=len(self.running) - running,
                    blocks_used=running,
                    blocks_total=1024,
                    step_seconds=time.monotonic() - started,
                    tokens_in_step=len(batch),
                ),
            )
        )

    def _advance(self, request: Running) -> Delta:
        options, params = self.options, request.params
        token = reply_token(options.reply, request.prompt, request.position, options.vocab)
        request.position += 1
        if options.eos_after == request.position:
            token = EOS
        self.tokens += 1
        reason: Any = None
        if token in params.stop_token_ids and request.position > params.min_tokens:
            reason = "stop"
        elif request.position >= params.max_tokens:
            reason = "length"
        prompt_logprobs: list[TokenLogprob | None] | None = None
        if request.first and params.prompt_logprobs is not None:
            scored = [self._logprob(t, params.prompt_logprobs) for t in request.prompt[1:]]
            prompt_logprobs = [None, *scored]
        logprobs = None if params.logprobs is None else [self._logprob(token, params.logprobs)]
        request.first = False
        return Delta(request.id, [token], reason, logprobs, prompt_logprobs)

    def _logprob(self, token: int, top: int) -> TokenLogprob:
        others = [((token + i) % self.options.vocab, -0.5 - i) for i in range(top)]
        return TokenLogprob(token, -0.5, others)

    def _maybe_fail(self) -> None:
        if self.rank != self.options.hang_rank:
            return
        if self.tokens >= self._limit(self.options.die_after):
            self._die()
        if self.tokens >= self._limit(self.options.hang_after):
            self.busy = True
            self.silent = self.options.hang_kind == "silent"
            self.journal(event="hang", time=time.monotonic())
            while True:
                time.sleep(60)

    def _limit(self, plan: str) -> float:
        limits = [float(part) for part in plan.split(",") if part]
        return limits[self.life] if self.life < len(limits) else float("inf")

    def _die(self) -> NoReturn:
        self.journal(event="die")
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    def _heartbeats(self) -> None:
        while not self.silent:
            self.send(Heartbeat(rank=self.rank, work=self.work, busy=self.busy))
            time.sleep(self.config.heartbeat_seconds)

    def _read(self) -> None:
        frames = FrameReader()
        while data := self.socket.recv(1 << 16):
            for body in frames.feed(data):
                self.inbox.put(decode_to_engine(body))
        os._exit(0)

    def send(self, message: Any) -> None:
        with self.sending:
            try:
                self.socket.sendall(frame(message))
            except OSError:
                os._exit(0)

    def journal(self, **entry: Any) -> None:
        if self.options.journal:
            with open(self.options.journal, "a") as file:
                file.write(json.dumps(entry) + "\n")


def main() -> NoReturn:
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--vocab", type=int, default=400)
    parser.add_argument("--reply", default="hash")
    parser.add_argument("--inputs", default="")
    parser.add_argument("--eos-after", type=int, default=0)
    parser.add_argument("--step-seconds", type=float, default=0.002)
    parser.add_argument("--load-seconds", type=float, default=0.0)
    parser.add_argument("--journal", default="")
    parser.add_argument("--state", default="")
    parser.add_argument("--die-after", default="")
    parser.add_argument("--die-unbegun", default="")
    parser.add_argument("--hang-after", default="")
    parser.add_argument("--hang-kind", choices=("frozen", "silent"), default="frozen")
    parser.add_argument("--hang-rank", type=int, default=0)
    parser.add_argument("--poison-token", type=int, default=-1)
    parser.add_argument("--fatal", default="")
    parser.add_argument("--exit-early", action="store_true")
    options = parser.parse_args()
    config = msgspec.json.decode(options.config, type=EngineConfig)
    FakeEngine(options, config).run()


if __name__ == "__main__":
    main()
