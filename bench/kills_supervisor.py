"""A supervisor beside a controller that is killed: it numbers its commands, over MQTT."""

import json
import queue
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

SOURCE = "supervisor-1"
FIRST, WAIT_S = 1000, 10.0
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"  # not in every PATH

Acknowledgement = dict[str, Any]


class Supervisor:
    """Gives commands with growing numbers; `seq` is the last one that was accepted."""

    def __init__(self, port: int, site: str) -> None:
        self.seq: int | None = None
        self._root = f"ng/1/{site}"
        self._heard: queue.Queue[Acknowledgement] = queue.Queue()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = lambda _client, _data, message: self._heard.put(
            json.loads(message.payload)
        )
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        self._client.subscribe(f"{self._root}/ack/+", qos=1)

    def close(self) -> None:
        """Leave the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    def look(self) -> tuple[Acknowledgement | None, list[str]]:
        """Use the last number again, then the next: the acceptance of that, and what was wrong."""
        said = []
        if self.seq is not None:
            again = self._give(self.seq)
            if again is None or again["status"] != "rejected" or "seq:" not in again["reason"]:
                said.append(f"number {self.seq} once more: {again}")
        number = FIRST if self.seq is None else self.seq + 1
        made = self._give(number)
        if made is None or made["status"] == "rejected":
            return None, [*said, f"number {number}: {made}"]
        self.seq = number
        return made, said

    def _give(self, number: int) -> Acknowledgement | None:
        """What became of a harmless command; None without an answer."""
        now_s, known = time.time(), str(uuid.uuid4())
        envelope = {"v": 1, "id": known, "iat": now_s, "exp": now_s + 60.0, "src": SOURCE}
        envelope |= {"seq": number, "op": "plan.replan", "args": {}}
        self._client.publish(f"{self._root}/cmd", json.dumps(envelope), qos=1)
        end_s = time.monotonic() + WAIT_S
        while (left_s := end_s - time.monotonic()) > 0:
            try:
                heard = self._heard.get(timeout=left_s)
            except queue.Empty:
                break
            if heard["id"] == known and heard["status"] != "received":
                return heard
        return None


@contextmanager
def broker(folder: Path, options: str = "") -> Iterator[int]:
    """Run Mosquitto on loopback; yields its port. Raises TimeoutError when it does not answer.

    `options` are further lines of its configuration.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    file = folder / "mosquitto.conf"
    text = f"listener {port} 127.0.0.1\nallow_anonymous true\n{options}"
    file.write_text(text, encoding="utf-8")
    with (folder / "mosquitto.log").open("ab") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", str(file)], stdout=log, stderr=log)
    try:
        _await(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def _await(port: int) -> None:
    end_s = time.monotonic() + WAIT_S
    while time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"{MOSQUITTO} does not answer at port {port}")
