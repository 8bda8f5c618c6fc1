"""Conditions of a query: fixed texts of ours, values apart."""


class Where:
    """Joined by `and`; str() gives the SQL, `values` what it needs."""

    def __init__(self, condition: str, *values: object) -> None:
        self._conditions = [condition]
        self.values: list[object] = list(values)

    def add(self, condition: str, *values: object) -> None:
        self._conditions.append(condition)
        self.values += values

    def among(self, column: str, choices: list[str]) -> None:
        """The column is one of the choices; with none of them, nothing matches."""
        self.add(f"{column} in ({', '.join('?' * len(choices))})", *choices)

    def __str__(self) -> str:
        return " and ".join(self._conditions)
