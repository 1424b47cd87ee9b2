"""Keeps what callers ask for out of logs: `httpx` writes each request's URL at INFO, identity numbers and all."""

import logging

import httpx

from gateway.client.core import origin_of

_origins: set[str] = set()


class _WithoutQueries(logging.Filter):
    """Takes the query from URLs of gateways in the lines of `httpx`."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every line through, without what was asked."""
        if isinstance(record.args, tuple):
            record.args = tuple(
                each.copy_with(query=None) if isinstance(each, httpx.URL) and origin_of(each) in _origins else each
                for each in record.args
            )
        return True


_FILTER = _WithoutQueries()


def keep_quiet_about(url: httpx.URL) -> None:
    """From now on no query to this URL's origin is logged by `httpx`."""
    _origins.add(origin_of(url))
    logger = logging.getLogger("httpx")
    if _FILTER not in logger.filters:
        logger.addFilter(_FILTER)
