"""Answers held against Alpaca's OpenAPI files, by openapi-core. Runs in the environment `clients-openapi`."""

from dataclasses import dataclass
from typing import Any

from openapi_core import OpenAPI
from openapi_core.templating.paths.exceptions import PathError
from openapi_core.templating.responses.exceptions import ResponseNotFound
from specs import load

HOST = "http://broker"
UNKNOWN, UNDOCUMENTED = "unknown", "undocumented"
_DATA = ("/v2/stocks", "/v1beta1/", "/v1beta3/")


@dataclass(frozen=True)
class Answer:
    """What was answered to which request."""

    method: str
    path: str
    status: int
    content_type: str
    content: bytes


class _Request:
    """A request as openapi-core wants to see it."""

    host_url = HOST
    body = None
    parameters = None
    content_type = ""

    def __init__(self, answer: Answer) -> None:
        self.path, self.method = answer.path, answer.method.lower()


class _Response:
    """A response as openapi-core wants to see it."""

    def __init__(self, answer: Answer) -> None:
        self.headers: dict[str, str] = {}
        self.status_code, self.data = answer.status, answer.content
        self.content_type = answer.content_type.partition(";")[0]


class Contracts:
    """Both of Alpaca's files, with their servers replaced by the broker."""

    def __init__(self) -> None:
        self._trading, self._data = (self._load(name) for name in ("trading-api", "market-data-api"))

    @staticmethod
    def _load(name: str) -> OpenAPI:
        document = load(name)
        document["servers"] = [{"url": HOST}]
        return OpenAPI.from_dict(document)

    def judge(self, answer: Answer) -> tuple[str, str | None]:
        """The operation's id, and what is wrong with the answer.

        "unknown": the file has no such operation; "undocumented": it has no such status.
        """
        openapi = self._data if answer.path.startswith(_DATA) else self._trading
        request: Any = _Request(answer)
        try:
            found = openapi.response_validator_cls(openapi.spec)._find_path(request)
        except PathError:
            return f"{answer.method} {answer.path}", UNKNOWN
        operation = str((found.operation / "operationId").read_str())
        try:
            openapi.validate_response(request, _Response(answer))
        except ResponseNotFound:
            return operation, UNDOCUMENTED
        except Exception as error:  # noqa: BLE001  (whatever openapi-core finds is the finding)
            return operation, f"{error!r} {error.__cause__!r}"[:2000]
        return operation, None
