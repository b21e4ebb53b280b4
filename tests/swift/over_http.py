"""A pytest plugin that has Swift's unit tests of its storage servers call other servers, over HTTP.

$APUS_OBJECT, $APUS_CONTAINER and $APUS_ACCOUNT say where these are. The tests name devices and partitions as they like, and
use the same accounts again and again: here all of it goes to one device, and each server that a test makes has accounts of
its own.
"""

import http.client
import itertools
import os
import re
import urllib.parse
import uuid

DEVICE = "d1"
PARTITION = "1"
SECONDS = 10
# What a connection says of itself is no part of the answer.
OF_CONNECTION = {"connection", "date", "keep-alive", "server", "transfer-encoding"}
SAFE_IN_QUERY = "%/:=&?~#+!$,;'@()*[]"
numbers = itertools.count()


def read_body(env, chunked):
    """The body of a call, and whether it tells its length."""
    source, length = env.get("wsgi.input"), None if chunked else env.get("CONTENT_LENGTH")
    if source is None:
        return b"", False
    if length not in (None, "") and str(length).isdigit():
        return source.read(int(length)), True
    if length not in (None, ""):
        return b"", True
    pieces = []
    while True:
        try:
            piece = source.read(65536)
        except TypeError:
            piece = source.read()
        if not piece:
            return b"".join(pieces), False
        pieces.append(piece)


class Elsewhere:
    """Stands in the place of a storage server's controller."""

    variable = None

    def __init__(self, conf=None, logger=None, **_):
        self.conf = conf or {}
        self.logger = logger
        self.mark = f"{uuid.uuid4().hex[:8]}{next(numbers)}"

    def target(self, env):
        device, *rest = env.get("PATH_INFO", "").split("/")[1:]
        if re.fullmatch(r"sd[a-z][0-9]?", device):
            device = DEVICE
        if rest and not rest[0].isdigit():
            rest[0] = PARTITION
        if len(rest) > 1 and rest[1]:
            rest[1] += self.mark
        path = urllib.parse.quote("/".join(["", device, *rest]).encode("latin1"))
        query = env.get("QUERY_STRING")
        if query:
            path += "?" + urllib.parse.quote(query.encode("latin1", "replace"), safe=SAFE_IN_QUERY)
        return path

    def __call__(self, env, start_response):
        headers = {
            name[5:].replace("_", "-").title(): str(value)
            for name, value in env.items()
            if name.startswith("HTTP_") and value is not None
        }
        if env.get("CONTENT_TYPE"):
            headers["Content-Type"] = env["CONTENT_TYPE"]
        chunked = "chunked" in headers.pop("Transfer-Encoding", "").lower()
        body, has_length = read_body(env, chunked)
        headers.pop("Content-Length", None)
        connection = http.client.HTTPConnection(os.environ[self.variable], timeout=SECONDS)
        try:
            connection.putrequest(
                env["REQUEST_METHOD"], self.target(env), skip_accept_encoding=True, skip_host="Host" in headers
            )
            for name, value in headers.items():
                connection.putheader(name, value.encode("latin1", "replace"))
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif has_length:
                connection.putheader("Content-Length", str(env["CONTENT_LENGTH"]))
            elif body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if chunked:
                if body:
                    connection.send(b"%x\r\n%s\r\n" % (len(body), body))
                connection.send(b"0\r\n\r\n")
            elif body:
                connection.send(body)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        told = [(name, value) for name, value in response.getheaders() if name.lower() not in OF_CONNECTION]
        start_response(f"{response.status} {response.reason}", told)
        return [content]


def pytest_configure():
    import swift.account.server
    import swift.container.server
    import swift.obj.server
    import test.unit

    # Nothing is written here that would need them.
    test.unit.xattr_supported_check = lambda: True

    def elsewhere(name):
        return type(f"{name.title()}Elsewhere", (Elsewhere,), {"variable": f"APUS_{name}"})

    swift.obj.server.ObjectController = elsewhere("OBJECT")
    swift.container.server.ContainerController = elsewhere("CONTAINER")
    swift.account.server.AccountController = elsewhere("ACCOUNT")
