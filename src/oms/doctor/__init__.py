"""`oms doctor`: looks at everything that must be right, changes nothing, and says what to do.

finding      one result, and how all are shown
env_file     `.env` and the environment: misspelt names, quotes, blanks
keys         the shape of the keys, and which address they go to
account      the broker: keys accepted, clock, account, data plan
servers      PostgreSQL, Redis, QuestDB
machine      disk and ports
examination  all of them, in order
"""
