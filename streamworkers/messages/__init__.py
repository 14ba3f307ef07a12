"""What other programs have sent, and what came of each message: the table `received_messages`.

`history` writes it in the transaction of what a message does, `listing` reads it, `retention` removes what is old.
"""
