"""The record: accounts, orders and their events, fills, adjustments, positions, limits, commands.

Runs before the deploy of the code that needs it. What the tables mean: docs/schema.md.
"""

from alembic import op

from oms.storage.scripts import run_script

revision = "0001"
down_revision = None

ACCOUNTS = """
create table installation (
    only_one boolean primary key default true check (only_one),
    id uuid not null default gen_random_uuid()
);
insert into installation default values;
comment on table installation is 'Identifies this database; its start is the prefix of our order ids at the broker.';

create table accounts (
    id uuid primary key,
    name text not null,
    broker_account_id text not null unique,
    number text not null default '',
    address text not null default '',
    currency text not null default 'USD',
    cash numeric,
    equity numeric,
    buying_power numeric,
    as_of timestamptz,
    watermark timestamptz,
    adopted_at timestamptz,
    event_seq bigint not null default 0,
    created_at timestamptz not null
);
comment on column accounts.watermark is 'Activities are booked up to here; null before the positions were adopted.';
comment on column accounts.event_seq is
    'Last sequence of order_events. Every writer locks this row first: sequences appear in order, without gaps.';

create table account_keys (
    key_hash text primary key,
    account_id uuid not null references accounts,
    used_at timestamptz not null
);
comment on table account_keys is 'Which account a key opened. Only a hash of the key is kept.';

create table leases (
    account_id uuid primary key references accounts,
    epoch bigint not null default 0,
    holder text not null default '',
    expires_at timestamptz not null default '-infinity'
);
comment on table leases is 'The one engine that writes for an account; each of its transactions checks the epoch here.';

create table engines (
    key_hash text primary key,
    account_id uuid references accounts,
    status text not null,
    detail jsonb not null default '{}',
    heartbeat_at timestamptz not null
);
comment on table engines is 'What the engine for a key last said of itself; health reads it.';
"""

INSTRUMENTS = """
create table instruments (
    symbol text primary key,
    asset_class text not null check (asset_class in ('stock', 'crypto')),
    broker_asset_id text not null,
    name text not null default '',
    exchange text not null default '',
    tradable boolean not null default true,
    fractionable boolean not null default false,
    shortable boolean not null default false,
    qty_min numeric,
    qty_increment numeric,
    price_increment numeric,
    updated_at timestamptz not null default now()
);
comment on table instruments is 'The asset list of the broker, refreshed by the engine.';

create table symbol_aliases (
    alias text primary key check (alias = upper(alias)),
    symbol text not null
);
insert into symbol_aliases values ('BTCUSDT', 'BTC/USD');
comment on table symbol_aliases is 'Other spellings of a symbol. The real USDT pair is written BTC/USDT.';
"""

CONFIGS = """
create table configs (
    key text primary key,
    value text not null,
    mode text not null default 'enforce' check (mode in ('enforce', 'warn', 'off')),
    description text not null default '',
    updated_at timestamptz not null default now(),
    constraint value_is_a_plain_number check (value ~ '^[0-9]+([.][0-9]+)?$')
);
insert into configs (key, value, description) values
    ('max_position_size_usd', '10000', 'Largest absolute value of a position in USD, open orders included'),
    ('max_order_qty_crypto', '1.0', 'Largest quantity of one crypto order, in units of the coin'),
    ('max_order_qty_stock', '100', 'Largest quantity of one stock order, in shares'),
    ('max_price_age_s', '15', 'Age in seconds up to which a price counts as fresh'),
    ('max_signal_age_s', '30', 'Age in seconds up to which a waiting signal is still sent');

create table config_version (
    only_one boolean primary key default true check (only_one),
    version bigint not null default 1
);
insert into config_version default values;

create function configs_changed() returns trigger language plpgsql as $$
begin
    update config_version set version = version + 1;
    perform pg_notify('configs', '');
    return null;
end $$;
create trigger configs_changed after insert or update or delete or truncate on configs
    for each statement execute function configs_changed();
create trigger aliases_changed after insert or update or delete or truncate on symbol_aliases
    for each statement execute function configs_changed();
"""

ORDERS = """
create table orders (
    id uuid primary key,
    account_id uuid not null references accounts,
    seq bigint not null,
    client_order_id text not null,
    alpaca_id text,
    origin text not null default 'signal' check (origin in ('signal', 'external')),
    signal_id text,
    source text,
    terms text,
    symbol text not null,
    asset_class text not null check (asset_class in ('stock', 'crypto')),
    side text not null check (side in ('buy', 'sell')),
    qty numeric check (qty > 0),
    type text not null check (type in ('market', 'limit')),
    limit_price numeric,
    time_in_force text not null,
    strategy text,
    reason text,
    valid_for_s numeric,
    configs_version bigint not null default 0,
    status text not null check (status in
        ('pending', 'submitted', 'partially_filled', 'filled', 'rejected', 'cancelled', 'expired', 'replaced', 'held')),
    outcome_unknown boolean not null default false,
    filled_qty numeric not null default 0,
    filled_price numeric,
    filled_value numeric not null default 0,
    baseline_qty numeric not null default 0,
    fee_rate numeric,
    error_code text,
    error_message text,
    checks jsonb not null default '[]',
    created_at timestamptz not null,
    attempted_at timestamptz,
    attempt_epoch bigint,
    submitted_at timestamptz,
    ended_at timestamptz,
    updated_at timestamptz not null,
    version bigint not null default 0,
    unique (account_id, signal_id),
    unique (account_id, client_order_id),
    unique (account_id, alpaca_id)
);
create index orders_by_time on orders (account_id, created_at desc, seq desc);
create index orders_by_symbol on orders (account_id, symbol, created_at desc);
create index orders_open on orders (account_id, seq)
    where status in ('pending', 'submitted', 'partially_filled', 'held');
create index orders_waiting on orders (account_id, seq) where status = 'pending' and attempted_at is null;
create index orders_rejected on orders (account_id, created_at desc) where status = 'rejected';
comment on column orders.qty is 'Null while "all" is waiting to be resolved by the engine.';
comment on column orders.attempted_at is 'The intent to send, committed before the request.';
comment on column orders.baseline_qty is 'Filled before an external order was taken in: in the adopted position.';

create table order_events (
    account_id uuid not null,
    seq bigint not null,
    order_id uuid not null references orders,
    kind text not null,
    status text not null,
    at timestamptz not null,
    data jsonb not null default '{}',
    primary key (account_id, seq)
);
create index order_events_by_order on order_events (order_id, seq);

create function order_events_are_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'order_events is append-only';
end $$;
create trigger order_events_are_append_only before update or delete or truncate on order_events
    for each statement execute function order_events_are_append_only();
"""

POSITIONS = """
create table fills (
    id uuid primary key,
    account_id uuid not null references accounts,
    order_id uuid not null references orders,
    broker_order_id text not null,
    symbol text not null,
    side text not null check (side in ('buy', 'sell')),
    qty numeric not null check (qty > 0),
    price numeric not null check (price >= 0),
    cum_qty numeric not null,
    transacted_at timestamptz not null,
    execution_id text,
    activity_id text,
    booked_at timestamptz not null default now(),
    unique (account_id, broker_order_id, cum_qty),
    unique (account_id, execution_id)
);
create index fills_by_symbol on fills (account_id, symbol, transacted_at);
create index fills_by_order on fills (order_id);

create table adjustments (
    id uuid primary key,
    account_id uuid not null references accounts,
    symbol text not null,
    kind text not null check (kind in ('adopted', 'fee', 'fee_true_up', 'bust', 'split', 'correction')),
    qty numeric not null,
    price numeric,
    cash numeric not null default 0,
    at timestamptz not null,
    broker_order_id text not null default '',
    cum_qty numeric not null default 0,
    reference text not null,
    booked_at timestamptz not null default now(),
    unique (account_id, reference)
);
create index adjustments_by_symbol on adjustments (account_id, symbol, at);
comment on column adjustments.cash is 'USD taken (negative) or given beside the quantity, such as a fee on a sale.';

create table positions (
    id uuid primary key,
    account_id uuid not null references accounts,
    symbol text not null,
    asset_class text not null check (asset_class in ('stock', 'crypto')),
    qty numeric not null,
    avg_price numeric not null,
    realized_pnl numeric not null,
    unrealized_pnl numeric,
    last_price numeric,
    market_value numeric,
    price_time timestamptz,
    stale boolean not null default false,
    fees numeric not null default 0,
    opened_at timestamptz,
    closed_at timestamptz,
    last_at timestamptz,
    last_order text,
    last_cum numeric,
    last_rank int,
    flat_at timestamptz,
    flat_order text,
    flat_cum numeric,
    flat_rank int,
    flat_realized numeric not null default 0,
    flat_fees numeric not null default 0,
    updated_at timestamptz not null,
    version bigint not null default 0,
    unique (account_id, symbol)
);
comment on column positions.flat_at is 'The entry that last made it flat; a late fill computes it again from there.';
"""

CONTROL = """
create table commands (
    id uuid primary key,
    account_id uuid not null references accounts,
    kind text not null,
    order_id uuid references orders,
    data jsonb not null default '{}',
    created_at timestamptz not null,
    done_at timestamptz,
    outcome text,
    message text
);
create index commands_waiting on commands (account_id, created_at) where done_at is null;

create function expect_rows(what text, expected bigint, written bigint) returns bigint language plpgsql as $$
begin
    if written <> expected then
        raise exception '% of % % are stored in another version than memory holds', expected - written, expected, what
            using errcode = 'OM001';
    end if;
    return written;
end $$;
comment on function expect_rows is 'Ends a statement that did not write all of its rows: all or nothing.';

create table signal_errors (
    id bigint generated always as identity primary key,
    account_id uuid references accounts,
    source text not null,
    code text not null,
    reason text not null,
    payload text not null,
    at timestamptz not null default now()
);
"""


def upgrade() -> None:
    for script in (ACCOUNTS, INSTRUMENTS, CONFIGS, ORDERS, POSITIONS, CONTROL):
        run_script(op.get_bind(), script)
