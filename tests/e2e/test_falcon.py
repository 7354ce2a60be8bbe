"""The seed's two Falcon calls, word for word, against `berth serve`; and what they leave unsaid."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer

from e2e.berth_server import Server, berth_serve, code_blocks, poll, run_shell
from e2e.random_model import random_model
from e2e.streams import Stream
from e2e.tiny_falcon import tiny_falcon

SEED = (Path(__file__).parent / "seeds" / "kaito-falcon.md").read_text()
CURLS = [block for block in code_blocks(SEED) if block.startswith("curl")]
PROMPT = "YOUR_PROMPT_HERE"
GREEDY = {"do_sample": False, "max_length": 60}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_falcon(tmp_path_factory.mktemp("falcon"))


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = [str(folder), "--engine", "transformers", "--threads", "1", "--dtype", "float32"]
    arguments += ["--disable_trust_remote_code"]  # as KAITO's own command line may have it
    with berth_serve(tmp_path_factory.mktemp("serve"), *arguments) as running:
        yield running


def generated(folder: Path, prompt: str, **settings: Any) -> list[str]:
    """Prompt and output as transformers itself gives them."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer.encode(prompt, add_special_tokens=False).ids
    with torch.inference_mode():
        rows = model.generate(
            torch.tensor([ids]),
            generation_config=transformers.GenerationConfig(pad_token_id=0, **settings),
        )
    return [prompt + tokenizer.decode(row[len(ids) :].tolist()) for row in rows]


def test_the_document_has_the_calls_that_we_think_it_has() -> None:
    assert len(CURLS) == 2
    assert all("localhost:5000/chat" in command for command in CURLS)


@pytest.mark.parametrize("command", CURLS, ids=["basic", "every-parameter"])
def test_the_seeds_calls(server: Server, command: str) -> None:
    printed = run_shell(command.replace("localhost:5000", f"localhost:{server.port}"))
    answer = json.loads(printed)
    assert list(answer) == ["Result"]
    assert answer["Result"].startswith(PROMPT)
    assert len(answer["Result"]) > len(PROMPT) + 100  # of up to 200 tokens


def test_health(server: Server) -> None:
    assert server.call("/healthz") == (200, {"status": "Healthy"})
    assert server.call("/") == (200, ["Server is running", 200])


def test_greedy_is_what_generate_gives(server: Server, folder: Path) -> None:
    status, answer = server.call("/chat", GREEDY | {"prompt": "The capital of France"})
    assert status == 200
    assert [answer["Result"]] == generated(folder, "The capital of France", **GREEDY)


@pytest.mark.parametrize(
    "wish",
    [
        {"num_beams": 3},
        {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5},
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 1, "bad_words_ids": [[20], [30, 31]]},
        {"repetition_penalty": 1.8},
    ],
    ids=lambda wish: "-".join(wish),
)
def test_parameters_are_generates_own(server: Server, folder: Path, wish: dict[str, Any]) -> None:
    status, answer = server.call("/chat", GREEDY | wish | {"prompt": "A berth is"})
    assert status == 200
    assert answer["Result"] == "".join(generated(folder, "A berth is", **GREEDY, **wish))


def test_groups_of_beams_are_searched_apart(server: Server) -> None:
    wish = {"num_beams": 4, "num_beam_groups": 2, "num_return_sequences": 4}
    body = GREEDY | wish | {"prompt": "A berth is", "diversity_penalty": 20.0}
    status, answer = server.call("/chat", body)
    assert status == 200
    parts = answer["Result"].split("A berth is")
    assert len(parts) == 5
    assert len(set(parts[1:])) == 4


def test_several_sequences_differ_and_a_seed_repeats_them(server: Server) -> None:
    body = {"prompt": "A berth is", "num_return_sequences": 3, "seed": 5, "max_length": 40}
    first, second = server.call("/chat", body)[1], server.call("/chat", body)[1]
    assert first == second
    assert len(set(first["Result"].split("A berth is"))) == 4


@pytest.mark.parametrize("wish", [{}, {"num_beams": 2}, {"no_repeat_ngram_size": 2}], ids=str)
def test_streamed_text_is_the_whole_answers(server: Server, wish: dict[str, Any]) -> None:
    body = GREEDY | wish | {"prompt": "The quick brown"}
    stream = Stream(server, "/chat", body)
    stream.start()
    stream.join(60)
    assert stream.done
    text = "".join(event["response"] for event in stream.events)
    assert {"Result": "The quick brown" + text} == server.call("/chat", body)[1]
    assert len(stream.events) > 5 or "num_beams" in wish


def cache_usage(server: Server) -> float:
    lines = server.call("/metrics")[1].splitlines()
    return float(next(x for x in lines if x.startswith("vllm:kv_cache_usage_perc")).split()[-1])


def test_16_at_once_say_the_same_as_alone(server: Server) -> None:
    bodies = [GREEDY | {"prompt": f"Once upon a time number {n}"} for n in range(16)]
    want = [server.call("/chat", body)[1]["Result"] for body in bodies[:6]]
    streams = [Stream(server, "/chat", body) for body in bodies]
    beams = Stream(server, "/chat", GREEDY | {"prompt": "In between", "num_beams": 3})
    for stream in [*streams[:8], beams, *streams[8:]]:
        stream.start()
    for stream in [*streams, beams]:
        stream.join(120)
        assert stream.done
    got = [
        body["prompt"] + "".join(event["response"] for event in stream.events)
        for body, stream in zip(bodies, streams, strict=True)
    ]
    assert got[:6] == want
    assert len(set(got)) == 16
    poll(lambda: cache_usage(server) == 0.0, 10, "all memory back")


@pytest.mark.parametrize(
    "wish",
    [
        {"num_beams": 3, "num_return_sequences": 4},
        {"num_beams": 3, "num_beam_groups": 2},
        {"num_beams": 4, "num_beam_groups": 2, "do_sample": True, "diversity_penalty": 1.0},
        {"num_beams": 4, "num_beam_groups": 2, "do_sample": False},
        {"num_beams": 65},
        {"num_beams": 2, "length_penalty": 1e9},
        {"bad_words_ids": [10**6]},
        {"bad_words_ids": [[]]},
        {"forced_eos_token_id": 10**6},
        {"eos_token_id": 10**6},
        {"max_length": 1},
        {"temperature": -1},
        {"num_return_sequences": 10**6},
    ],
    ids=str,
)
def test_bad_values_are_422_and_name_the_field(server: Server, wish: dict[str, Any]) -> None:
    status, body = server.call("/chat", {"prompt": "Hello there"} | wish)
    assert status == 422
    (entry,) = body["detail"]
    assert entry["loc"][0] == "body"
    assert entry["loc"][1] in {*wish, "diversity_penalty"}
    assert entry["loc"][1] in entry["msg"]


def test_a_natively_served_model_hands_what_needs_generate_to_generate(
    server: Server, folder: Path, tmp_path: Path
) -> None:
    plain = GREEDY | {"prompt": "The capital of France"}
    beams = plain | {"num_beams": 2, "num_return_sequences": 2}
    banned = plain | {"bad_words_ids": [5], "no_repeat_ngram_size": 2}
    with berth_serve(tmp_path, str(folder), "--threads", "1", "--dtype", "float32") as native:
        assert native.call("/chat", plain) == server.call("/chat", plain)
        assert len(native.engine_pids()) == 1
        for body in (beams, banned, plain):
            assert native.call("/chat", body) == server.call("/chat", body)
        assert native.stop() == 0


def test_metas_layout_has_no_generate_and_the_refusal_names_the_parameter(tmp_path: Path) -> None:
    folder = random_model(tmp_path / "model")
    with berth_serve(tmp_path, str(folder), "--threads", "1") as native:
        status, answer = native.call("/chat", {"prompt": "Hello", "num_beams": 2})
        assert status == 400
        assert "num_beams needs Hugging Face's generate" in answer["detail"]


def test_a_killed_engine_costs_no_byte(server: Server) -> None:
    body = {"prompt": "Once", "max_length": 400, "seed": 3, "no_repeat_ngram_size": 5}
    plain = {"prompt": "Twice", "max_length": 400, "seed": 4}
    want = [server.call("/chat", each)[1]["Result"] for each in (body, plain)]
    streams = [Stream(server, "/chat", each) for each in (body, plain)]
    for stream in streams:
        stream.start()
    poll(lambda: all(len(stream.events) > 10 for stream in streams), what="both streams' start")
    (engine,) = server.engine_pids()
    os.kill(engine, signal.SIGKILL)
    for stream in streams:
        stream.join(120)
        assert stream.done
    texts = ["".join(event["response"] for event in stream.events) for stream in streams]
    assert ["Once" + texts[0], "Twice" + texts[1]] == want
    assert "engine lost (1 so far)" in server.log
    assert "Once" not in server.log
