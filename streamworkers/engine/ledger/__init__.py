"""PostgreSQL as the pool uses it: runs, items, the outbox, rejected entries. All SQL about them is in this folder."""
