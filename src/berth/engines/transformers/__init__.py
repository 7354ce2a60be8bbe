"""Any causal language model that transformers' AutoModelForCausalLM loads, as an engine process."""
