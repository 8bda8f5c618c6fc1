"""What the store keeps, as SQL. Bodies are JSON: `wire` as it is sent, `state` as the broker reads it back."""

SCHEMA_VERSION = 3

_ORDERS = """-- `state` only while the order is open: it is what a restart goes on with
create table if not exists orders (
    seq integer primary key,
    id text not null unique,
    account_id text not null,
    client_order_id text not null,
    symbol text not null,
    side text not null,
    asset_class text not null,
    is_open integer not null,
    submitted_ns integer not null,
    parent_id text,
    wire blob not null,
    state blob
);
"""

SCHEMA = f"""
create table if not exists accounts (id text primary key, key text not null, state blob not null);

{_ORDERS}create unique index if not exists orders_client_order_id on orders (account_id, client_order_id);
create index if not exists orders_submitted on orders (account_id, submitted_ns, seq);
create index if not exists orders_now_open on orders (seq) where is_open = 1;
create index if not exists orders_parent on orders (parent_id, seq) where parent_id is not null;

create table if not exists activities (
    seq integer primary key,
    id text not null unique,
    account_id text not null,
    ns integer not null,
    type text not null,
    order_id text,
    body blob not null
);
create index if not exists activities_time on activities (account_id, ns, seq);

create table if not exists fills (seq integer primary key, account_id text not null, order_id text not null, body blob
not null);

-- every event of every order, for server-sent events
create table if not exists events (seq integer primary key, account_id text not null, ns integer not null, body blob
not null);
create index if not exists events_account on events (account_id, seq);

-- symbols whose trading is halted by hand
create table if not exists halts (symbol text primary key) without rowid;

create table if not exists watchlists (id text primary key, account_id text not null, body blob not null);

-- what an account was worth; `grain`: the longest of 1, 5, 15 and 60 minutes that ends here
create table if not exists equity (
    account_id text not null,
    ns integer not null,
    grain integer not null,
    equity text not null,
    primary key (account_id, ns)
) without rowid;
"""

# What folders of earlier versions lack, by the version that added it; the indexes are made by SCHEMA.
MIGRATIONS = {
    2: "alter table orders add column parent_id text",
    3: f"""begin;
alter table orders rename to former_orders;
{_ORDERS}
insert into orders select seq, id, account_id, client_order_id, symbol, side, asset_class, is_open, submitted_ns,
    parent_id, wire, state from former_orders order by seq;
drop table former_orders;
commit;
""",  # noqa: S608  (a text of ours)
}

PUT_ACCOUNT = (
    "insert into accounts (id, key, state) values (?, ?, ?) on conflict (id) do update set state = excluded.state"
)

PUT_ORDER = """
insert into orders (seq, id, account_id, client_order_id, symbol, side, asset_class, is_open, submitted_ns, parent_id,
    wire, state)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

# Of an order that is there already. What is indexed apart, because SQLite writes an index for every column that is set.
CHANGE_ORDER = "update orders set is_open = ?, wire = ?, state = ? where seq = ?"
MOVE_ORDER = "update orders set submitted_ns = ?, parent_id = ? where seq = ?"

PUT_ACTIVITY = "insert or ignore into activities (id, account_id, ns, type, order_id, body) values (?, ?, ?, ?, ?, ?)"

PUT_FILL = "insert into fills (seq, account_id, order_id, body) values (?, ?, ?, ?)"

PUT_EVENT = "insert into events (seq, account_id, ns, body) values (?, ?, ?, ?)"

PUT_HALT = "insert or ignore into halts (symbol) values (?)"

DROP_HALT = "delete from halts where symbol = ?"

PUT_WATCHLIST = (
    "insert into watchlists (id, account_id, body) values (?, ?, ?) on conflict (id) do update set body = excluded.body"
)

DROP_WATCHLIST = "delete from watchlists where id = ?"

PUT_EQUITY = "insert or replace into equity (account_id, ns, grain, equity) values (?, ?, ?, ?)"

THIN_EQUITY = "delete from equity where grain < ? and ns < ?"
