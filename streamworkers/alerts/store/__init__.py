"""What is stored of alerts: their versions, symbols, mutes and states, and what has fired."""
