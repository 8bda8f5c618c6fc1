"""Tells a person, through Apprise, what cannot wait until they look.

news        events of orders → alerts, bursts counted
conditions  what is the matter now, from the engine's last words
watch       when a condition has lasted, changed or ended
message     alerts → one message, however many they are
receivers   Apprise: understanding the URLs, sending, and showing neither
record      the port to what is kept: alerts, cursors, receivers
collector   the record → alerts, each once
courier     alerts → one receiver, again until it takes them
outage      PostgreSQL is away: told past the record, and again when it answers
alerter     one of several API processes does all this

Collecting and sending are apart: an alert is stored in the transaction that moves the cursor behind its cause, and each
receiver has a cursor of its own. See docs/decisions/0005-alerts-live-in-the-api.md.
"""
