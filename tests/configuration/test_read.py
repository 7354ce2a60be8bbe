"""A berth.yaml becomes typed values with their places, or sentences with file, line and key."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from berth.configuration.errors import ConfigurationError
from berth.configuration.read import dotted, read


def problems(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        read(text, "b.yaml", environment)
    return list(caught.value.problems)


def values(text: str | None, **environment: str) -> dict[str, Any]:
    found = read(text, "b.yaml", environment).values
    return {dotted(key): value.value for key, value in found.items()}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("limits:\n  max_waitin: 3", "limits.max_waitin: unknown key; did you mean max_waiting?"),
        ("session: {}", "b.yaml:1: session: unknown key; did you mean sessions?"),
        ("xyz: 1", "b.yaml:1: xyz: unknown key; there are models, aliases, limits"),
        ("tls: {}", "b.yaml:1: tls: not yet. "),
        ("profiles: {a: {}}", "b.yaml:1: profiles: not yet. "),
        ("listeners: [{dialects: [openai]}]", "b.yaml:1: listeners[0].dialects: not yet. "),
        ("keys:\n- value: sk-1", "b.yaml:2: keys[0].value: A secret does not belong in this file"),
        ("models: {a: {}, b: {memory_fraction: 0.5}}", "the memory is that of all models"),
        ("listeners: [{}, {}]", "b.yaml:1: listeners[1]: not yet: a server has one port"),
        ("models: {a: {dtype: flaot32}}", "did you mean float32?"),
        ("models: {a: {max_model_len: 1e3}}", "should be a whole number from 2, not '1e3'"),
        ("models: {a: {prefix_caching: yes}}", "should be true or false, not 'yes'"),
        ("models: {a: {threads: '3'}}", "not '3'; take the quotes off"),
        ("models: {a: {threads: 0}}", "should be a whole number from 1, not '0'"),
        ("models: {a: {memory_fraction: 1.5}}", "should be a number from 0.05 to 1, not '1.5'"),
        ("models: {a: {memory_fraction: .nan}}", "should be a number from 0.05 to 1, not '.nan'"),
        ("models: {a: {kv_cache_memory: 8X}}", "models.a.kv_cache_memory: should be"),
        ("models: {a: {dtype: }}", "models.a.dtype: has no value; give it"),
        ("models: {a: {dtype: [x]}}", "with nothing under it"),
        ("models: {a: {load_in_8bit: true, load_in_4bit: true}}", "load_in_8bit excludes it"),
        ("models: [a]", "b.yaml:1: models: should have keys under it"),
        ("limits: {grace: 1e999}", "limits.grace: should be a number from 0, not '1e999'"),
        ("limits: {max_waiting: 010}", "limits.max_waiting: should be a whole number from 0"),
        ("listeners: [{port: 65536}]", "port: should be a whole number from 0 to 65535"),
        ("http: {cors_origins: a}", "http.cors_origins: should be a list"),
        ("aliases: {x: mien}\nmodels: {mine: {}}", "no model is named 'mien'; there is mine"),
        ("aliases: {mine: mine}\nmodels: {mine: {}}", "is the name of a model already"),
        ("keys: [{}]", "b.yaml:1: keys[0]: should have either env or file"),
        ("keys: [{env: A, file: B}]", "keys[0]: should have either env or file"),
        ("store: {database: 'postgresql://u:secret@h/d'}", "has a password, which does not belong"),
        ("log:\n  level: info\n  level: debug", "b.yaml:3: log.level: given twice, first at b."),
        ("log: {level: !!python/name:os.system x}", "tag !!python/name:os.system is not read"),
        ("a: &a {level: info}\nlog: {<<: *a}", "b.yaml:2: log.<<: merge keys are not read"),
        ("a: [1", "b.yaml:1: not YAML: "),
        ("a: 1\n---\nb: 2", "not YAML: "),
        ("a: *b", "b.yaml:1: not YAML: found undefined alias"),
        ("a: &a [*a]", "b.yaml:1: nested deeper than 32 levels"),
        ("[" * 5000, "b.yaml"),
        ("- a", "b.yaml:1: the file: should have keys under it"),
        ("a\x00b: 1", "b.yaml: not YAML: "),
        ("'': 1", "unknown key"),
        ("models: {'': {}}", "b.yaml:1: models: a name has 1 to 256 characters"),
        ("? [a]\n: b", "a key should be one word"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    assert said in "\n".join(problems(text))


def test_all_that_is_wrong_is_said_at_once() -> None:
    found = problems("log:\n  level: x\nlimits: {grac: 1}\n", BERTH_HTTP__NO="1")
    assert [one.split(":")[0:2] for one in found[:2]] == [["b.yaml", "2"], ["b.yaml", "3"]]
    assert found[2].startswith("BERTH_HTTP__NO: http.no: unknown key")


def test_a_bomb_of_anchors_is_refused_before_it_is_expanded() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    assert "more than 10,000 values" in problems("\n".join(lines))[0]


def test_a_secret_is_not_repeated_by_what_refuses_it() -> None:
    said = problems("store: {database: 'postgresql://u:hunter2@h/d'}\nkeys: [{value: hunter2}]")
    assert "hunter2" not in " ".join(said)


def test_words_keep_their_letters_whatever_yaml_makes_of_them() -> None:
    text = "models: {no: {source: 1.10}}\naliases: {on: no, 010: no, ~: no, 1e3: no}"
    found = values(text)
    assert found["models.no.source"] == "1.10"
    assert {key for key in found if key.startswith("aliases")} == {
        "aliases.on", "aliases.010", "aliases.~", "aliases.1e3"
    }  # fmt: skip


def test_an_anchor_works_and_an_empty_file_or_section_says_nothing() -> None:
    assert values("limits: {grace: &t 5, request_timeout: *t}") == {
        "limits.grace": 5.0, "limits.request_timeout": 5.0
    }  # fmt: skip
    assert values("") == values("limits:\n") == values("# nothing\n") == values(None) == {}


def test_a_variable_reaches_a_name_a_list_and_a_section() -> None:
    text = "models: {gpt-2.5: {threads: 3}}\nhttp: {allowed_hosts: [a]}"
    found = values(
        text,
        BERTH_MODELS__GPT_2_5__THREADS="5",
        BERTH_HTTP__CORS_ORIGINS="http://a, http://b",
        BERTH_HTTP__ALLOWED_HOSTS__0="c",
        BERTH_LISTENERS__0__PORT="0",
        BERTH_LIMITS="{grace: 1, max_waiting: 2}",
        BERTH_LIMITS__GRACE="7",
        BERTH_LOG__LEVEL="",
        BERTH_PORT="tcp://10.0.0.1:5000",
        BERTH_SERVICE_HOST="10.0.0.1",
    )
    assert found == {
        "models.gpt-2.5.threads": 5,
        "http.allowed_hosts[0]": "c",
        "http.cors_origins[0]": "http://a",
        "http.cors_origins[1]": "http://b",
        "listeners[0].port": 0,
        "limits.grace": 7.0,
        "limits.max_waiting": 2,
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BERTH_LOG__LEVEL__X", "1", "BERTH_LOG__LEVEL__X: nothing is under the key before 'X'"),
        ("BERTH_LISTENERS__1__PORT", "1", "'1' should be the number of an item, at most 0"),
        ("BERTH_LISTENERS__²__PORT", "1", "should be the number of an item"),
        ("BERTH_LIMIT__GRACE", "1", "BERTH_LIMIT__GRACE: limit: unknown key; did you mean limits?"),
        ("BERTH_LOG", "[", "BERTH_LOG: not YAML"),
        ("BERTH_LOG__", "x", "BERTH_LOG__: log.: unknown key"),
        ("BERTH____", "x", "unknown key"),
        ("BERTH_MODELS__A_B__THREADS", "1", "may mean 'a-b' or 'a.b'; rename one"),
    ],
)
def test_a_variable_that_means_nothing_is_refused_by_its_name(
    name: str, value: str, said: str
) -> None:
    text = "models: {a-b: {}, a.b: {}}" if "A_B" in name else ""
    assert said in "\n".join(problems(text, **{name: value}))


@given(st.text(max_size=80) | st.text("{}[]&*!|>'\"%@`:-?,#~ \nabc10", max_size=60))
def test_no_text_is_more_than_a_sentence(text: str) -> None:
    said: tuple[str, ...] = ()
    try:
        read(text, "b.yaml", {})
    except ConfigurationError as error:
        said = error.problems
    assert all(one.startswith("b.yaml") for one in said)
