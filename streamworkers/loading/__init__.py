"""Loading bars from providers: what to ask for, fetching, provenance, and storing."""
