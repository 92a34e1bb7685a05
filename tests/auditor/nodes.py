"""A cluster of three of the program, on free ports of loopback, and questions to it. It ends with this process."""

import http.client
import json
import socket
import subprocess
import threading
import time
from pathlib import Path
from urllib.parse import quote

IDS = ("n1", "n2", "n3")
READY_S = 60
ANSWER_S = 30


class Cluster:
    """Three nodes, each with its own store under one directory."""

    def __init__(self, program: Path, directory: Path):
        self.program, self.directory = program, directory
        self.ports = dict(zip(IDS, zip(free_ports(3), free_ports(3))))
        self.running: dict[str, subprocess.Popen] = {}
        blocks = [
            f'[[process]]\nid = "{one}"\ngrpc = "127.0.0.1:{grpc}"\nrest = "127.0.0.1:{rest}"\ndir = "{directory}/{one}"\n'
            for one, (grpc, rest) in self.ports.items()
        ]
        text = 'cluster = "audited"\n' + "".join(blocks) + '[snapshot]\ninterval = "off"\n'
        (directory / "cluster.toml").write_text(text)

    def start(self, *ids: str):
        for one in ids:
            command = [self.program, "node", "--config", self.directory / "cluster.toml", "--id", one, "--log-level", "warn"]
            log = (self.directory / f"{one}.log").open("ab")
            # A node ends with its stdin, so none is left behind.
            self.running[one] = subprocess.Popen(
                [*command, "--stop-with-stdin"], stdin=subprocess.PIPE, stdout=log, stderr=log
            )
        for one in ids:
            until(f"{one} is ready", lambda one=one: self.is_ready(one))

    def kill(self, *ids: str):
        for one in ids:
            node = self.running.pop(one)
            node.kill()
            node.wait()

    def stop(self):
        for node in self.running.values():
            node.stdin.close()
        for node in self.running.values():
            node.wait(ANSWER_S)
        self.running.clear()

    def is_ready(self, one: str) -> bool:
        if self.running[one].poll() is not None:
            raise SystemExit(f"{one} has ended: {(self.directory / f'{one}.log').read_text()}")
        try:
            return self.ask(one, "/readyz")[0] == 200
        except OSError:
            return False

    def ask(self, one: str, path: str, post: dict | None = None) -> tuple[int, bytes]:
        return ask(self.ports[one][1], path, post)

    def read(self, one: str, path: str) -> dict:
        status, body = self.ask(one, path)
        if status != 200:
            raise SystemExit(f"{one}{path}: {status} {body.decode()}")
        return json.loads(body)

    def grpc(self) -> list[str]:
        urls = [f"http://127.0.0.1:{grpc}" for grpc, _ in self.ports.values()]
        return [argument for url in urls for argument in ("--grpc", url)]


def account(process: str, name: str) -> str:
    return f"/v1/processes/{quote(process, safe='')}/accounts/{quote(name, safe='')}"


def until(what: str, holds):
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if holds():
            return
        time.sleep(0.05)
    raise SystemExit(f"within {READY_S} s: {what}")


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


# A connection for each thread and node; one that the node has closed meanwhile is opened again.
connections = threading.local()


def ask(port: int, path: str, post: dict | None) -> tuple[int, bytes]:
    kept = connections.__dict__
    for is_last in (False, True):
        if str(port) not in kept:
            kept[str(port)] = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        try:
            if post is None:
                kept[str(port)].request("GET", path)
            else:
                kept[str(port)].request("POST", path, json.dumps(post), {"content-type": "application/json"})
            answer = kept[str(port)].getresponse()
            return answer.status, answer.read()
        except (http.client.HTTPException, OSError):
            del kept[str(port)]
            if is_last:
                raise OSError(f"no answer from port {port}") from None
