"""The Workspace and what follows from it. Pure: no cluster, no clock, no torch.

    actions = plan(observed, now)      # what to do, one small step of it after another

`types` is the API, `observed` what the shell read, `actions` what it has to do.
"""
