"""Alerts: what was told, how far the trail was read, and how telling each receiver goes.

Runs before the deploy of the code that needs it.
"""

from alembic import op

from oms.storage.scripts import run_script

revision = "0002"
down_revision = "0001"

ALERTS = """
create table alerts (
    id bigint generated always as identity primary key,
    key_hash text not null,
    kind text not null,
    at timestamptz not null,
    text text not null,
    count integer not null default 1 check (count > 0)
);
create index alerts_by_key on alerts (key_hash, id);

create table alert_cursors (
    key_hash text primary key,
    seq bigint not null,
    conditions jsonb not null default '{}',
    updated_at timestamptz not null
);
comment on column alert_cursors.seq is 'Events up to here are alerts already, or are worth none.';
comment on column alert_cursors.conditions is 'What lasts, and was last told to be so.';

create table alert_receivers (
    key_hash text not null,
    receiver text not null,
    last_id bigint not null,
    active boolean not null default true,
    delivered bigint not null default 0,
    failures bigint not null default 0,
    last_error text not null default '',
    failing_since timestamptz,
    delivered_at timestamptz,
    primary key (key_hash, receiver)
);
comment on column alert_receivers.receiver is 'A hash of the address, which holds tokens.';
"""


def upgrade() -> None:
    run_script(op.get_bind(), ALERTS)
