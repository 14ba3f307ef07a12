"""The tables of the bot: links, codes, updates and confirmations."""
