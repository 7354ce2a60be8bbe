"""The native engine process: scheduler, block manager, runner."""
