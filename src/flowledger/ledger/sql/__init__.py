"""The ledger in a relational database; the only package that knows SQLAlchemy."""
