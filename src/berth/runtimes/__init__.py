"""Engine processes that are someone else's engine, behind the protocol of the native one."""
