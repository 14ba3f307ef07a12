"""The handlers: thin glue from the engine to the market domain."""
