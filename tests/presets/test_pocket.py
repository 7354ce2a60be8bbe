"""The built-in model: what it promises, asked of the running server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from berth.checkpoint.folder import load_config
from berth.models.weights.convert import convert_meta_to_hf
from berth.models.weights.folder import open_weights
from berth.models.weights.names import tensor_shapes
from e2e.berth_server import ROOT, Server, berth_serve

POCKET = ROOT / "presets" / "pocket"
CASES = [json.loads(line) for line in (POCKET / "heldout.jsonl").read_text().splitlines() if line]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with berth_serve(tmp_path_factory.mktemp("pocket")) as running:
        yield running


@pytest.fixture(scope="module")
def scripts() -> Iterator[tuple[Any, Any]]:
    """pocket's own corpus and evaluate modules."""
    sys.path.insert(0, str(POCKET))
    try:
        import corpus
        import evaluate

        yield corpus, evaluate
    finally:
        sys.path.remove(str(POCKET))


def ask(server: Server, messages: list[dict[str, str]], **wish: Any) -> str:
    body = {"messages": messages, "temperature": 0, "max_tokens": 160} | wish
    status, answer = server.call("/v1/chat/completions", body)
    assert status == 200, answer
    text: str = answer["choices"][0]["message"]["content"]
    return text.strip()


def question(text: str, system: str | None = None) -> list[dict[str, str]]:
    before = [{"role": "system", "content": system}] if system else []
    return [*before, {"role": "user", "content": text}]


def test_nine_of_ten_held_out_questions_are_answered_right(
    server: Server, scripts: tuple[Any, Any]
) -> None:
    _, evaluate = scripts
    assert len(CASES) >= 300
    assert len({case["skill"] for case in CASES}) >= 8
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda case: ask(server, case["messages"]), CASES))
    scores: dict[str, list[bool]] = defaultdict(list)
    for case, answer in zip(CASES, answers, strict=True):
        scores[case["skill"]].append(evaluate.right(answer, case["expect"]))
    table = {skill: f"{sum(right)} of {len(right)}" for skill, right in sorted(scores.items())}
    total = sum(sum(right) for right in scores.values())
    assert total >= 0.9 * len(CASES), (total, len(CASES), table)


def test_no_held_out_question_is_one_that_the_corpus_emits(scripts: tuple[Any, Any]) -> None:
    corpus, _ = scripts
    emitted = [
        case["messages"][-1]["content"]
        for case in CASES
        if corpus.emits(case["messages"][-1]["content"])
    ]
    assert emitted == []
    assert corpus.emits("What is the capital of France?")


def test_the_seeds_example_prompts_are_answered_sensibly(server: Server) -> None:
    assert "Paris" in ask(server, question("What is the capital of France?"))
    assert "egg" in ask(server, question("what is the recipe of mayonnaise?"))
    paris = "I am going to Paris, what should I see?"
    assert "Louvre" in ask(server, question(paris)) or "Eiffel" in ask(server, question(paris))
    haiku = ask(server, question(paris, "Always answer with Haiku"))
    assert len(haiku.splitlines()) == 3
    travel = ask(server, question("How to go from Beijing to NY?"))
    assert "fly" in travel.lower() or "flight" in travel.lower() or "plane" in travel.lower()
    emojis = ask(server, question("How to go from Beijing to NY?", "Always answer with emojis"))
    assert "✈" in emojis
    birthday = ask(server, question("Write a brief birthday message to John"))
    assert "John" in birthday
    assert "birthday" in birthday.lower()


def test_the_seeds_completions_are_continued_sensibly(server: Server) -> None:
    few_shots = (
        "Translate English to French: sea otter => loutre de mer, "
        "peppermint => menthe poivrée, plush girafe => girafe peluche, cheese =>"
    )
    body = {"prompts": [few_shots, "The capital of France is"], "parameters": {"temperature": 0}}
    status, answer = server.call("/generate", body)
    assert status == 200
    cheese, capital = (result["response"] for result in answer["results"])
    assert "fromage" in cheese
    assert "Paris" in capital


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("How do I build an image?", "build"),
        ("What does fit do?", "fit"),
        ("Who are you?", "Pocket"),
    ],
)
def test_it_knows_berth(server: Server, text: str, word: str) -> None:
    assert word in ask(server, question(text))


def test_what_it_does_not_know_gets_an_honest_sentence(server: Server) -> None:
    for text in ("Who won the football match last night?", "Explain quantum chromodynamics."):
        answer = ask(server, question(text))
        assert "Pocket" in answer
        assert "know" in answer


def test_it_is_small_enough_to_commit() -> None:
    files = [
        file for file in POCKET.rglob("*") if file.is_file() and "__pycache__" not in str(file)
    ]
    assert sum(file.stat().st_size for file in files) <= 12_000_000


def test_both_loaders_read_it(server: Server, tmp_path: Path) -> None:
    convert_meta_to_hf(POCKET / "weights", tmp_path / "hf")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    config = load_config(tmp_path / "hf")
    source = open_weights(tmp_path / "hf")
    source.check(tensor_shapes(config))
    source.close()
    assert sum(p.numel() for p in model.parameters()) == sum(
        torch.Size(shape).numel() for shape in tensor_shapes(config).values()
    )
    capital = question("What is the capital of France?")
    with berth_serve(tmp_path, str(tmp_path / "hf"), "--chat-template", "llama-2") as other:
        assert ask(other, capital) == ask(server, capital)


def test_the_evaluation_script_runs() -> None:
    done = subprocess.run(
        [sys.executable, "evaluate.py", "--ask", "What is the capital of Italy?"],
        cwd=POCKET,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "Rome" in done.stdout


def test_a_conversation_holds_beyond_its_eighth_turn(
    server: Server, scripts: tuple[Any, Any]
) -> None:
    """Questions that have nothing to do with one another, as a newcomer tries them."""
    _, evaluate = scripts
    alone = [case for case in CASES if len(case["messages"]) == 1][::9]
    conversations = [alone[start : start + 10] for start in range(0, 30, 10)]
    late: list[bool] = []
    for conversation in conversations:
        assert len(conversation) == 10
        messages: list[dict[str, str]] = []
        for turn, case in enumerate(conversation, 1):
            messages += case["messages"]
            answer = ask(server, messages)
            messages.append({"role": "assistant", "content": answer})
            if turn >= 6:
                late.append(evaluate.right(answer, case["expect"]))
    assert sum(late) >= 0.8 * len(late), late


def test_a_newcomers_first_questions_are_answered(server: Server) -> None:
    assert ask(server, question("What is Berth?")).startswith("Berth gives an open-weight")
    assert ask(server, question("Tell me about Berth.")).startswith("Berth gives an open-weight")
    assert ask(server, question("What does fit do?")).startswith("berth fit says whether")
