"""The application: all routes, in the order in which addresses are tried."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.types import ASGIApp

from hfembed.localhub.errors import RefusalError
from hfembed.localhub.faults import FaultLayer
from hfembed.localhub.routes import (
    accounts,
    branches,
    collections,
    commits,
    discussions,
    endpoints,
    files,
    gitclone,
    info,
    jobs,
    lfs,
    pages,
    repos,
    schedules,
    search,
    signin,
    social,
    spaces,
    xet,
)
from hfembed.localhub.site import Site
from hfembed.localhub.wire import AddressLayer, refusal_response

_ROUTERS = (
    accounts,
    repos,
    commits,
    branches,
    discussions,
    social,
    collections,
    spaces,
    jobs,
    schedules,
    endpoints,
    lfs,
    xet,
    gitclone,
    files,
    search,
    info,
    signin,
    pages,
)


def build_app(site: Site) -> ASGIApp:
    """Return the server's application over a site."""
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.site = site
    app.add_exception_handler(RefusalError, refusal_response)
    for module in _ROUTERS:
        app.include_router(module.router)
    return FaultLayer(AddressLayer(app), site)
