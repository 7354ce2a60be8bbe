"""Local-LLM-API's data folder: config.json, and what is said of api_keys.json, sessions.json."""

from __future__ import annotations

from typing import Any

from berth.configuration.errors import ConfigurationError
from berth.configuration.imports.imported import KEYS, SAMPLING, Imported
from berth.configuration.imports.json_file import load_object

_REASONS = {
    **dict.fromkeys(("temperature", "max_tokens", "top_p", "top_k", "repeat_penalty"), SAMPLING),
    "template": "the model's own chat template is taken; this form of template is not read yet",
    "verbose": "log.level says how much is logged",
}


def convert(
    config: str, name: str, models_dir: str, keys: str | None, sessions: str | None
) -> Imported:
    """`keys` and `sessions`: the text of those files, None where there is none.

    Raises ConfigurationError if a file is no object of JSON, or no profile has a model.
    """
    profiles = load_object(config, name)
    selected = profiles.pop("SelectedModel", None)
    names = sorted(profiles, key=lambda one: one != selected)  # the selected one first
    made = Imported()
    for profile in names:
        _profile(made, profile, profiles[profile], models_dir)
    if not made.models:
        raise ConfigurationError([f"{name}: no profile names a model"])
    if selected is not None and selected not in made.models:
        made.leave("SelectedModel", f"there is no profile {str(selected)[:60]!r}")
    if keys is not None:
        for number in load_object(keys, "api_keys.json"):
            made.leave(f"api_keys.json: {number[:60]}", KEYS)
    if sessions is not None:
        for number in load_object(sessions, "sessions.json"):
            if number != "Active":
                made.leave(f"sessions.json: {number[:60]}", "sessions are not served yet")
    made.listener.update(host="0.0.0.0", port=5000)
    return made


def _profile(made: Imported, name: str, profile: Any, models_dir: str) -> None:
    if not isinstance(profile, dict) or not isinstance(profile.get("model"), str):
        made.leave(name, "is no profile with a model")
        return
    said = dict(profile)
    file = said.pop("model")
    source, numbers = f"{models_dir}/{file}", [("n_ctx", "max_model_len", 2)]
    made.models[name] = made.model(source, f"{name}.model", said, f"{name}.", numbers)
    made.leave_all(said, f"{name}.", _REASONS)
