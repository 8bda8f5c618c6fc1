"""The drift ledger, and a halt that outlives the engine.

Runs before the deploy of the code that needs it: it only adds. What they mean: docs/reliability.md.
"""

from alembic import op

from oms.storage.scripts import run_script

revision = "0003"
down_revision = "0002"

DRIFT = """
create table drift (
    account_id uuid not null references accounts,
    id bigint not null,
    kind text not null,
    subject text not null,
    symbol text not null,
    cause text not null,
    ours text not null,
    theirs text not null,
    first_seen timestamptz not null,
    last_seen timestamptz not null,
    passes bigint not null,
    order_id uuid references orders,
    blocks boolean not null,
    state text not null check (state in ('open', 'ignored', 'resolved')),
    resolution text,
    resolved_at timestamptz,
    resolved_by text,
    reason text,
    primary key (account_id, id)
);
create unique index drift_standing on drift (account_id, kind, subject) where state <> 'resolved';
comment on table drift is 'Every difference between this record and the broker. The engine writes it.';
comment on column drift.blocks is 'Orders that increase risk in the symbol are refused.';

alter table accounts add column in_sync_at timestamptz;
comment on column accounts.in_sync_at is 'When a full reconciliation last found no difference that is still open.';
"""

HALT = """
alter table accounts
    add column halted boolean not null default false,
    add column halted_at timestamptz,
    add column halted_by text,
    add column halted_reason text;
comment on column accounts.halted is 'Nothing new is sent until a person resumes; cancels pass.';

alter table orders add column busted_qty numeric not null default 0;
comment on column orders.busted_qty is 'What the broker took back of filled_qty: an adjustment (bust) of the position.';
"""


def upgrade() -> None:
    run_script(op.get_bind(), DRIFT)
    run_script(op.get_bind(), HALT)
