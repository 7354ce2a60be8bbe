"""`berth chat`: talk to a server from the terminal, over OpenAI's chat completions.

The conversation lives in this process alone; nothing is written to disk.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import click
import msgspec

from berth.cli.bench import server_address
from berth.cli.chat_input import questions
from berth.cli.http_client import (
    BrokenAnswer,
    ClientError,
    Refused,
    Target,
    Unreachable,
    bearer,
    error_sentence,
    send,
    served_model,
)
from berth.cli.load import run_async

_HELP = """\
/system TEXT   set the system prompt and start anew; without TEXT, remove it
/reset         forget the conversation, keep the system prompt (/clear too)
/help          this list (/? too)
/quit          leave (/bye, /exit and Ctrl-D too)
\"""            begin a message of many lines; \""" ends it
Ctrl-C         stop the answer that is being written
A pasted text is one message, whatever its lines; Alt-Enter breaks a line."""

_LEAVE = frozenset({"/quit", "/bye", "/exit"})

_NEARLY_FULL = 0.8  # of the context, from which on each answer says how much is left

# What a model writes must not move the cursor, retitle the window or ring the bell.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(slots=True, kw_only=True)
class Conversation:
    """A dialog and how to go on with it."""

    target: Target
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    turns: list[dict[str, str]] = field(default_factory=list, repr=False)
    context: int | None = None  # tokens that the model takes; 0: never said; None: not yet known

    def body(self) -> bytes:
        """The request for the next answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        fields = {
            "model": self.model,
            "messages": system + self.turns,
            "stream": True,
            "stream_options": {"include_usage": True},
            "temperature": self.temperature,
            "max_tokens": self.max_tokens,
        }
        return msgspec.json.encode({k: v for k, v in fields.items() if v is not None})


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta = msgspec.field(default_factory=_Delta)
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    total_tokens: int = 0


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    error: msgspec.Raw = msgspec.Raw()


_chunk = msgspec.json.Decoder(_Chunk).decode


@dataclass(slots=True)
class Reply:
    """An answer, as far as it has come."""

    text: str = ""
    finish_reason: str | None = None
    tokens: int = 0  # of the conversation with this answer; 0: the server does not say


async def stream(conversation: Conversation, reply: Reply) -> AsyncGenerator[str, None]:
    """The next answer's text as it comes; `reply` holds what has come. Raises ClientError."""
    if conversation.model is None or conversation.context is None:
        served = await served_model(conversation.target, conversation.headers, conversation.model)
        conversation.model = conversation.model or served.id
        # 0 of a model that is still loading: asked again at the next question.
        conversation.context = 0 if served.max_model_len is None else served.max_model_len or None
    async with send(
        conversation.target,
        "POST",
        "/v1/chat/completions",
        body=conversation.body(),
        headers=conversation.headers,
    ) as response:
        await response.refuse_errors()
        if not response.is_event_stream:
            raise BrokenAnswer("the server does not stream chat completions")
        async for batch in response.event_batches():
            for data in batch:
                if data == b"[DONE]":
                    return
                for text in _texts(data, response.status, reply):
                    reply.text += text
                    yield text
    raise BrokenAnswer("the server stopped in the middle of the answer")


def _texts(data: bytes, status: int, reply: Reply) -> list[str]:
    try:
        chunk = _chunk(data)
    except msgspec.DecodeError:
        raise BrokenAnswer("the server's answer is not an OpenAI chat completion") from None
    if bytes(chunk.error) not in (b"", b"null"):
        raise Refused(0, error_sentence(data, status))
    if chunk.usage is not None:
        reply.tokens = chunk.usage.total_tokens
    for choice in chunk.choices[:1]:
        reply.finish_reason = choice.finish_reason or reply.finish_reason
    return [choice.delta.content for choice in chunk.choices[:1] if choice.delta.content]


def say(conversation: Conversation, question: str) -> Reply:
    """Ask, print the answer as it comes, and keep both turns.

    What a Ctrl-C leaves of an answer is kept too; after an error with no text the question is
    forgotten, so that it can be put again.

    Raises:
        ClientError: the server cannot be reached, refuses, or breaks off.
        KeyboardInterrupt: Ctrl-C; the connection is closed, so the server stops working on it.
    """
    conversation.turns.append({"role": "user", "content": question})
    reply = Reply()
    try:
        run_async(_print(conversation, reply))
    finally:
        if reply.text:
            conversation.turns.append({"role": "assistant", "content": reply.text})
        else:
            conversation.turns.pop()
    return reply


async def _print(conversation: Conversation, reply: Reply) -> None:
    async with contextlib.aclosing(stream(conversation, reply)) as texts:
        async for text in texts:
            click.echo(_CONTROL.sub("", text), nl=False)


def _explain(error: ClientError) -> str:
    if isinstance(error, Unreachable):
        return f"{error}; start it with: berth serve"
    return str(error)


@click.command()
@click.argument("url", callback=server_address, default="http://localhost:5000")
@click.option(
    "--once",
    metavar="QUESTION",
    help="Print the answer to one question and leave. '-' reads it from standard input.",
)
@click.option("--system", help="System prompt.")
@click.option(
    "--temperature",
    type=click.FloatRange(0, 2),
    help="0 always takes the likeliest token. [default: the server's]",
)
@click.option(
    "--max-tokens", type=click.IntRange(1), help="Longest answer. [default: the server's]"
)
@click.option("--model", help="Model to ask for. [default: the first of /v1/models]")
@click.option("--api-key", envvar="BERTH_API_KEY", show_envvar=True, help="The server's key.")
def chat(
    url: Target, once: str | None, system: str | None, temperature: float | None,
    max_tokens: int | None, model: str | None, api_key: str | None,
) -> None:  # fmt: skip
    """Talk to the model behind URL in the terminal.

    \b
      berth chat
      berth chat http://host:8000 --system "Answer in one sentence."
      berth chat --once "What is the capital of France?"

    URL is any server with OpenAI's /v1/chat/completions. Nothing is written to disk.
    """
    try:
        headers = bearer(api_key)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--api-key") from None
    conversation = Conversation(
        target=url, headers=headers, model=model, system=system, temperature=temperature,
        max_tokens=max_tokens,
    )  # fmt: skip
    if once is not None:
        _answer_once(conversation, once)
    else:
        _converse(conversation)


def _answer_once(conversation: Conversation, question: str) -> None:
    if question == "-":
        question = sys.stdin.read()
    if not question.strip():
        raise click.BadParameter("the question is empty", param_hint="--once")
    try:
        say(conversation, question)
    except ClientError as error:
        raise click.ClickException(_explain(error)) from None
    click.echo()


def _converse(conversation: Conversation) -> None:
    # A reader who pipes questions in wants the answers alone.
    source = questions()
    if source.interactive:
        click.echo(f"Talking to {conversation.target.url}. /help lists the commands.")
    while True:
        try:
            question = source.next()
        except EOFError:
            return
        except KeyboardInterrupt:
            click.echo("(/quit or Ctrl-D leaves)", err=True)
            continue
        if question in _LEAVE:
            return
        if question.startswith("/") and "\n" not in question:
            _command(conversation, question)
        elif question:
            with source.quiet():
                _turn(conversation, question)


def _command(conversation: Conversation, line: str) -> None:
    name, _, rest = line.partition(" ")
    if name in ("/help", "/?"):
        click.echo(_HELP)
    elif name in ("/reset", "/clear"):
        conversation.turns.clear()
        click.echo("The conversation starts anew.", err=True)
    elif name == "/system":
        conversation.system = rest.strip() or None
        conversation.turns.clear()
        done = "set" if conversation.system else "removed"
        click.echo(f"System prompt {done}; the conversation starts anew.", err=True)
    else:
        click.echo(f"There is no command {name}; /help lists them.", err=True)


def _turn(conversation: Conversation, question: str) -> None:
    """One question and its answer. No error ends the program."""
    try:
        reply = say(conversation, question)
    except KeyboardInterrupt:
        click.echo("\n(stopped)", err=True)
        return
    except ClientError as error:
        begun = conversation.turns and conversation.turns[-1]["role"] == "assistant"
        hint = "; /reset starts anew" if isinstance(error, Refused) and conversation.turns else ""
        click.echo(f"{chr(10) if begun else ''}{_explain(error)}{hint}", err=True)
        return
    click.echo()
    if (told := _told(conversation, reply)) is not None:
        click.echo(told, err=True)


def _told(conversation: Conversation, reply: Reply) -> str | None:
    """What the user should know of an answer: that it was cut, or how full the context is."""
    context, used = conversation.context or 0, reply.tokens
    if context and used >= context:
        return (
            f"(cut: the conversation fills the model's context of {context:,} tokens; "
            "/reset starts anew)"
        )
    if reply.finish_reason == "length":
        return "(cut at the limit; --max-tokens sets it)"
    if context and used >= _NEARLY_FULL * context:
        return (
            f"({used:,} of the context's {context:,} tokens are used; when they are, "
            "/reset starts anew)"
        )
    return None
