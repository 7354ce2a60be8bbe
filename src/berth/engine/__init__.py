"""The native engine process: scheduler, block manager, sampler, runner."""
