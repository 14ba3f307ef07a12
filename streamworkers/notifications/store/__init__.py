"""The tables of notifications: who can be reached and how they want it, and what they are notified of."""
