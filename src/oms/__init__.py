"""Trademk1: takes trade signals, checks them, sends orders to Alpaca, follows them, keeps positions with live P&L.

Read it as the way of a signal:

domain      what is true whatever is outside: values, instruments, signals, orders and their transition table, fills,
            positions, prices, events, what a broker reports, errors
signals     intake: reads a signal, stores it by group commit, publishes it; the Redis channel and stream
risk        one pure function a control, and the gate that makes the only kind of order that may be sent
execution   the engine, only writer of order state:
              engine       its life: account, lease, one session after another
              session      everything in memory and every task around it, until the first doubt
              desk         what the parts of a session share
              dispatcher   accepted orders through the gate, in order
              sender       approved orders to the broker; wire: the one place from which they go out
              resolver     what became of those whose answer was lost
              ledger       what the broker reports, applied one at a time
              book         the memory: every change that can happen to orders and positions
              drift        the memory of differences between the record and the broker
              journal      group commit of those changes
              reconcile    what is stored and what the broker holds, brought together: adoption (the first contact),
                           executions, fees, comparison (positions), gone (orders that the broker does not know)
              commands     what the API asks: cancels, and decisions of people (halt, resume, adopt, ignore)
              budget, breaker, market_time, worth, event_relay, status
broker      Alpaca: requests, update stream, market data, JSON to domain and back. Nothing else knows Alpaca
portfolio   positions valued at the latest prices, every five seconds
marketdata  what to follow, ticks to QuestDB, latest prices and how fresh they are
storage     PostgreSQL: schema and migrations, the signals' store, the engine's store, queries for the API
alerts      what a person must know: rejected orders, an engine or a stream that is down; told through Apprise
api         HTTP: the signal route, orders, positions, portfolio, events, health; errors to problems in one place
embedded    real PostgreSQL, Valkey and QuestDB from pip
audit       `oms audit`: orders and positions worked out once more, beside the tables and the broker
backup      `oms backup` and `oms restore`: the record as one file, by PostgreSQL's own tools
snapshot    `oms snapshot`: positions and orders as JSON and CSV
commands    what an operator runs beside the OMS, wired
doctor      `oms doctor`: keys, account, data plan, servers, disk, ports, `.env`, each with what to do
up          `oms up`: starts all parts, keeps them alive, stops them

upkeep      what fails of the backups and snapshots that `oms up` makes by itself; a file that the API reads
ports       the few openings to the outside
group_commit  whatever arrives during a commit goes into the next one
room        on the disk of the data folder
waiting     for an event, no longer than so long
settings    what environment, `.env` and flags say
decide      `oms drift`, `oms halt`, `oms resume`
system      the real clock and randomness, the log
bootstrap   wires everything, once, for each process
cli         the command `oms`
"""
