"""Who asks: a bearer key, checked against the hashes in the records, and the scopes it must have.

`/v1` needs the scope ``ask``, `/admin` and the usage of all keys ``admin``, which includes ``ask``.
"""

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from palier.adapters.records import ApiKey
from serving.problems import ForbiddenProblem, UnauthenticatedProblem
from serving.state import GatewayPart

ASK = "ask"
ADMIN = "admin"

_bearer = HTTPBearer(auto_error=False, description="A key made by `palier keys create NAME`.")


async def authenticate(
    gateway: GatewayPart, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> ApiKey:
    """The key of the request. Raises UnauthenticatedProblem without one, or with one that is unknown or
    revoked.
    """
    if credentials is None:
        raise UnauthenticatedProblem(
            "No API key. Send `Authorization: Bearer pk-...`; `palier keys create NAME` makes one."
        )
    key = await gateway.keys.find(credentials.credentials)
    if key is None:
        raise UnauthenticatedProblem(
            "This API key is unknown or revoked. `palier keys list` shows the keys that there are."
        )
    return key


async def require_ask(key: Annotated[ApiKey, Depends(authenticate)]) -> ApiKey:
    """The key, if it may ask questions. Raises ForbiddenProblem."""
    return _with_scope(key, ASK, ADMIN)


async def require_admin(key: Annotated[ApiKey, Depends(authenticate)]) -> ApiKey:
    """The key, if it has the scope ``admin``. Raises ForbiddenProblem."""
    return _with_scope(key, ADMIN)


Key = Annotated[ApiKey, Depends(require_ask)]


def _with_scope(key: ApiKey, *accepted: str) -> ApiKey:
    if not set(accepted) & set(key.scopes):
        raise ForbiddenProblem(
            f"Key {key.key_id} lacks the scope {accepted[0]!r}. "
            f"Make one that has it: `palier keys create NAME --scope {accepted[0]}`."
        )
    return key
