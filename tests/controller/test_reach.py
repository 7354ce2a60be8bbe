"""A 403 is not believed just after the server could not be used, and believed if it stays."""

from __future__ import annotations

import pytest

from berth.controller.errors import (
    ApiError,
    Forbidden,
    NotAllowed,
    NotYetAuthorized,
    Timeout,
    Unavailable,
    from_status,
)
from berth.controller.reach import GRACE, Reach

PODS, LEASE = ("list", "pods"), ("get", "leases")
DENIED = 'pods is forbidden: User "system:serviceaccount:berth:berth" cannot list resource "pods"'


def denied(words: str = DENIED) -> ApiError:
    return from_status(403, {"reason": "Forbidden", "message": words})


def lost() -> ApiError:
    return Unavailable("no connection")


def test_a_403_out_of_the_blue_is_believed() -> None:
    judged = Reach().judge(denied(), PODS, 100.0, write=False)
    assert type(judged) is NotAllowed
    assert str(judged).startswith(DENIED)
    assert "helm upgrade" in str(judged)


@pytest.mark.parametrize(
    "before", [lost(), Timeout("no answer"), from_status(503, {}), from_status(500, {})]
)
def test_a_403_after_the_server_was_away_passes_by_itself(before: ApiError) -> None:
    reach = Reach()
    reach.judge(before, LEASE, 100.0, write=False)
    judged = reach.judge(denied(), PODS, 100.0 + GRACE, write=False)
    assert type(judged) is NotYetAuthorized
    assert judged.over
    assert judged.again_within is not None
    assert 1 <= judged.again_within <= 2
    assert str(judged) == DENIED, "without a cure for what is no fault"


def test_not_longer_than_the_grace_counted_for_each_right() -> None:
    reach = Reach()
    reach.judge(lost(), LEASE, 100.0, write=False)
    assert isinstance(reach.judge(denied(), PODS, 101.0, write=False), NotYetAuthorized)
    assert isinstance(reach.judge(denied(), PODS, 101.0 + GRACE, write=False), NotYetAuthorized)
    assert type(reach.judge(denied(), PODS, 102.0 + GRACE, write=False)) is NotAllowed
    # A server that is lost again and again does not put it off for ever.
    reach.judge(lost(), LEASE, 103.0 + GRACE, write=False)
    assert type(reach.judge(denied(), PODS, 104.0 + GRACE, write=False)) is NotAllowed
    assert isinstance(reach.judge(denied(), LEASE, 104.0 + GRACE, write=False), NotYetAuthorized)
    reach.succeeded(PODS, 105.0 + GRACE)
    assert isinstance(reach.judge(denied(), PODS, 106.0 + GRACE, write=False), NotYetAuthorized)


@pytest.mark.parametrize(
    "words", ["exceeded quota: gpus", 'pods "x" is forbidden: violates PodSecurity "restricted"']
)
def test_what_a_quota_or_a_policy_refuses_is_no_matter_of_time(words: str) -> None:
    reach = Reach()
    reach.judge(lost(), LEASE, 100.0, write=False)
    judged = reach.judge(denied(words), PODS, 101.0, write=True)
    assert type(judged) is Forbidden
    assert str(judged) == words


def test_it_is_back_with_the_first_success_after_an_outage() -> None:
    reach = Reach()
    assert reach.succeeded(LEASE, 1.0) is False
    reach.judge(lost(), LEASE, 100.0, write=False)
    assert reach.succeeded(LEASE, 100.5) is False, "one bad answer is no outage"
    reach.judge(lost(), LEASE, 101.0, write=False)
    reach.judge(lost(), LEASE, 150.0, write=False)
    assert reach.succeeded(LEASE, 151.0) is True
    assert reach.succeeded(LEASE, 152.0) is False


def test_a_webhook_that_fails_for_one_object_is_no_outage() -> None:
    reach = Reach()
    reach.judge(from_status(500, {"message": "failed calling webhook"}), PODS, 100.0, write=True)
    assert reach.succeeded(LEASE, 150.0) is False
