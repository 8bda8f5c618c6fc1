"""Environments of their own for Alpaca's clients, because they do not resolve together; made when first asked for.

They live in `.venv-clients/` at the top of the repository (not committed) and are made again when their pinned
requirements change. Where a language is not installed, the test is skipped and says so.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CACHE = ROOT / ".venv-clients"
HERE = Path(__file__).parent


def python_environment(name: str) -> Path:
    """The Python of an environment with `requirements/clients-{name}.txt`."""
    requirements = ROOT / "requirements" / f"clients-{name}.txt"
    folder = CACHE / name
    python = folder / "bin" / "python"
    with _alone(name):
        if _is_fresh(folder, requirements) and python.exists():
            return python
        uv = shutil.which("uv") or str(Path(sys.executable).parent / "uv")
        if not Path(uv).exists():
            pytest.skip("uv is not there, which makes the clients' environments: run `make setup`")
        _run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(folder)])
        _run([uv, "pip", "sync", "-q", "--python", str(python), "--require-hashes", str(requirements)])
        return _stamped(folder, requirements, python)


def node_environment() -> Path:
    """A folder with Alpaca's JavaScript SDKs installed and our scripts beside them."""
    for tool in ("node", "npm"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: the JavaScript SDKs cannot run")
    source, folder = HERE / "js", CACHE / "js"
    lock = source / "package-lock.json"
    with _alone("js"):
        if not _is_fresh(folder, lock):
            folder.mkdir(parents=True, exist_ok=True)
            for file in ("package.json", "package-lock.json"):
                shutil.copy(source / file, folder / file)
            _run(["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"], folder)
            _stamped(folder, lock, folder)
        for script in source.glob("*.js"):
            shutil.copy(script, folder / script.name)
    return folder


def go_binary() -> Path:
    """The Go client, built."""
    if shutil.which("go") is None:
        pytest.skip("go is not installed: the Go SDK cannot run")
    folder = CACHE / "go"
    folder.mkdir(parents=True, exist_ok=True)
    with _alone("go"):
        _run(["go", "build", "-mod=readonly", "-o", str(folder / "client"), "."], HERE / "go")
    return folder / "client"


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Tests in other processes wait until this environment is made."""
    CACHE.mkdir(exist_ok=True)
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(command: list[str], folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}"


def _is_fresh(folder: Path, requirements: Path) -> bool:
    stamp = folder / ".made-of"
    return stamp.exists() and stamp.read_text() == _digest(requirements)


def _stamped(folder: Path, requirements: Path, result: Path) -> Path:
    (folder / ".made-of").write_text(_digest(requirements))
    return result


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
