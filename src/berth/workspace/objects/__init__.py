"""The objects that a Workspace is made of: one small file for each kind, plain dicts."""
