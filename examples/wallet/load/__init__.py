"""`penstock load wallet`: a seeded day of a wallet, and an oracle that knows it to the cent.

It shares nothing with the wallet, so that a defect cannot hide by being shared with its grader.
"""

from wallet.load.cli import command as command
