"""What an item costs, as checkout says."""

from __future__ import annotations

from typing import Any

from portal.service_client import Api, ServiceError

_CODE_REFUSED = (404, 409, 422, 429)


async def price_of(api: Api, slug: str, code: str, **query: Any) -> tuple[dict[str, Any], ServiceError | None]:
    """The price; without the code and with the reason, if it is refused. Raises ServiceError. (Any: of the query.)"""
    path = f"/api/prices/{slug}"
    if not code:
        return await api.get("checkout", path, **query), None
    try:
        return await api.get("checkout", path, promotion_code=code, **query), None
    except ServiceError as error:
        if error.status not in _CODE_REFUSED:
            raise
        return await api.get("checkout", path, **query), error
