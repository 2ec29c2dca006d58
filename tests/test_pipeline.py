"""One study is in the network while the next is read: workers share a host, and none holds it for another's work."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from db import jobs
from db.job_states import JobKind
from node.app import Node
from node.worker import Worker
from tests.driving import jobs_of, take_in, work_off
from tests.synthetic import small_series
from tests.threshold_host import ThresholdHosts, threshold


def test_a_study_is_read_and_asked_for_while_another_is_in_the_network(
    node: Node, threshold_hosts: ThresholdHosts
) -> None:
    both = threading.Barrier(2, timeout=60)

    def when_both_are_there(volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        both.wait()  # broken after a minute, where the second study is not read before the first one is answered
        return threshold(volume)

    threshold_hosts.answer = when_both_are_there
    take_in(node, small_series())
    take_in(node, small_series())
    work_off(node, JobKind.CHOOSE)
    claims = []
    for number in range(2):
        with node.database.write() as tx:
            claims.append(jobs.claim(tx, [JobKind.SEGMENT], f"worker {number}", 60))
    assert all(claim is not None for claim in claims)
    threads = [
        threading.Thread(target=Worker(node, claim.worker).attempt, args=(claim,))
        for claim in claims
        if claim is not None
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [job["state"] for job in jobs_of(node, JobKind.SEGMENT)] == ["done", "done"]
