"""The example files of the seeds' READMEs become a berth.yaml; what is left out is named."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports import llama_api, llm_api, local_llm, node
from berth.configuration.imports.imported import Imported

LLM_API = """\
models_dir: /models     # dir inside the container
model_family: alpaca
model_name: 7b
setup_params:
  repo_id: user/repo_id
  filename: ggml-model-q4_0.bin
  convert: false
  migrate: false
model_params:
  ctx_size: 2000
  seed: -1
  n_threads: 8
  n_batch: 2048
  n_parts: -1
  last_n_tokens_size: 16
"""
LOCAL_LLM = r"""
    {
    "SelectedModel": "Vicuna-13b",
    "Vicuna-13b": {
        "model": "vicuna-13b-v1.5.Q5_K_M.gguf",
        "n_ctx": 4096,
        "temperature": 0.7,
        "max_tokens": 16000,
        "top_p": 0.8,
        "top_k": 40,
        "verbose": true,
        "repeat_penalty": 1.1,
        "template": "You are a chatbot. \n\n{chat_history} \n\nPROMPT: {input} \n\nBOT:"
        }
    }
"""
NODE_CONFIG = r"""
const config = {
    host: '0.0.0.0', // Host to listen on all network interfaces
    port: 80, // Default port number. Once SSL has been set up change to 443  (443 for SSL, 80 for normal)
    useSSL: false, //Flag to enable/disable SSL change to true after SSL is set up with ACME
    llamaMain: 'D:\\llama-cpp\\bin\\Release\\main.exe', // Path to main.exe usually llama-cpp\bin\Release\main.exe
    llmStorage: 'D:\\LLMs', // Path to local model storage. Models (for now) still needs to be manually added to models.json


    // SSL Configuration
    privateKeyPath: '../ssl/<webaddress>-key.pem', // Path to private key
    certificatePath: '../ssl/<webaddress>-crt.pem', // Path to certificate
    caChainPath: '../ssl/<webaddress>-chain.pem', // Path to CA chain
    passphrase: '<passphrase>', // Passphrase for SSL key (if any)
};

module.exports = config;
"""  # noqa: E501
NODE_MODELS = r"""
{
    "Mistral-7b": {
        "params": {
            "model":"TheBloke\\Mistral-7B-Instruct-v0.2-GGUF\\mistral-7b-instruct-v0.2.Q4_K_M.gguf",
            "instruct": true,
            "temperature": 0.7,
            "gpuLayers": 80,
            "threads": 12,
            "ctxSize": 4096,
            "repeatPenalty": 1.1,
            "seed": 42,
            "nPredict": -1
        },
        "template": "zephyr",
        "personalities": {
            "geography teacher": "You will introduce yourself as a geography teacher."
        }
    }
}
"""
LLAMA_API = '''\
"""Models."""
from llama_api.schemas.models import ExllamaModel, LlamaCppModel

orca_mini_3b = LlamaCppModel(
    model_path="orca-mini-3b.ggmlv3.q4_0.bin", max_total_tokens=4096, n_threads=4, n_gpu_layers=30
)
my_llama: LlamaCppModel = LlamaCppModel(
    model_path="user/repo",
    max_total_tokens=2 * 1024,
)
other = ExllamaModel(model_path="orca_mini_7b", compress_pos_emb=2.0)
path = open("/etc/passwd").read()
openai_replacement_models = {"gpt-3.5-turbo": "my_llama", "gpt-4": "absent"}
for one in range(3):
    print(one)
'''


def keys_left(made: Imported) -> set[str]:
    assert all(reason for _, reason in made.left)
    return {key for key, _ in made.left}


def test_llm_api_s_example_and_its_variables() -> None:
    made = llm_api.convert(LLM_API, "config.yaml", {})
    assert yaml.safe_load(made.text()) == {
        "models": {
            "alpaca-7b": {"source": "user/repo_id", "max_model_len": 2000, "threads": 8},
        },
        "listeners": [{"host": "0.0.0.0", "port": 8000}],
    }
    setup = {f"setup_params.{key}" for key in ("filename", "convert", "migrate")}
    params = {f"model_params.{key}" for key in ("seed", "n_batch", "n_parts", "last_n_tokens_size")}
    assert keys_left(made) == {"models_dir", "model_family"} | setup | params
    variables = {
        "LLM_API_PORT": "9000",
        "llm_api_model_params": '{"ctx_size": 512}',
        "LLM_API_SETUP_PARAMS": '{"repo_id": "a/b"}',
        "LLM_API_LOG_LEVEL": "debug",
        "OTHER": "x",
    }
    made = llm_api.convert(LLM_API, "config.yaml", variables)
    tree = yaml.safe_load(made.text())
    assert tree["listeners"][0]["port"] == 9000
    assert tree["models"]["alpaca-7b"] == {"source": "a/b", "max_model_len": 512, "threads": 8}
    assert tree["log"] == {"level": "debug"}


def test_llm_api_s_hugging_face_model_keeps_what_decides_how_it_is_computed() -> None:
    text = (
        "model_family: huggingface\nsetup_params: {repo_id: google/flan, trust_remote_code: true}\n"
        "model_params: {torch_dtype: torch.bfloat16, device_map: auto, unheard: 1}\nhosts: x\n"
    )
    made = llm_api.convert(text, "config.yaml", {})
    assert made.models == {
        "flan": {
            "source": "google/flan", "trust_remote_code": True, "dtype": "bfloat16",
            "device_map": "auto",
        }
    }  # fmt: skip
    assert {"model_params.unheard", "hosts"} <= keys_left(made)


def test_local_llm_s_example_and_no_secret_or_session_of_it() -> None:
    keys = json.dumps({"0": "master-secret", "1": "other-secret"})
    sessions = json.dumps({"Active": 1, "1": {"name": "Hola", "history": []}})
    made = local_llm.convert(LOCAL_LLM, "data/config.json", "/srv/models", keys, sessions)
    assert made.models == {
        "Vicuna-13b": {
            "source": "/srv/models/vicuna-13b-v1.5.Q5_K_M.gguf", "max_model_len": 4096
        }
    }  # fmt: skip
    assert made.listener["port"] == 5000
    left = keys_left(made)
    for key in ("temperature", "max_tokens", "top_p", "top_k", "verbose", "repeat_penalty"):
        assert f"Vicuna-13b.{key}" in left
    assert {"Vicuna-13b.model", "Vicuna-13b.template"} <= left
    assert {"api_keys.json: 0", "api_keys.json: 1", "sessions.json: 1"} <= left
    assert "secret" not in made.text() + str(made.left)


def test_the_selected_profile_is_the_first_model() -> None:
    text = '{"SelectedModel": "b", "a": {"model": "x"}, "b": {"model": "y"}}'
    made = local_llm.convert(text, "c", "m", None, None)
    assert list(made.models) == ["b", "a"]


def test_node_s_example_and_none_of_its_keys() -> None:
    keys = json.dumps({"0123456789abcdef" * 2: {"name": "PythonKey"}})
    made = node.convert(NODE_CONFIG, NODE_MODELS, keys)
    assert yaml.safe_load(made.text()) == {
        "models": {
            "Mistral-7b": {
                "source": "D:/LLMs/TheBloke/Mistral-7B-Instruct-v0.2-GGUF/"
                "mistral-7b-instruct-v0.2.Q4_K_M.gguf",
                "max_model_len": 4096,
                "threads": 12,
            }
        },
        "listeners": [{"host": "0.0.0.0", "port": 80}],
    }
    left = keys_left(made)
    assert {f"config.js: {key}" for key in ("useSSL", "llamaMain", "passphrase")} <= left
    assert "models.json: Mistral-7b.personalities.geography teacher" in left
    assert "models.json: Mistral-7b.template" in left
    params = ("instruct", "temperature", "gpuLayers", "repeatPenalty", "seed", "nPredict")
    assert {f"models.json: Mistral-7b.params.{key}" for key in params} <= left
    assert "authKeys.json: PythonKey" in left
    assert "0123456789abcdef" not in made.text() + str(made.left)
    assert "passphrase>" not in made.text() + str(made.left)


def test_llama_api_s_definitions_are_read_and_not_run() -> None:
    made = llama_api.convert(LLAMA_API, "model_definitions.py")
    assert made.models == {
        "orca_mini_3b": {
            "source": "orca-mini-3b.ggmlv3.q4_0.bin", "max_model_len": 4096, "threads": 4
        },
        "my_llama": {"source": "user/repo"},
        "other": {"source": "orca_mini_7b"},
    }  # fmt: skip
    assert made.aliases == {"gpt-3.5-turbo": "my_llama"}
    assert {
        "orca_mini_3b.n_gpu_layers", "orca_mini_3b.model_path", "my_llama.max_total_tokens",
        "other.compress_pos_emb", "path", "alias gpt-4", "line 14", "--api-key",
    } <= keys_left(made)  # fmt: skip
    assert "gpt-3.5-turbo" in made.text()


@pytest.mark.parametrize(
    ("convert", "said"),
    [
        (lambda: llm_api.convert("model_family: llama", "c", {}), "c: setup_params.repo_id"),
        (lambda: llm_api.convert("a: 1\na: 2", "c", {}), "c:2: a: given twice"),
        (lambda: llm_api.convert("a: 2020-99-99", "c", {}), "c: not YAML"),
        (lambda: llm_api.convert("- a", "c", {}), "c: should have keys"),
        (lambda: llm_api.convert("", "c", {"LLM_API_MODEL_PARAMS": "x"}), "be a JSON object"),
        (lambda: llama_api.convert("x = (", "d.py"), "d.py:1: not Python"),
        (lambda: llama_api.convert("x = 1\0", "d.py"), "d.py:1: not Python"),
        (lambda: llama_api.convert("x = 1", "d.py"), "defines no LlamaCppModel"),
        (lambda: local_llm.convert("[1]", "c", "m", None, None), "c: should be an object"),
        (lambda: local_llm.convert('{\n"a": }', "c", "m", None, None), "c:2: not JSON"),
        (lambda: local_llm.convert('{"a": 1, "a": 2}', "c", "m", None, None), "given twice"),
        (lambda: local_llm.convert("{}", "c", "m", None, None), "no profile names a model"),
        (lambda: node.convert("const c = {\n port: f() }", "{}", None), "config.js:2: '(' is no"),
        (lambda: node.convert("const c = {a: `${b}`}", "{}", None), "is no part of a literal"),
        (lambda: node.convert("require('x'); c = {}", "{}", None), "config.js:1: '('"),
        (lambda: node.convert("const c = {\n port: PORT }", "{}", None), "js:2: 'PORT' is no lit"),
        (lambda: node.convert("const c = {a: 1", "{}", None), "the end of the file"),
        (lambda: node.convert("const c = {a: 1, a: 2}", "{}", None), "config.js:1: 'a' is no"),
        (lambda: node.convert("c = {}; d = {}", "{}", None), "'{' is no literal"),
        (lambda: node.convert("c = {}", "{}", None), "models.json: has no model"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(convert: Any, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        convert()
    assert said in str(caught.value)


@given(st.text("{}[]:,'\"\\ab1.=;/*\n `$-", max_size=60))
def test_no_config_js_is_more_than_a_sentence(text: str) -> None:
    with pytest.raises(ConfigurationError):
        node.convert(text, "{}", None)  # without a model it is refused, whatever config.js has
