"""The steps from an empty database to the tables of this version, and back, for Alembic."""
