"""How fast the stand-ins serve, so that they are never what a measurement of the reader measures.

usage: stand_in_speed.py FEDAUDIT EVENTS      e.g. target/release/fedaudit 300000

Starts the demo and reads everything through TLS connections of the standard library, decoding nothing: records are counted
by a word that stands in each. Prints, for each product, records per second of the stand-in's own processor time (TLS
included), and per second of wall time with this slow reader in between.
"""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import statistics
import struct
import sys
import time
import tomllib
from urllib.parse import urlsplit

from stand_ins import demo


def main(fedaudit, events):
    with demo(fedaudit, "--seed", "1", "--events", events) as (process, config):
        for source in tomllib.load(open(config, "rb"))["source"]:
            measure(source, process.pid)


def measure(source, pid):
    context = ssl.create_default_context(cafile=source["tls"]["ca_file"])
    address = urlsplit(source["url"])
    read = {"truenas": truenas, "vsphere": vsphere, "sps": sps, "canvas": canvas}[source["type"]]
    own, wall = [], []
    for _ in range(5):
        records = 0
        pages = read(source, address, context)
        next(pages)  # logged in
        began, used = time.perf_counter(), processor_time(pid)
        for count in pages:
            records += count
        own.append(records / max(processor_time(pid) - used, 0.01))
        wall.append(records / (time.perf_counter() - began))
    own, wall = statistics.median(own), statistics.median(wall)
    print(f"{source['type']:8} {records:8} records, {own:8.0f}/s of its own time, {wall:8.0f}/s of wall time")


def processor_time(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")")[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def secret(source, key):
    return open(source[key].removeprefix("file:")).read().strip()


def canvas(source, address, context):
    http_ = http.client.HTTPSConnection(address.netloc, context=context)
    headers = {"authorization": "Bearer " + secret(source, "token")}
    target = "/api/v1/audit/authentication/accounts/self?per_page=100"
    yield 0
    while target:
        http_.request("GET", target, headers=headers)
        answer = http_.getresponse()
        page = answer.read()
        yield page.count(b'"event_type"')
        following = re.search(r'<[^>]*?(/api[^>]*)>; rel="next"', answer.headers["link"])
        target = following and following[1]


def sps(source, address, context):
    http_ = http.client.HTTPSConnection(address.netloc, context=context)
    login = base64.b64encode(f"{source['username']}:{secret(source, 'password')}".encode()).decode()
    http_.request("GET", "/api/authentication", headers={"authorization": "Basic " + login})
    answer = http_.getresponse()
    answer.read()
    headers = {"cookie": "; ".join(cookie.split(";")[0] for cookie in answer.headers.get_all("set-cookie"))}
    yield 0
    for _ in range(10):
        target = "/api/audit/sessions?fields=*&limit=500"
        while target:
            http_.request("GET", target, headers=headers)
            page = http_.getresponse().read()
            yield page.count(b'"body"')
            following = re.search(rb'"next":"([^"]*)"', page[-2000:])
            target = following and following[1].decode()


def vsphere(source, address, context):
    http_ = http.client.HTTPSConnection(address.netloc, context=context)
    cookie = {}

    def call(body):
        envelope = (
            '<?xml version="1.0"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" '
            'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body>'
            f"{body}</soapenv:Body></soapenv:Envelope>"
        )
        headers = {"content-type": "text/xml", "soapaction": "urn:vim25/8.0.3.0", **cookie}
        http_.request("POST", "/sdk", envelope, headers)
        answer = http_.getresponse()
        page = answer.read()
        if answer.headers["set-cookie"]:
            cookie["cookie"] = answer.headers["set-cookie"].split(";")[0]
        assert answer.status == 200, page
        return page

    login = f"<userName>{source['username']}</userName><password>{secret(source, 'password')}</password>"
    call(f'<Login xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this>{login}</Login>')
    made = call(
        '<CreateCollectorForEvents xmlns="urn:vim25"><_this type="EventManager">EventManager</_this>'
        "<filter/></CreateCollectorForEvents>"
    )
    collector = re.search(rb"<returnval[^>]*>([^<]*)<", made)[1].decode()
    of_collector = f'<_this type="EventHistoryCollector">{collector}</_this>'
    yield 0
    while True:
        page = call(f'<ReadNextEvents xmlns="urn:vim25">{of_collector}<maxCount>1000</maxCount></ReadNextEvents>')
        count = page.count(b"<returnval")
        if count == 0:
            break
        yield count
    call(f'<DestroyCollector xmlns="urn:vim25">{of_collector}</DestroyCollector>')
    call('<Logout xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this></Logout>')


def truenas(source, address, context):
    raw = socket.create_connection((address.hostname, address.port))
    stream = context.wrap_socket(raw, server_hostname=address.hostname)
    key = base64.b64encode(os.urandom(16)).decode()
    stream.sendall(
        f"GET /api/current HTTP/1.1\r\nhost: {address.netloc}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        f"sec-websocket-key: {key}\r\nsec-websocket-version: 13\r\n\r\n".encode()
    )
    answers = stream.makefile("rb", buffering=1 << 20)
    while answers.readline() != b"\r\n":
        pass

    def call(method, *params):
        text = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        length = struct.pack(">BBH", 0x81, 0xFE, len(text))
        stream.sendall(length + b"\0\0\0\0" + text)  # a mask of zeros changes nothing
        payload = b""
        while True:
            first, size = answers.read(2)
            size &= 0x7F
            if size >= 126:
                size = int.from_bytes(answers.read(2 if size == 126 else 8))
            payload += answers.read(size)
            if first & 0x80:
                return payload

    key = {"mechanism": "API_KEY_PLAIN", "username": source["username"], "api_key": secret(source, "api_key")}
    assert b"SUCCESS" in call("auth.login_ex", key)
    yield 0
    since = 0
    while True:
        options = {"order_by": ["message_timestamp", "audit_id"], "limit": 1000}
        filters = [["message_timestamp", ">=", since]]
        page = call("audit.query", {"services": ["MIDDLEWARE"], "query-filters": filters, "query-options": options})
        yield page.count(b'"audit_id"')
        last = int(re.findall(rb'"message_timestamp": ?(\d+)', page[-20_000:])[-1])
        if page.count(b'"audit_id"') < 1000 or last == since:
            break
        since = last
    call("auth.logout")
    stream.close()


main(*sys.argv[1:])
