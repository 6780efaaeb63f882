"""Drives a Canvas with the client library of the Canvas community, and compares what it sees with what is true.

Called with a JSON file: origins of several servers, the token, and the truth. Every difference ends the program.
"""

import json
import sys

from canvasapi import Canvas, __version__
from canvasapi.assignment import Assignment
from canvasapi.authentication_event import AuthenticationEvent
from canvasapi.exceptions import (
    Forbidden,
    InvalidAccessToken,
    RateLimitExceeded,
    ResourceDoesNotExist,
    Unauthorized,
)
from canvasapi.paginated_list import PaginatedList


def same(what, seen, true):
    if seen != true:
        sys.exit(f"{what}: the client sees {str(seen)[:400]}, true is {str(true)[:400]}")


def fails(what, error, call):
    try:
        call()
    except error:
        return
    sys.exit(f"{what}: no {error.__name__}")


def events(account, **parameters):
    """The library does not name the member that holds the list, so that its own method cannot read the document."""
    path = f"audit/authentication/accounts/{account.id}"
    return PaginatedList(AuthenticationEvent, account._requester, "GET", path, _root="events", **parameters)


def flat(event):
    links = event.links
    return [event.id, event.created_at, event.event_type, links["login"], links["account"], links["user"], links["page_view"]]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        case = json.load(file)
    truth = case["truth"]
    canvas = Canvas(case["origin"], case["token"])
    account = canvas.get_account(truth["account"])
    same("name", account.name, truth["name"])
    same("accounts", [a.id for a in canvas.get_accounts()][:1], [truth["account"]])
    same("sub-accounts", len(list(account.get_subaccounts(recursive=True, per_page=1))), 2)

    # The whole log page by page, as the links lead; then a part of it.
    for size in (100, 37):
        same("events", [flat(event) for event in events(account, per_page=size)], truth["events"])
    first, last = truth["events"][60][1], truth["events"][40][1]
    part = [event for event in truth["events"] if first <= event[1] <= last]
    same("window", [flat(event) for event in events(account, start_time=first, end_time=last)], part)
    whole = events(account)
    same("dates", whole[0].created_at_date.isoformat().replace("+00:00", "Z"), truth["events"][0][1])
    fails("the compound document", AttributeError, lambda: list(account.get_authentication_events()))

    same("users", sorted(user.id for user in account.get_users(per_page=5)), truth["users"])
    for login in truth["logins"][:3]:
        user = canvas.get_user(login["user_id"])
        same("logins", [found.unique_id for found in user.get_user_logins()], [login["unique_id"]])

    same("courses", sorted(course.id for course in account.get_courses(per_page=3)), truth["courses"])
    for course in truth["courses"]:
        seen = [change.id for change in canvas.get_course(course).get_grade_change_events(per_page=7)]
        same(f"grades of {course}", seen, truth["grades"][str(course)])
    for assignment, true in truth["assignments"].items():
        log = Assignment(account._requester, {"id": int(assignment)}).get_grade_change_events()
        same(f"grades of assignment {assignment}", [change.id for change in log], true)

    fails("a deleted course", ResourceDoesNotExist, lambda: canvas.get_course(truth["deleted"]))
    fails("an unknown account", ResourceDoesNotExist, lambda: list(events(canvas.get_account(424242))))
    fails("a wrong token", InvalidAccessToken, lambda: Canvas(case["origin"], "not-a-secret").get_account(1))
    for name, error in (("forbidden", Forbidden), ("unauthorized", Unauthorized), ("throttled", RateLimitExceeded)):
        other = Canvas(case[name], case["token"]).get_account(truth["account"])
        fails(name, error, lambda: list(events(other)))
    print(f"canvasapi {__version__} saw {len(truth['events'])} events and all the rest")


main()
