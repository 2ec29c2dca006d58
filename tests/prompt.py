"""An application entity whose server ends when it is told to."""

from __future__ import annotations

from typing import Any

from pynetdicom import AE
from pynetdicom.transport import AssociationServer, ThreadedAssociationServer


class PromptAE(AE):
    """Its server looks fifty times in a second whether it shall end; pynetdicom's does it twice."""

    def make_server(self, *arguments: Any, **named: Any) -> AssociationServer:
        return super().make_server(*arguments, **named | {"server_class": _Server})


class _Server(ThreadedAssociationServer):
    def serve_forever(self, poll_interval: float = 0.02) -> None:
        super().serve_forever(poll_interval)

    def service_actions(self) -> None:
        """Nothing; pynetdicom's collects garbage in each sixtieth turn."""
