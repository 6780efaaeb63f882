"""Reads every event and every live session of a vCenter with VMware's own client and prints them as JSON.

usage: pyvmomi_events.py HOST PORT USER
The first line of the input is the password; the session lasts until the input ends.
"""

import json
import sys

from pyVim.connect import Disconnect, SmartConnect
from pyVmomi import vim

ENTITIES = {
    "datacenter": "datacenter", "computeResource": "computeResource", "host": "host", "vm": "vm",
    "ds": "datastore", "net": "network", "dvs": "dvs",
}


def moment(value):
    return value.isoformat() if value is not None else None


def entity(argument, reference):
    target = getattr(argument, reference)
    return {"name": argument.name, "type": target.__class__.__name__.split(".")[-1], "id": target._moId}


def event(record):
    found = {
        "class": record.__class__.__name__.split(".")[-1],
        "key": record.key,
        "chainId": record.chainId,
        "createdTime": moment(record.createdTime),
        "userName": record.userName,
        "message": record.fullFormattedMessage,
        "entities": {},
    }
    for name, reference in ENTITIES.items():
        argument = getattr(record, name, None)
        if argument is not None and not isinstance(argument, str):
            found["entities"][name] = entity(argument, reference)
    for name in ("ipAddress", "userAgent", "sessionId", "callCount"):
        found[name] = getattr(record, name, None)
    found["loginTime"] = moment(getattr(record, "loginTime", None))
    return found


def session(record):
    return {
        "key": record.key,
        "userName": record.userName,
        "fullName": record.fullName,
        "loginTime": moment(record.loginTime),
        "ipAddress": record.ipAddress,
        "userAgent": record.userAgent,
    }


def main():
    host, port, user = sys.argv[1:4]
    password = sys.stdin.readline().strip()

    def connect():
        return SmartConnect(host=host, port=int(port), user=user, pwd=password, disableSslCertValidation=True)

    # Two sessions that come and go, so that there are pairs to read.
    for _ in range(2):
        Disconnect(connect())
    service = connect()
    try:
        content = service.RetrieveContent()
        # A fresh collector stands at the oldest event; rewinding it makes the simulator skip one.
        collector = content.eventManager.CreateCollectorForEvents(vim.event.EventFilterSpec())
        events = []
        while True:
            page = collector.ReadNextEvents(100)
            if not page:
                break
            events.extend(event(record) for record in page)
        collector.DestroyCollector()
        sessions = [session(record) for record in content.sessionManager.sessionList]
        print(json.dumps({"events": events, "sessions": sessions}), flush=True)
        # Stays logged in until the other side has looked at the sessions, too.
        sys.stdin.read()
    finally:
        Disconnect(service)


if __name__ == "__main__":
    main()
