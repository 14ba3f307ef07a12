"""The HTTP API: thin routes over the functions that the commands use. Needs the extra `api`."""
