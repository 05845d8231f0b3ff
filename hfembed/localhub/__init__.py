"""An embedded Hub: a real git-backed server that speaks the Hub's HTTP API to unmodified clients."""

from hfembed.localhub.errors import LocalHubError, MissingLibraryError
from hfembed.localhub.routing import route_public_address
from hfembed.localhub.server import LocalHub, add_fine_grained_token, add_oauth_application, add_user, serve

__all__ = [
    "LocalHub",
    "LocalHubError",
    "MissingLibraryError",
    "add_fine_grained_token",
    "add_oauth_application",
    "add_user",
    "route_public_address",
    "serve",
]
