"""What the program logs reaches the run's log, from threads too."""

import logging
from threading import Thread

import pytest
from loguru import logger

from flowledger.flows.logs import forwarded_to


def test_what_is_logged_meanwhile_is_forwarded(caplog: pytest.LogCaptureFixture) -> None:
    """Once each, at its own level, without what came before and after."""
    caplog.set_level(logging.INFO)
    logger.remove()
    logger.warning("before")
    with forwarded_to(logging.getLogger("run")):
        logger.warning("try {} failed: 50 % of {{all}}", 1)
        thread = Thread(target=lambda: logger.info("from a thread"))
        thread.start()
        thread.join()
        logger.debug("too much")
    logger.warning("after")
    shown = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert shown == [("WARNING", "try 1 failed: 50 % of {all}"), ("INFO", "from a thread")]
