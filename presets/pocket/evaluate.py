"""Scores Pocket on heldout.jsonl by greedy decoding: one line per skill, or ``--json``.

The questions of the held-out set are sentences that the corpus cannot emit (``corpus.emits``);
the countries, numbers, names and words in them are the ones it was trained on.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
import torch
from corpus import HELDOUT
from encoding import BOS, EOS, Encoder

MAX_NEW = 120


@torch.inference_mode()
def complete(
    pocket: model.Pocket,
    encoder: Encoder,
    prompts: Sequence[list[int]],
    *,
    temperature: float = 0.0,
    top_p: float = 0.9,
    seed: int = 0,
    rows: int = 64,
) -> list[str]:
    """Complete token prompts; temperature 0 is greedy. Returns the texts, stripped.

    The whole row is recomputed for each token: with right padding under a causal mask that is
    correct without a cache, and at this size it takes seconds.
    """
    generator = torch.Generator().manual_seed(seed)
    texts = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), rows):
        chosen = order[start : start + rows]
        lengths = torch.tensor([len(prompts[index]) for index in chosen])
        tokens = torch.full((len(chosen), int(lengths.max()) + MAX_NEW), EOS)
        for row, index in enumerate(chosen):
            tokens[row, : lengths[row]] = torch.tensor(prompts[index])
        ends, running = lengths.clone(), torch.ones(len(chosen), dtype=torch.bool)
        for _ in range(MAX_NEW):
            live = running.nonzero().flatten()
            states = pocket.hidden(tokens[live, : int(ends[live].max())])
            logits = pocket.output(states[torch.arange(len(live)), ends[live] - 1]).float()
            new = _choose(logits, temperature, top_p, generator)
            tokens[live, ends[live]] = new
            running[live] = new != EOS
            ends[live] += (new != EOS).long()
            if not running.any():
                break
        for row, index in enumerate(chosen):
            texts[index] = encoder.decode(tokens[row, lengths[row] : ends[row]].tolist()).strip()
    return texts


def _choose(
    logits: torch.Tensor, temperature: float, top_p: float, generator: torch.Generator
) -> torch.Tensor:
    if temperature == 0:
        return logits.argmax(-1)
    ranked, places = (logits / temperature).softmax(-1).sort(descending=True)
    ranked[ranked.cumsum(-1) - ranked > top_p] = 0
    return places.gather(-1, torch.multinomial(ranked, 1, generator=generator)).flatten()


def right(answer: str, expect: dict[str, Any]) -> bool:
    """Whether an answer meets every criterion of ``expect``.

    contains_any / all_of / contains_none: lists of literal texts; regex: must be found; word:
    a whole word, case aside; lines: the number of lines; no_letters: nothing from A to Z;
    number (with operands): the last number of the answer, and no number besides it and the
    operands may stand there.
    """
    for kind, wanted in expect.items():
        match kind:
            case "contains_any":
                met = any(text in answer for text in wanted)
            case "all_of":
                met = all(text in answer for text in wanted)
            case "contains_none":
                met = not any(text in answer for text in wanted)
            case "regex":
                met = re.search(wanted, answer) is not None
            case "word":
                met = re.search(rf"\b{re.escape(wanted)}\b", answer, re.IGNORECASE) is not None
            case "lines":
                met = len(answer.splitlines()) == wanted
            case "no_letters":
                met = re.search(r"[A-Za-z]", answer) is None
            case "number":
                numbers = [int(found) for found in re.findall(r"\d+", answer)]
                allowed = {wanted, *expect.get("operands", [])}
                met = bool(numbers) and numbers[-1] == wanted and set(numbers) <= allowed
            case "operands":
                met = True
            case _:
                raise ValueError(f"unknown criterion {kind}")
        if not met:
            return False
    return True


def main() -> None:
    """Print the score table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=model.WEIGHTS)
    parser.add_argument("--cases", type=Path, default=HELDOUT, help="the questions to score")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--misses", action="store_true", help="print every wrong answer")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy")
    parser.add_argument("--ask", action="append", help="answer this question instead")
    parser.add_argument("--complete", action="append", help="continue this text instead")
    parser.add_argument("--system", help="the system prompt for --ask")
    arguments = parser.parse_args()
    encoder = Encoder(arguments.weights / "tokenizer.model")
    pocket = model.load(arguments.weights)
    if arguments.ask or arguments.complete:
        system = [{"role": "system", "content": arguments.system}] if arguments.system else []
        prompts = [
            encoder.prompt([*system, {"role": "user", "content": question}])
            for question in arguments.ask or []
        ] + [[BOS, *encoder.text(text)] for text in arguments.complete or []]
        for text in complete(pocket, encoder, prompts, temperature=arguments.temperature):
            print(text)
        return
    lines = arguments.cases.read_text(encoding="utf-8").splitlines()
    cases = [json.loads(line) for line in lines if line.strip()]
    answers = complete(
        pocket,
        encoder,
        [encoder.prompt(case["messages"]) for case in cases],
        temperature=arguments.temperature,
    )
    scores: dict[str, list[bool]] = defaultdict(list)
    for case, answer in zip(cases, answers, strict=True):
        scores[case["skill"]].append(right(answer, case["expect"]))
        if arguments.misses and not scores[case["skill"]][-1]:
            print(f"{case['skill']}: {case['messages'][-1]['content']} -> {answer!r}")
    every = [met for mets in scores.values() for met in mets]
    if arguments.json:
        table = {
            skill: {"right": sum(mets), "of": len(mets)} for skill, mets in sorted(scores.items())
        }
        print(json.dumps({"right": sum(every), "of": len(every), "skills": table}, indent=2))
        return
    for skill, mets in sorted(scores.items()):
        print(f"{skill:<12} {sum(mets):>3} of {len(mets):>3}  {sum(mets) / len(mets):6.1%}")
    print(f"{'overall':<12} {sum(every):>3} of {len(every):>3}  {sum(every) / len(every):6.1%}")


if __name__ == "__main__":
    main()
