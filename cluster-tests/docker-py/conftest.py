"""Stands in the place of the conftest of docker-py's own tests: they pull an image and make a
Swarm, and `skep docker-api` has neither. Their tests of secrets run as they are."""

import sys
import types

# Their helpers import a client of ssh, which no test of secrets uses.
sys.modules.setdefault("paramiko", types.ModuleType("paramiko"))

from .. import helpers  # noqa: E402
from .base import BaseAPIIntegrationTest  # noqa: E402

helpers.force_leave_swarm = lambda client: None
BaseAPIIntegrationTest._init_swarm = staticmethod(lambda client, **settings: None)
