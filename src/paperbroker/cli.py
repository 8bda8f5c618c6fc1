"""The command `paperbroker`."""

import asyncio
import contextlib
import gc
import signal
import socket
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
import uvloop

from paperbroker.api.frames import FramesTogether
from paperbroker.api.patience import PatientConnection
from paperbroker.app import build
from paperbroker.log import log_to_stderr
from paperbroker.prices.tape import TapeError
from paperbroker.settings import BadSettings, Settings, parse_now, parse_positions

_PREFIX = "PAPERBROKER_"


class Server(uvicorn.Server):
    """uvicorn, which says in one plain line when it is ready, and leaves signals to the command."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(f"paperbroker ready at {self._url}\n")
        sys.stdout.flush()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def serve(settings: Settings) -> int:
    """Run the broker until it is told to stop; returns the exit status."""
    try:
        listener = _listen(settings)
    except OSError as error:
        return _explain(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): give another --host or --port"
        )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(_serve(settings, listener))
    except BadSettings as problem:
        return _explain(str(problem))
    except TapeError as error:
        return _explain(f"--tape: {error}")
    except (sqlite3.Error, OSError) as error:
        return _explain(f"the data folder {settings.data} cannot be used ({error}): give another one with --data")


async def _serve(settings: Settings, listener: socket.socket) -> int:
    host, port = listener.getsockname()[:2]
    failures: list[bool] = []

    def stop(*, failed: bool = False) -> None:
        if failed:
            failures.append(True)
        server.should_exit = True

    config = uvicorn.Config(
        build(settings, lambda: stop(failed=True)),
        http=PatientConnection,
        ws=FramesTogether,
        log_config=None,
        access_log=False,
        lifespan="on",
        timeout_graceful_shutdown=1,
        timeout_keep_alive=75,  # longer than clients keep idle connections, so that none is closed under a request
        ws_per_message_deflate=False,
        ws_ping_interval=10.0,
        ws_ping_timeout=20.0,
        ws_max_size=1 << 20,
        server_header=False,
        proxy_headers=False,
    )
    gc.freeze()  # what was made at start stays
    gc.set_threshold(50_000, 20, 50)  # orders are freed by their counts; cycles are rare
    server = Server(config, f"http://{f'[{host}]' if ':' in host else host}:{port}")
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    await server.serve([listener])
    return int(bool(failures))


def _listen(settings: Settings) -> socket.socket:
    """A bound socket, so that port 0 is a real one before anything is said about it."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((settings.host, settings.port))
    return listener


def _explain(problem: str) -> int:
    sys.stderr.write(f"paperbroker: {problem}\n")
    return 2


app = typer.Typer(add_completion=False)


@app.command()
def run(
    host: Annotated[str, typer.Option(envvar=_PREFIX + "HOST", help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar=_PREFIX + "PORT", help="port to listen on; 0: any free one")] = 8100,
    data: Annotated[Path, typer.Option(envvar=_PREFIX + "DATA", help="folder of its state")] = Path("data/paperbroker"),
    seed: Annotated[int, typer.Option(envvar=_PREFIX + "SEED", help="of prices, delays and partial fills")] = 1,
    hours: Annotated[
        str, typer.Option(envvar=_PREFIX + "HOURS", help="all: always open; nyse: the exchange's sessions")
    ] = "all",
    now: Annotated[
        str | None,
        typer.Option(envvar=_PREFIX + "NOW", help="where its clock (with --tape: the replay) begins, RFC 3339"),
    ] = None,
    tape: Annotated[
        Path | None, typer.Option(envvar=_PREFIX + "TAPE", help="recorded prices: .parquet, .csv or .csv.gz")
    ] = None,
    speed: Annotated[float, typer.Option(envvar=_PREFIX + "SPEED", help="of the tape; 1: as it was recorded")] = 1.0,
    rebase: Annotated[
        bool,
        typer.Option("--rebase", envvar=_PREFIX + "REBASE", help="the tape's events carry the time they are sent at"),
    ] = False,
    requests_per_minute: Annotated[
        int, typer.Option(envvar=_PREFIX + "REQUESTS_PER_MINUTE", min=0, help="for each key; 0: no limit")
    ] = 200,
    stream_symbols: Annotated[
        int, typer.Option(envvar=_PREFIX + "STREAM_SYMBOLS", min=0, help="for each data connection; 0: any number")
    ] = 0,
    fills: Annotated[
        str,
        typer.Option(envvar=_PREFIX + "FILLS", help="paper: sizes are not looked at; displayed: no more than quoted"),
    ] = "paper",
    prices: Annotated[
        str, typer.Option(envvar=_PREFIX + "PRICES", help="generated, or pushed by PUT /paper/v1/prices")
    ] = "generated",
    positions: Annotated[
        str, typer.Option(envvar=_PREFIX + "POSITIONS", help="what a fresh account holds: BTC/USD=0.5,AAPL=10")
    ] = "",
    record: Annotated[
        Path | None, typer.Option(envvar=_PREFIX + "RECORD", help="write every answer into this file as a JSON line")
    ] = None,
) -> None:
    """A paper broker that speaks Alpaca's protocol.

    Trading, market data and streams on one port, for keys beginning with `mock`.
    """
    try:
        if hours not in {"all", "nyse"}:
            raise BadSettings("--hours has to be all or nyse")
        if fills not in {"paper", "displayed"}:
            raise BadSettings("--fills has to be paper or displayed")
        if prices not in {"generated", "pushed"}:
            raise BadSettings("--prices has to be generated or pushed")
        if prices == "pushed" and tape is not None:
            raise BadSettings("--prices pushed and --tape exclude each other: leave one of them out")
        settings = Settings(
            host=host,
            port=port,
            data=data,
            seed=seed,
            hours="all" if hours == "all" else "nyse",
            start_ns=parse_now(now),
            tape=tape,
            speed=speed,
            rebase=rebase,
            requests_per_minute=requests_per_minute,
            stream_symbols=stream_symbols,
            fills="paper" if fills == "paper" else "displayed",
            prices="generated" if prices == "generated" else "pushed",
            record=record,
            positions=parse_positions(positions),
        )
    except BadSettings as problem:
        raise typer.Exit(_explain(str(problem))) from None
    log_to_stderr()
    raise typer.Exit(serve(settings))


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
