"""Background services: each does one bounded step at a time under a lease shared by the fleet."""
