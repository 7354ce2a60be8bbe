"""What outlives a process: API keys and conversations, in SQLite or PostgreSQL.

`records`, `secrets`, `limiter`, `decide`, `moments` and `window` are pure: no I/O, no clock, no
SQLAlchemy. `place` says where the database is. `database`, `keys` and `sessions` are the shell,
and the only ones that import SQLAlchemy: a server that has no database starts without it.
"""
