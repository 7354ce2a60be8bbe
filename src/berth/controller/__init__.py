"""The Kubernetes shell around berth.workspace: it reads, plans and carries out.

    store     what was read: watch caches of every kind, mapped to Workspaces
    queue     which Workspace is looked at next, and not before when
    core      one reconcile: observe -> plan -> carry out -> when to look again
    loop      the store, the queue, the core and the lease as one controller
    leader    which of several controllers may write
    api       the API server, through the kubernetes client
    watch     kopf: watch events into the store
    run       the process: signals, health, metrics, workers

Decisions are in berth.workspace. `store` to `leader` know neither kopf, nor a clock, nor a
socket: the simulator in the tests runs them in virtual time, against an API server in memory.
"""
