"""The real servers that `oms up` and the tests start from pip's wheels: PostgreSQL, Valkey, QuestDB.

servers     all three together: start in parallel, addresses, stop
server      what they have in common
postgres, valkey, questdb    each one; pginstall: PostgreSQL's programs and user; fetch: QuestDB's jar
process     children that die with their parent; launch: the small program that ties them
ports       the usual port or another
lock        one `oms up` for a data folder, and where others find its addresses
"""
