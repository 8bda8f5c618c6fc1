"""/docs, the interactive description: complete without the internet."""

from __future__ import annotations

import re
from typing import Any


async def test_what_the_page_loads_is_served_from_here(api: Any) -> None:
    page = await api.get("/docs")
    assert page.status == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert {path.rpartition(".")[2] for path in loaded} == {"js", "css", "png"}
    for path in loaded:
        assert path.startswith("/docs/assets/")
        assert (await api.request("HEAD", path)).status == 200
    assert not re.search(r"https?:|[\"']//", page.text)
    assert "SwaggerUIBundle" in (await api.get("/docs/assets/swagger-ui-bundle.js")).text


async def test_the_style_sheet_loads_nothing_from_elsewhere(api: Any) -> None:
    sheet = (await api.get("/docs/assets/swagger-ui.css")).text
    addresses = re.findall(r"url\(([^)]+)\)", sheet)
    assert all(address.strip("'\"").startswith("data:") for address in addresses)
    assert "@import" not in sheet


async def test_a_file_that_is_not_there_is_a_problem(api: Any) -> None:
    answer = await api.get("/docs/assets/nothing.js")
    assert (answer.status, answer.body["code"]) == (404, "not_found")
