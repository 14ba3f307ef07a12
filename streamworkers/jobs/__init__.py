"""The jobs that come with streamworkers: thin handlers between the engine and the market domain."""
