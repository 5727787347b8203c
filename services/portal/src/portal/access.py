"""Who may open a page. The services decide who may read or change what; this only leads people to the sign-in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

from fastapi import Depends, Request

from kit.http.problems import FORBIDDEN
from portal.sessions import Session, SignedIn


class SignInRequired(Exception):
    """The page is for people who have signed in. `return_to`: the path to come back to."""

    def __init__(self, return_to: str) -> None:
        super().__init__(return_to)
        self.return_to = return_to

    @property
    def location(self) -> str:
        return f"/sign-in?return_to={quote(self.return_to)}"


def _session(request: Request) -> Session:
    session: Session = request.state.session
    return session


CurrentSession = Annotated[Session, Depends(_session)]


class SignedInAs:
    """A dependency that returns the person. Raises SignInRequired, and a 403 Problem for other roles than `roles`."""

    def __init__(self, *roles: str) -> None:
        self._roles = roles

    def __call__(self, request: Request, session: CurrentSession) -> SignedIn:
        if session.user is None:
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            raise SignInRequired(wanted if request.method == "GET" else "/")
        if self._roles and session.user.role not in self._roles:
            raise FORBIDDEN("This page is for other roles than yours.")
        return session.user


MANAGERS = ("case_manager", "admin")
"""Of a caseload."""
CurrentUser = Annotated[SignedIn, Depends(SignedInAs())]
Student = Annotated[SignedIn, Depends(SignedInAs("student"))]
Specialist = Annotated[SignedIn, Depends(SignedInAs("specialist"))]
Admin = Annotated[SignedIn, Depends(SignedInAs("admin"))]
CaseManager = Annotated[SignedIn, Depends(SignedInAs(*MANAGERS))]
