"""What outlives a process: API keys, in SQLite or PostgreSQL.

`records`, `secrets`, `limiter`, `decide` and `moments` are pure: no I/O, no clock, no SQLAlchemy.
`place` says where the database is. `database` and `keys` are the shell, and the only ones that
import SQLAlchemy: a server that has no database starts without it.
"""
