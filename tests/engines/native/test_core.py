"""What a request asks for is what it gets, whatever runs beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from berth.engines.sampling.sampler import BAD_LOGITS_ERROR
from engines.native.harness import Engine, random_prompt
from models.checkpoints import save_transformers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("llama")
    save_transformers(path, "llama", seed=9)
    return path


def test_the_same_seed_gives_the_same_text_whatever_else_is_in_the_batch(folder: Path) -> None:
    prompt = random_prompt(1, 11)
    wish = {"temperature": 1.0, "top_p": 0.9, "seed": 42, "max_tokens": 40}
    alone = Engine(folder).run(prompt, **wish)
    assert Engine(folder).run(prompt, **wish | {"seed": 43}) != alone
    crowded = Engine(folder, max_batch_tokens=16)
    for i in range(5):
        crowded.submit(random_prompt(50 + i, 30), temperature=0.8, seed=i, max_tokens=25)
    crowded.step()
    mine = crowded.submit(prompt, **wish)
    for i in range(5):
        crowded.submit(random_prompt(70 + i, 20), max_tokens=30)
    crowded.drain()
    assert crowded.tokens(mine) == alone


def test_a_sampled_request_replays_to_the_same_text(folder: Path) -> None:
    prompt = random_prompt(2, 9)
    wish = {"temperature": 0.9, "seed": 7, "max_tokens": 30, "presence_penalty": 0.5}
    whole = Engine(folder).run(prompt, **wish)
    engine = Engine(folder)
    request = engine.submit(prompt, emitted=whole[:11], **wish)
    engine.drain()
    assert engine.tokens(request) == whole[11:]


def test_requests_of_different_roots_share_no_prefix(folder: Path) -> None:
    engine = Engine(folder)
    prompt = random_prompt(6, 40)

    def cached(root: int) -> int:
        request = engine.submit(prompt, root=root, max_tokens=2)
        engine.drain()
        return engine.deltas[request][0].cached_tokens

    assert [cached(root) for root in (0, 0, 5, 7, 5, 0)] == [0, 32, 0, 0, 32, 32]


def test_a_finished_replay_is_reported_and_not_computed_again(folder: Path) -> None:
    engine = Engine(folder)
    whole = engine.run(random_prompt(3, 5), max_tokens=6)
    request = engine.submit(random_prompt(3, 5), emitted=whole, max_tokens=6)
    assert [delta.finish_reason for delta in engine.deltas[request]] == ["length"]
    assert not engine.scheduler.has_work


def test_stop_tokens_end_and_are_reported(folder: Path) -> None:
    prompt = random_prompt(4, 12)
    whole = Engine(folder).run(prompt, max_tokens=30)
    stop = whole[10]
    got = Engine(folder).run(prompt, max_tokens=30, stop_token_ids=(stop,))
    assert got == whole[: whole.index(stop) + 1]


def test_prompt_logprobs_cover_every_prompt_token_but_the_first(folder: Path) -> None:
    prompt = random_prompt(5, 40)
    engine = Engine(folder, max_batch_tokens=16)
    engine.run(prompt)  # its blocks are cached now, and must be computed all the same
    request = engine.submit(prompt, prompt_logprobs=2, logprobs=0, max_tokens=3)
    engine.drain()
    first = engine.deltas[request][0]
    assert first.prompt_logprobs is not None
    assert first.prompt_logprobs[0] is None
    assert [entry.token for entry in first.prompt_logprobs[1:] if entry] == prompt[1:]
    assert all(delta.prompt_logprobs is None for delta in engine.deltas[request][1:])
    model = save_reference(folder)
    with torch.inference_mode():
        want = torch.log_softmax(model(torch.tensor([prompt])).logits[0], -1)
    for position, entry in enumerate(first.prompt_logprobs[1:]):
        assert entry is not None
        assert entry.logprob == pytest.approx(float(want[position, entry.token]), abs=1e-4)
        assert len(entry.top) == 2


def save_reference(folder: Path) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model


def test_a_request_that_can_never_fit_is_refused_with_the_numbers(folder: Path) -> None:
    engine = Engine(folder, positions=64)
    request = engine.submit(random_prompt(6, 64))
    (delta,) = engine.deltas[request]
    assert delta.finish_reason == "error"
    assert "64 tokens" in (delta.error or "")


def test_logits_that_are_no_numbers_fail_their_request_and_are_not_cached(folder: Path) -> None:
    engine = Engine(folder)
    prompt = random_prompt(7, 40)
    with torch.inference_mode():
        engine.runner.model.embedding.weight[prompt[3]] = torch.nan
    bad = engine.submit(prompt)
    good_prompt = [token for token in random_prompt(8, 40) if token != prompt[3]]
    good = engine.submit(good_prompt)
    engine.drain()
    assert engine.deltas[bad][-1].error == BAD_LOGITS_ERROR
    assert engine.tokens(bad) == []
    assert engine.tokens(good) == Engine(folder).run(good_prompt)
    assert engine.scheduler.stats().blocks_used == 0


def test_cancelling_frees_the_blocks_at_once(folder: Path) -> None:
    engine = Engine(folder)
    requests = [engine.submit(random_prompt(9 + i, 30), max_tokens=50) for i in range(3)]
    engine.step()
    assert engine.scheduler.stats().blocks_used > 0
    engine.core.cancel(requests)
    assert engine.scheduler.stats().blocks_used == 0
    assert not engine.scheduler.has_work


@pytest.mark.parametrize("params", [{}, {"temperature": 0.9, "seed": 3, "presence_penalty": 0.8}])
def test_any_drafts_give_the_text_and_logprobs_that_none_give(
    folder: Path, params: dict[str, float]
) -> None:
    prompt = random_prompt(20, 21)
    wish = {**params, "max_tokens": 40, "logprobs": 1}
    plain = Engine(folder)
    request = plain.submit(prompt, **wish)
    plain.drain()
    whole = plain.tokens(request)
    engine = Engine(folder)
    drafted = engine.submit(prompt, **wish)
    beside = engine.submit(random_prompt(21, 30), max_tokens=40)
    steps = 0
    while len(engine.tokens(drafted)) < len(whole):
        for sequence in engine.scheduler._running:
            if sequence.request_id == drafted:
                # Right for a while, then wrong; and now and then wrong from the start.
                right = whole[sequence.num_output :][: steps % 4]
                engine.scheduler.propose(sequence, [*right, (right or [3])[-1] + 1, 5])
        engine.step()
        steps += 1
    engine.drain()
    assert engine.tokens(drafted) == whole
    assert steps < 25
    assert engine.tokens(beside) == Engine(folder).run(random_prompt(21, 30), max_tokens=40)
    ours, theirs = (
        [entry for delta in e.deltas[id_] for entry in delta.logprobs or []]
        for e, id_ in ((engine, drafted), (plain, request))
    )
    assert [entry.token for entry in ours] == [entry.token for entry in theirs] == whole
    assert [entry.logprob for entry in ours] == pytest.approx(
        [entry.logprob for entry in theirs], abs=1e-4
    )
    assert engine.scheduler.stats().blocks_used == 0


def test_a_request_that_keeps_every_token_out_fails_by_itself_and_names_what_does(
    folder: Path,
) -> None:
    engine = Engine(folder)
    prompt = random_prompt(22, 12)
    # The first token may come, and bans the only other.
    bad = engine.submit(prompt, allowed_token_ids=(7, 8), bad_words=((7, 8), (7, 7), (8,)))
    good = engine.submit(prompt)
    engine.drain()
    last = engine.deltas[bad][-1]
    assert engine.tokens(bad) == [7]
    assert (last.finish_reason, last.refused) == ("error", True)
    assert last.error == "allowed_token_ids and bad_words leave no token that may come next"
    assert engine.tokens(good) == Engine(folder).run(prompt)
    assert engine.scheduler.stats().blocks_used == 0
