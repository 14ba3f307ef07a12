"""The Telegram bot: messages become commands, and commands what the command line does; docs/guides/telegram.md."""
