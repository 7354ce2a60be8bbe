"""berth config, and what --config makes of the options of berth serve."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from berth.cli import serve as command
from berth.cli.config import config
from berth.cli.config_file import COMMAND_LINE_ONLY, KEYS, load
from berth.cli.serve import serve
from berth.configuration.errors import ConfigurationError
from berth.configuration.tree import Tree, schema
from e2e.berth_server import ROOT


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BERTH_API_KEY", raising=False)


def berth_config(*words: str, **environment: str) -> tuple[int, str]:
    done = CliRunner().invoke(config, list(words), env=environment)
    return done.exit_code, done.output


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "berth.yaml"
    path.write_text(
        "models:\n  mine: {source: pocket, prefix_caching: false}\nlimits: {grace: 3}\n"
    )
    return path


def options_of(monkeypatch: pytest.MonkeyPatch, *words: str, **environment: str) -> dict[str, Any]:
    """The options that `berth serve WORDS` comes to, with the model's argument."""
    seen: list[dict[str, Any]] = []

    def decide(model: str | None, options: dict[str, Any]) -> Any:
        seen.append({**options, "model": model})
        raise ValueError("seen")

    monkeypatch.setattr(command, "_serving", decide)
    done = CliRunner().invoke(serve, list(words), env=environment)
    assert seen, done.output
    return seen[0]


def test_every_option_of_serve_is_a_key_or_says_why_not() -> None:
    named = {parameter.name for parameter in serve.params}
    assert named == KEYS.keys() | COMMAND_LINE_ONLY.keys()
    assert not KEYS.keys() & COMMAND_LINE_ONLY.keys()
    assert all(COMMAND_LINE_ONLY.values())


def test_every_key_of_the_tree_belongs_to_an_option() -> None:
    defs = schema()["$defs"]
    have = {".".join(str(word) for word in key) for key in KEYS.values()}
    for section in Tree.__struct_fields__:
        at = defs["Tree"]["properties"][section]
        if section in ("aliases", "keys"):
            continue  # a name each; a reference each
        start = {"models": "models.*.", "listeners": "listeners.0."}.get(section, f"{section}.")
        inner = {"models": at.get("additionalProperties"), "listeners": at.get("items")}
        name = (inner.get(section) or at)["$ref"].rpartition("/")[2]
        assert {start + key for key in defs[name]["properties"]} <= have, section


# A value for each kind of option: in the file, in a variable, on the command line.
_DRAWN = {
    "max_waiting": ("limits.max_waiting", "--max-waiting", st.integers(0, 10**6)),
    "grace": ("limits.grace", "--grace", st.integers(0, 900).map(float)),
    "port": ("listeners.0.port", "--port", st.integers(0, 65535)),
    "log_level": ("log.level", "--log-level", st.sampled_from(["debug", "info", "warning"])),
    "dtype": ("models.mine.dtype", "--dtype", st.sampled_from(["auto", "float32", "bfloat16"])),
    "threads": ("models.mine.threads", "--threads", st.integers(1, 64)),
    "host": ("listeners.0.host", "--host", st.sampled_from(["127.0.0.1", "::1", "0.0.0.0"])),
}
_LAYERS = {
    name: st.tuples(st.none() | one[2], st.none() | one[2], st.none() | one[2])
    for name, one in _DRAWN.items()
}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.fixed_dictionaries(_LAYERS))
def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, drawn: dict[str, tuple[Any, Any, Any]]
) -> None:
    tree: dict[str, Any] = {"models": {"mine": {"source": "pocket"}}}
    environment: dict[str, str] = {}
    words: list[str] = []
    for name, (in_file, in_env, in_line) in drawn.items():
        key, option, _ = _DRAWN[name]
        first, *_, last = key.split(".")
        if in_file is not None and first == "listeners":
            tree.setdefault("listeners", [{}])[0][last] = in_file
        elif in_file is not None:
            inner = tree["models"]["mine"] if first == "models" else tree.setdefault(first, {})
            inner[last] = in_file
        if in_env is not None:
            environment["BERTH_" + key.upper().replace(".", "__")] = str(in_env)
        if in_line is not None:
            words += [option, str(in_line)]
    path = tmp_path / "b.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.MonkeyPatch.context() as patch:
        found = options_of(patch, "--config", str(path), *words, **environment)
    defaults = {one.name: one.default for one in serve.params}
    for name, layers in drawn.items():
        given_ones = [one for one in layers if one is not None]
        unset = defaults[name] if isinstance(defaults[name], str | int | float) else None
        assert found[name] == (given_ones[-1] if given_ones else unset), name


def test_the_file_s_values_reach_serve_as_its_options(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "b.yaml"
    path.write_text(
        "models: {mine: {source: ./m, weights: w, prefix_caching: false, kv_cache_memory: 1G,"
        " degree: auto, load_in_4bit: true}}\naliases: {a: mine, b: mine}\n"
        "http: {cors_origins: ['http://a'], allow_shutdown: true}\n"
    )
    found = options_of(monkeypatch, "--config", str(path))
    assert found["model"] == str(tmp_path / "m")
    assert found["weights"] == str(tmp_path / "w")
    assert (found["model_id"], list(found["alias"])) == ("mine", ["a", "b"])
    assert (found["no_prefix_caching"], found["kv_cache_memory"]) == (True, 2**30)
    assert (found["degree"], found["load_in_4bit"], found["allow_shutdown"]) == ("auto", True, True)
    assert list(found["cors_origin"]) == ["http://a"]


def test_an_option_s_own_variable_goes_before_a_key_s_and_the_log_says_so(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    file.write_text("listeners: [{port: 1}]\nlimits: {grace: 1}\n")
    said: list[str] = []
    monkeypatch.setattr(command._log, "info", lambda form, *rest: said.append(form % rest))
    environment = {"BERTH_PORT": "3", "BERTH_LISTENERS__0__PORT": "2"}
    words = ("--config", str(file), "--grace", "5")
    assert options_of(monkeypatch, *words, **environment)["port"] == 3
    assert said == [
        "BERTH_LISTENERS__0__PORT: listeners[0].port gives way to BERTH_PORT",
        f"{file}:2: limits.grace gives way to the command line",
    ]
    assert options_of(monkeypatch, *words, "--port", "4", **environment)["port"] == 4


def test_a_model_without_a_source_is_its_name(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    file.write_text("models: {pocket: }\n")
    found = options_of(monkeypatch, "--config", str(file))
    assert (found["model"], found["model_id"]) == ("pocket", "pocket")


def test_a_file_with_a_mistake_ends_serve_with_its_line(file: Path) -> None:
    file.write_text("limits:\n  max_wait: 3\n")
    done = CliRunner().invoke(serve, ["--config", str(file)])
    assert done.exit_code == 2
    assert f"{file}:2: limits.max_wait: unknown key; did you mean max_waiting?" in done.output
    done = CliRunner().invoke(serve, ["--config", str(file.parent / "none.yaml")])
    assert done.exit_code == 2
    assert "none.yaml: cannot be read: No such file" in done.output


def test_keys_are_read_from_variables_and_files_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, file: Path
) -> None:
    (file.parent / "secret").write_text("sk-one\nsk-two\n")
    file.write_text("keys: [{env: TEAM}, {file: secret}]\n")
    monkeypatch.setenv("TEAM", "sk-team")
    loaded = load(file, {})
    assert loaded.keys == ("sk-team", "sk-one", "sk-two")
    assert "sk-" not in repr(loaded)
    code, shown = berth_config("show", "--origin", str(file))
    assert code == 0
    assert 'keys[0].env: "TEAM"' in shown
    assert "sk-" not in shown


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("{env: ABSENT_ONE}", "keys[0].env: the variable ABSENT_ONE is not set"),
        ("{file: absent}", "absent cannot be read: No such file"),
        ("{file: empty}", "empty has no key in it"),
        ("{file: bad}", "key 1 of"),
    ],
)
def test_a_reference_without_a_key_opens_no_server(file: Path, entry: str, said: str) -> None:
    (file.parent / "empty").write_text("\n")
    (file.parent / "bad").write_text("hun ter2\n")
    file.write_text(f"keys: [{entry}]\n")
    with pytest.raises(ConfigurationError) as caught:
        load(file, {})
    assert said in str(caught.value)
    assert str(file) + ":1" in str(caught.value)
    assert "hun ter2" not in str(caught.value)


def test_check_says_every_problem_or_that_there_is_none(file: Path) -> None:
    assert berth_config("check", str(file)) == (0, f"{file} is in order: 3 values.\n")
    file.write_text("log: {level: loud}\nx: 1\n")
    code, said = berth_config("check", str(file))
    assert code == 2
    assert f"{file}:1: log.level" in said
    assert f"{file}:2: x: unknown key" in said


def test_show_says_where_each_value_comes_from(file: Path) -> None:
    environment = {
        "BERTH_LIMITS__MAX_WAITING": "9",
        "BERTH_PORT": "81",
        "BERTH_DATABASE": "postgresql://u:hunter2@h/d",
        "BERTH_API_KEY": "sk-hidden",
    }
    code, said = berth_config("show", "--json", "--origin", str(file), **environment)
    assert code == 0
    shown = json.loads(said)
    assert shown["limits.grace"] == {"value": 3.0, "origin": f"{file}:3"}
    assert shown["limits.max_waiting"] == {"value": 9, "origin": "BERTH_LIMITS__MAX_WAITING"}
    assert shown["listeners[0].port"] == {"value": 81, "origin": "BERTH_PORT"}
    assert shown["limits.request_timeout"] == {"value": 600.0, "origin": "default"}
    assert shown["models.mine.load_in_8bit"] == {"value": False, "origin": "default"}
    assert shown["store.database"]["value"] == "postgresql://u:***@h/d"
    assert "hunter2" not in said
    assert "sk-hidden" not in said


def test_the_published_schema_is_the_tree_s_and_takes_what_the_page_shows(tmp_path: Path) -> None:
    published = ROOT / "docs/berth.schema.json"
    assert json.loads(published.read_text()) == schema()
    page = (ROOT / "docs/configuration.md").read_text()
    example = tmp_path / "berth.yaml"
    example.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert load(example, {}).options["model_id"] == "pocket-1"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("limits: {max_waiting: -1}\nlog: {levl: info}\n")
    check = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(published)]
    assert subprocess.run([*check, str(example)], timeout=60, check=False).returncode == 0
    refused = subprocess.run(
        [*check, str(wrong)], timeout=60, check=False, capture_output=True, text=True
    )
    assert refused.returncode == 1
    assert "levl" in refused.stdout


def test_the_page_names_every_key() -> None:
    page = (ROOT / "docs/configuration.md").read_text()
    for key in KEYS.values():
        word = str(key[-1])
        assert word == "*" or f".{word}`" in page or f"`{word}." in page or f"`{word}`" in page, key
    for parameter in serve.params:
        if parameter.name in COMMAND_LINE_ONLY and isinstance(parameter, click.Option):
            assert parameter.hidden or parameter.opts[0] in page
