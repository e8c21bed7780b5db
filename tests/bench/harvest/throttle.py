"""A TCP proxy before the S3 server that lets through so many bytes a second: a slow store."""

import contextlib
import socket
import threading
import time

CHUNK_BYTES = 1 << 16


class Throttle:
    """Bytes towards the server share one rate over all connections; answers pass freely."""

    def __init__(self, upstream_port: int, bytes_per_s: float) -> None:
        self._upstream, self._bytes_per_s = ("127.0.0.1", upstream_port), bytes_per_s
        self._lock, self._free_at_s = threading.Lock(), 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def endpoint(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._upstream)
                threading.Thread(target=self._pass, args=(client, server, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(server, client, False), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, throttled: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK_BYTES):
                if throttled:
                    self._wait(len(data))
                target.sendall(data)
        for side in (source, target):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _wait(self, count: int) -> None:
        with self._lock:
            start_s = max(self._free_at_s, time.monotonic())
            self._free_at_s = start_s + count / self._bytes_per_s
        time.sleep(max(0.0, start_s - time.monotonic()))
