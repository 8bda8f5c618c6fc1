"""The command `oms`."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from oms.domain.errors import ConfigurationError, OmsError
from oms.settings import Settings, load_settings

_ABOUT = """\
Trademk1: an order management system for algorithmic traders.

It takes signals (REST or Redis), checks them against your limits, sends them to Alpaca's paper trading or to a paper
broker of its own, follows the fills, and keeps positions and profit and loss.

First steps:
  oms up                  start everything: servers, broker, API, engine. Needs no account: without
                          ALPACA_API_KEY it trades against the built-in paper broker
  then, in another terminal, the curl that it prints

Everyday:
  oms db shell            look into the database, or change limits:
                          oms db shell -c "UPDATE configs SET value = '20000' WHERE key = 'max_position_size_usd'"
  oms signals             follow the signals as they come in
  oms doctor              check keys, account, servers, disk, ports and .env, and say what to do
  oms alerts test         send a test message to each of ALERT_URLS
  oms backup              write the record to a file; `oms restore FILE` puts it back
  oms snapshot            write positions and orders as JSON and CSV
  oms audit               work out orders and positions once more; compare with the tables and the broker
  oms drift               where the record and the broker differ, and what to do about it
  oms halt, oms resume    send nothing new; trade again

The parts by themselves, on servers that DATABASE_URL, REDIS_URL and QUESTDB_URL name:
  oms serve               the API
  oms engine              the engine: checks, sends, follows
  oms feed                prices
  oms db migrate          bring the database to this version's schema

Settings come from flags, the environment and the file .env, in this order. Each command explains itself with --help.
"""

DAYS_MAX = 36_500

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
db = typer.Typer(help="The database: a shell, and its schema.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(db, name="db")
alerts = typer.Typer(help="Alerts: see whether they arrive.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(alerts, name="alerts")
drift = typer.Typer(help="Where the record and the broker differ.", rich_markup_mode=None)
app.add_typer(drift, name="drift")

Host = Annotated[str | None, typer.Option("--host", help="Address of the API. [env: OMS_HOST; default: 127.0.0.1]")]
Port = Annotated[
    int | None, typer.Option("--port", help="Port of the API. [env: OMS_PORT; default: 8000]", min=0, max=65535)
]
Data = Annotated[
    Path | None, typer.Option("--data", help="Folder that keeps everything. [env: OMS_DATA; default: ./data]")
]
Trust = Annotated[
    bool | None,
    typer.Option(
        "--trust-network",
        help="Listen beyond this machine without OMS_API_TOKEN: the network is closed. [env: OMS_TRUST_NETWORK]",
    ),
]


@app.callback(invoke_without_command=True)
def about(context: typer.Context) -> None:
    """An order management system for algorithmic traders; `oms` alone explains itself."""
    if context.invoked_subcommand is None:
        typer.echo(_ABOUT, nl=False)


@app.command()
def up(host: Host = None, port: Port = None, data: Data = None, trust_network: Trust = None) -> None:
    """Start everything, and stop it with Ctrl-C: servers, paper broker, API and engine."""
    from oms.up.console import Console  # noqa: PLC0415 - `oms --help` is quick
    from oms.up.plan import make_plan  # noqa: PLC0415
    from oms.up.supervisor import Supervisor  # noqa: PLC0415

    plan = make_plan(load_settings(host=host, port=port, data=data, trust_network=trust_network))
    console = Console()
    try:
        code = asyncio.run(Supervisor(plan, console).run())
    finally:
        console.close()
    raise typer.Exit(code)


@app.command()
def serve(host: Host = None, port: Port = None, data: Data = None, trust_network: Trust = None) -> None:
    """Run the API alone."""
    from oms.bootstrap import run_api  # noqa: PLC0415
    from oms.up.plan import check_address  # noqa: PLC0415

    settings = load_settings(host=host, port=port, data=data, trust_network=trust_network)
    check_address(settings)
    run_api(settings)


@app.command()
def engine(data: Data = None) -> None:
    """Run the execution engine alone."""
    from oms.bootstrap import run_engine  # noqa: PLC0415

    run_engine(load_settings(data=data))


@app.command()
def feed(data: Data = None) -> None:
    """Run the price feed alone; while it runs, the engine opens no data connection of its own."""
    from oms.bootstrap import run_feed  # noqa: PLC0415

    run_feed(load_settings(data=data))


@db.command("migrate")
def migrate_database(
    data: Data = None,
    backup: Annotated[
        bool,
        typer.Option("--backup/--no-backup", help="Whether an existing database is backed up before it is changed."),
    ] = True,
) -> None:
    """Bring the database to this version's schema, after a backup into the data folder's `backups`."""
    from oms.commands.backup import backup_before  # noqa: PLC0415
    from oms.storage.migrate import migrate  # noqa: PLC0415

    settings = load_settings(data=data)
    url = _database(settings)
    migrate(url, backup_before(url, settings) if backup else None)


@db.command("shell", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(context: typer.Context, data: Data = None) -> None:
    """Open psql on the database; arguments are psql's, e.g. oms db shell -c 'select * from configs'."""
    from oms.embedded.pginstall import install_folder  # noqa: PLC0415

    url = _database(load_settings(data=data))
    psql = install_folder() / "bin" / "psql"
    sys.stdout.flush()
    os.execv(psql, [str(psql), "--dbname", url.replace("+asyncpg", "", 1), *context.args])  # noqa: S606 - no shell is the point


@app.command()
def signals(data: Data = None) -> None:
    """Follow the Redis channel trade_signals, as `redis-cli subscribe trade_signals` does, until Ctrl-C."""
    from redis import Redis, RedisError  # noqa: PLC0415

    url = _address(load_settings(data=data), "REDIS_URL", lambda settings: settings.redis_url)
    try:
        with Redis.from_url(url, decode_responses=True) as client, client.pubsub() as pubsub:
            pubsub.subscribe("trade_signals")
            for message in pubsub.listen():
                kind, channel, content = message["type"], message["channel"], message["data"]
                typer.echo(f"{kind} {channel} {content}" if kind == "subscribe" else content)
    except RedisError as error:
        raise ConfigurationError(f"Redis does not answer: {error}") from error
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


@app.command()
def doctor(
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: a list of objects.")] = False,
) -> None:
    """Check keys, account, data plan, servers, disk, ports and .env; exit code 1 when anything has failed.

    It changes nothing, and works with and without a running OMS.
    """
    from oms.doctor.examination import examine  # noqa: PLC0415
    from oms.doctor.finding import Verdict, shown, to_json  # noqa: PLC0415

    findings = asyncio.run(examine(data))
    typer.echo(to_json(findings) if as_json else shown(findings))
    raise typer.Exit(1 if any(one.verdict is Verdict.FAILED for one in findings) else 0)


@alerts.command("test")
def test_alerts() -> None:
    """Send a test message to each of ALERT_URLS, and say whether it arrived. Exit code 1 when one did not."""
    from oms.alerts.trial import try_receivers  # noqa: PLC0415

    urls = load_settings().alert_urls
    if not urls:
        raise ConfigurationError("ALERT_URLS is not set: nobody is told. See docs/alerts.md for what to write there.")
    well = True
    for name, error in asyncio.run(try_receivers(urls)):
        typer.echo(f"{name}: {error or 'arrived'}")
        well = well and not error
    raise typer.Exit(0 if well else 1)


@app.command("backup")
def back_up(
    file: Annotated[
        Path | None,
        typer.Argument(help="Where to (-: standard output); default: a new file in the data folder's backups."),
    ] = None,
    data: Data = None,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Leave only so many in the folder of backups.")
    ] = None,
) -> None:
    """Write the record to one file, with PostgreSQL's own pg_dump, while the OMS trades on."""
    from oms.commands.backup import backup  # noqa: PLC0415

    backup(load_settings(data=data), file, keep)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A file that `oms backup` made; -: from standard input.")],
    data: Data = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Into a database that is not empty; it is backed up before.")
    ] = False,
) -> None:
    """Put a backup into the database: all of it or nothing. The OMS must not run on it."""
    from oms.commands.backup import restore as put_back  # noqa: PLC0415

    put_back(load_settings(data=data), file, replace=replace)


@app.command("snapshot")
def take_snapshot(
    data: Data = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where to; default: the data folder's snapshots.")
    ] = None,
    days: Annotated[
        float,
        typer.Option("--days", min=0, max=DAYS_MAX, help="Orders that changed within so many days; open ones always."),
    ] = 1,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Leave only so many in the folder.")] = None,
) -> None:
    """Write positions and orders as JSON and CSV, as they are at this moment."""
    from oms.commands.snapshot import snapshot  # noqa: PLC0415

    snapshot(load_settings(data=data), folder, days, keep)


@app.command("audit")
def audit_everything(
    data: Data = None,
    broker: Annotated[
        bool, typer.Option("--broker/--no-broker", help="Whether to compare with the broker as well.")
    ] = True,
    days: Annotated[
        float, typer.Option("--days", min=0, max=DAYS_MAX, help="How far back fills are compared with the broker's.")
    ] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Work out orders and positions once more; compare them with the tables and the broker.

    Exit code 0: everything agrees. 1: there are differences. 2: it could not be done.
    """
    from oms.commands.audit import audit  # noqa: PLC0415

    raise typer.Exit(audit(load_settings(data=data), with_broker=broker, days=days, as_object=as_json))


Reason = Annotated[str, typer.Option("--reason", help="Why: it is kept with your name.")]


@drift.callback(invoke_without_command=True)
def show_drift(
    context: typer.Context,
    everything: Annotated[bool, typer.Option("--all", help="Also what is resolved, the last 50.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
    data: Data = None,
) -> None:
    """Where the record and the broker differ, since when, and what blocks a symbol."""
    if context.invoked_subcommand is None:
        from oms.decide import show_drift as shown  # noqa: PLC0415

        settings = load_settings(data=data)
        typer.echo(shown(settings, _database(settings), everything=everything, as_json=as_json))


@drift.command("adopt")
def adopt_drift(drift_id: Annotated[int, typer.Argument(metavar="ID")], reason: Reason, data: Data = None) -> None:
    """The broker is right: book the difference as a correction of the position, once."""
    _decide(data, "drift_adopt", reason, drift_id=drift_id)


@drift.command("ignore")
def ignore_drift(drift_id: Annotated[int, typer.Argument(metavar="ID")], reason: Reason, data: Data = None) -> None:
    """Accept the difference as it is: it blocks nothing until it changes."""
    _decide(data, "drift_ignore", reason, drift_id=drift_id)


@app.command()
def halt(reason: Reason, data: Data = None) -> None:
    """Send nothing new until `oms resume`, also after a restart. Cancels pass."""
    _decide(data, "halt", reason)


@app.command()
def resume(reason: Reason, data: Data = None) -> None:
    """Trade again after `oms halt`."""
    _decide(data, "resume", reason)


def _decide(data: Path | None, kind: str, reason: str, **more: object) -> None:
    from oms.decide import decide  # noqa: PLC0415

    settings = load_settings(data=data)
    typer.echo(decide(settings, _database(settings), kind, reason, more))


def _database(settings: Settings) -> str:
    return _address(settings, "DATABASE_URL", lambda found: found.database_url)


def _address(settings: Settings, variable: str, field: Callable[[Settings], str | None]) -> str:
    """What the setting says, else where the `oms up` that runs on the data folder has it."""
    from oms.embedded.lock import running_addresses  # noqa: PLC0415

    if given := field(settings):
        return given
    running = running_addresses(settings.data)
    if found := (running or {}).get(variable.lower()):
        return found
    if running is not None:
        raise ConfigurationError(f"oms up on {settings.data} is still starting; try again in a moment.")
    raise ConfigurationError(
        f"Nothing runs on the data folder {settings.data}. Start `oms up` in another terminal, name its folder "
        f"(OMS_DATA), or set {variable} to a server of yours."
    )


def main() -> NoReturn:
    """Run the command; errors that we raise on purpose become one line (configuration: exit code 2, others: 1)."""
    try:
        app()
    except ConfigurationError as error:
        _fail(error, 2)
    except OmsError as error:
        _fail(error, 1)
    sys.exit(0)


def _fail(error: OmsError, code: int) -> NoReturn:
    print(f"oms: {error}", file=sys.stderr, flush=True)  # noqa: T201
    sys.exit(code)


if __name__ == "__main__":
    main()
