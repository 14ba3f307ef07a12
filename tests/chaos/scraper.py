"""Repeatedly reads the counters and open files of every supervisor of a chaos run."""

import http.client
import threading
import urllib.request
from collections import defaultdict

import psutil

from patience import patient

_PAUSE_SECONDS = 1.0


class Scraper(threading.Thread):
    """Keeps the newest counters of each supervisor by process id; those of a killed one lack its last second."""

    def __init__(self) -> None:
        super().__init__(name="scraper", daemon=True)
        self.counters: dict[int, defaultdict[str, float]] = {}
        self.open_files: dict[int, list[int]] = {}
        self._ports: dict[int, int] = {}
        self._stop_requested = threading.Event()

    def watch(self, pid: int, port: int) -> None:
        """Read a supervisor from now on until it has ended."""
        self._ports[pid] = port

    def stop(self) -> None:
        """End the thread."""
        self._stop_requested.set()
        self.join(patient(10))

    def total(self, name: str) -> int:
        """The sum of a counter over all supervisors, ended ones included."""
        return round(sum(counters[f"streamworkers_{name}_total"] for counters in self.counters.values()))

    def run(self) -> None:
        """Read all supervisors in a loop until stopped."""
        while not self._stop_requested.wait(_PAUSE_SECONDS):
            for pid, port in list(self._ports.items()):
                try:
                    process = psutil.Process(pid)
                    if process.status() == psutil.STATUS_STOPPED:
                        continue
                    self.counters[pid] = _read(port)
                    self.open_files.setdefault(pid, []).append(process.num_fds())
                except psutil.NoSuchProcess:
                    del self._ports[pid]
                except (OSError, http.client.HTTPException, psutil.Error):
                    continue


def _read(port: int) -> "defaultdict[str, float]":
    counters: defaultdict[str, float] = defaultdict(float)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=patient(2)) as answer:
        for line in answer.read().decode().splitlines():
            name, _, rest = line.partition("{")
            if name.endswith("_total") and not line.startswith("#"):
                counters[name] += float(rest.rpartition(" ")[2])
    return counters
