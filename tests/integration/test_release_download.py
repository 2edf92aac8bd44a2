"""Downloads from real servers on loopback that fail as servers do."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from release_fakes import (
    Answer,
    FaultyServer,
    Handler,
    certificate_for_nobody,
    drops_after,
    endless,
    huge,
    ignores_range,
    packed,
    release_files,
    release_zip,
    says,
    serving,
    serving_tls,
    silent,
    trickles,
    whole,
    wrong_range,
)

from gwctl.errors import DownloadFailed, ReleaseBroken, Usage
from gwctl.release.download import DownloadPolicy, DownloadProgress
from gwctl.release.store import ReleaseStore

BODY = packed({**release_files(), "doc/large.bin": hashlib.shake_256(b"large").digest(400_000)})


class Bench:
    """A store, the server that it downloads from, and what it reported."""

    def __init__(self, folder: Path, server: FaultyServer) -> None:
        self.releases_dir = folder / "releases"
        self.cache_dir = folder / "cache"
        self.server = server
        self.seen: list[DownloadProgress] = []

    def store(self, **policy: Any) -> ReleaseStore:
        policy = {"first_pause_s": 0.001, **policy}
        return ReleaseStore(self.releases_dir, self.cache_dir, policy=DownloadPolicy(**policy))

    def install(self, *answers: Answer, **policy: Any) -> str:
        self.server.answers = list(answers)
        return self.store(**policy).install(self.server.url(), progress=self.seen.append).release.sha256

    @property
    def pauses(self) -> list[float]:
        return [step.pause_s for step in self.seen if step.trouble]

    def parts(self) -> list[Path]:
        return sorted(path for path in self.cache_dir.iterdir() if path.suffix == ".part")


@pytest.fixture
def self_signed(tmp_path: Path) -> tuple[Path, Path]:
    return certificate_for_nobody(tmp_path)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with serving(BODY) as server:
        yield Bench(tmp_path, server)


def test_download_installs_the_bytes_that_the_server_has(bench: Bench) -> None:
    """A normal download is installed, reported byte by byte, and leaves nothing in the cache."""
    assert bench.install() == hashlib.sha256(BODY).hexdigest()
    assert bench.pauses == []
    assert bench.seen[-1].received_bytes == bench.seen[-1].total_bytes == len(BODY)
    assert list(bench.cache_dir.iterdir()) == []


def test_dropped_connection_is_resumed_where_it_broke(bench: Bench) -> None:
    """After an interruption only the missing part is requested, on condition that the file is unchanged."""
    assert bench.install(drops_after(100_000), whole) == hashlib.sha256(BODY).hexdigest()
    assert bench.server.requests[1]["Range"] == "bytes=100000-"
    assert bench.server.requests[1]["If-Range"] == '"one"'
    assert bench.seen[-1].received_bytes == len(BODY)
    assert any(step.trouble for step in bench.seen)


def test_download_is_taken_up_by_the_next_call(bench: Bench) -> None:
    """The next call does not download again what an earlier one got before it gave up."""
    with pytest.raises(DownloadFailed, match="dropped"):
        bench.install(drops_after(150_000), attempts=1)
    assert [part.stat().st_size for part in bench.parts()] == [150_000]
    assert bench.install() == hashlib.sha256(BODY).hexdigest()
    assert bench.server.requests[-1]["Range"] == "bytes=150000-"


def test_server_that_ignores_ranges_starts_over(bench: Bench) -> None:
    """A 200 for a range request replaces the bytes instead of being appended."""
    assert bench.install(drops_after(100_000), ignores_range) == hashlib.sha256(BODY).hexdigest()


def test_changed_file_is_never_glued_to_the_old_one(bench: Bench) -> None:
    """If the file changes between two calls, the old bytes are discarded."""
    with pytest.raises(DownloadFailed):
        bench.install(drops_after(100_000), attempts=1)
    bench.server.body, bench.server.etag = release_zip(conf=b"listenPort: 5001\n"), '"two"'
    assert bench.install() == hashlib.sha256(bench.server.body).hexdigest()


@pytest.mark.parametrize("etag", [None, 'W/"one"', "one", '"o\u00e9"', '"'])
def test_without_a_strong_etag_nothing_is_resumed(bench: Bench, etag: str | None) -> None:
    """Only a strong ETag may join two parts of a file."""
    bench.server.etag = etag
    assert bench.install(drops_after(100_000), whole) == hashlib.sha256(BODY).hexdigest()
    assert all("Range" not in request for request in bench.server.requests)


def test_range_that_was_not_asked_for_is_not_used(bench: Bench) -> None:
    """A 206 whose Content-Range does not start where the file ends starts the download over."""
    assert bench.install(drops_after(100_000), wrong_range, whole) == hashlib.sha256(BODY).hexdigest()
    assert "Range" not in bench.server.requests[2]


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_status_is_tried_again(bench: Bench, status: int) -> None:
    """A temporary failure is retried after a pause."""
    assert bench.install(says(status)) == hashlib.sha256(BODY).hexdigest()
    assert len(bench.pauses) == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_final_status_is_not_tried_again(bench: Bench, status: int) -> None:
    """A permanent failure is requested once, and the error has the status and an alternative."""
    with pytest.raises(DownloadFailed, match=str(status)) as caught:
        bench.install(says(status))
    assert len(bench.server.requests) == 1
    assert "gwctl release install FILE" in str(caught.value.hint)
    assert bench.store().list() == []


def test_pauses_grow_and_end(bench: Bench) -> None:
    """Attempts are counted and the pauses between them double."""
    with pytest.raises(DownloadFailed, match="503, 5 times"):
        bench.install(*[says(503)] * 9)
    assert len(bench.server.requests) == 5
    assert bench.pauses == [0.001, 0.002, 0.004, 0.008]


def test_steady_progress_is_not_counted_as_failure(bench: Bench) -> None:
    """A connection that drops often succeeds as long as each attempt brings enough bytes."""

    def drops_soon(handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        size = len(BODY)
        shown = f"bytes {start}-{size - 1}/{size}"
        handler.head(206 if start else 200, Content_Length=str(size - start), Content_Range=shown, ETag='"one"')
        handler.wfile.write(BODY[start : start + 30_000])

    answers = [drops_soon] * 30
    assert bench.install(*answers, attempts=2) == hashlib.sha256(BODY).hexdigest()


def test_announced_size_beyond_the_limit_is_refused_before_a_byte_is_read(bench: Bench) -> None:
    """A Content-Length that is too large for a release ends the download at once and leaves nothing."""
    with pytest.raises(DownloadFailed, match="larger than 200 MB"):
        bench.install(huge)
    assert len(bench.server.requests) == 1
    assert bench.parts() == []


def test_endless_body_is_cut_at_the_limit(bench: Bench) -> None:
    """An endless body is cut off by counting, and leaves nothing."""
    with pytest.raises(DownloadFailed, match="larger than 1 MB"):
        bench.install(endless, size_limit_bytes=1_000_000)
    assert bench.parts() == []


def test_silent_server_is_left_after_the_read_deadline(bench: Bench) -> None:
    """A server that never answers costs one read timeout per attempt."""
    with pytest.raises(DownloadFailed, match="did not answer in time, 2 times"):
        bench.install(silent, silent, read_timeout_s=0.2, attempts=2)


def test_trickling_server_is_left_after_the_whole_deadline(bench: Bench) -> None:
    """A server that sends too slowly is abandoned at the deadline of the whole download."""
    with pytest.raises(DownloadFailed, match=r"longer than 0\.5 s"):
        bench.install(trickles, total_timeout_s=0.5)


def test_nobody_listens(bench: Bench, tmp_path: Path) -> None:
    """A refused connection is retried, then reported in plain words."""
    with serving(b"") as gone:
        url = gone.url()
    with pytest.raises(DownloadFailed, match="cannot connect"):
        bench.store(attempts=2).install(url, progress=bench.seen.append)
    assert len(bench.pauses) == 1


def test_redirect_on_loopback_is_followed(bench: Bench) -> None:
    """A server on loopback may redirect to loopback."""
    assert bench.install(says(302, Location="/elsewhere.zip")) == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize(
    "target",
    [
        "http://download2.interactivebrokers.com/x.zip",
        "ftp://127.0.0.1/x.zip",
        "file:///etc/passwd",
        "http://127.0.0.1.evil.example/x.zip",
        "https://user:s3cr3t@example.com/x.zip",
    ],
)
def test_redirect_to_anything_but_https_is_refused(bench: Bench, target: str) -> None:
    """A redirect away from https is not followed, and the address's secrets are not repeated."""
    with pytest.raises(DownloadFailed, match="not followed") as caught:
        bench.install(says(302, Location=target))
    assert "s3cr3t" not in caught.value.message


def test_redirects_in_a_circle_end(bench: Bench) -> None:
    """The number of redirects is limited."""
    with pytest.raises(DownloadFailed, match="circle"):
        bench.install(*[says(302, Location="/again")] * 20)
    assert len(bench.server.requests) == 6


@pytest.mark.parametrize(
    "url",
    [
        "http://download2.interactivebrokers.com/portal/clientportal.gw.zip",
        "http://localhost.example.com/x.zip",
        "ftp://127.0.0.1/x.zip",
        "file:///tmp/x.zip",
        "https://",
        "https://me:secret@example.com/x.zip",
    ],
)
def test_address_that_is_not_https_is_refused_before_anything_is_asked(tmp_path: Path, url: str) -> None:
    """Only https, and http on loopback, is downloaded; a password in the address is refused and not repeated."""
    with pytest.raises(Usage) as caught:
        ReleaseStore(tmp_path / "r", tmp_path / "c").install(url)
    assert "secret" not in caught.value.message
    assert not (tmp_path / "r").exists()


def test_query_is_neither_recorded_nor_printed(bench: Bench) -> None:
    """A signature in the address's query reaches no file and no error."""
    url = bench.server.url("/clientportal.gw.zip?signature=s3cr3t")
    release = bench.store().install(url).release
    assert release.source.endswith("/clientportal.gw.zip?…")
    bench.server.answers = [says(404)]
    with pytest.raises(DownloadFailed) as caught:
        bench.store().install(url)
    assert "s3cr3t" not in caught.value.message
    kept = [path for path in bench.releases_dir.parent.rglob("*") if path.is_file()]
    assert all(b"s3cr3t" not in path.read_bytes() and "s3cr3t" not in path.name for path in kept)


def test_web_page_under_a_zips_name_is_no_release(bench: Bench) -> None:
    """A captive portal's page is reported as such, and the next call does not resume it."""
    bench.server.body = b"<!DOCTYPE html><html>log in to the hotel</html>"
    with pytest.raises(ReleaseBroken, match="web page"):
        bench.install()
    assert bench.parts() == []


def test_same_address_with_other_bytes_is_a_new_release(bench: Bench) -> None:
    """New bytes at a known address are installed next to the old release, which is named; the same change nothing."""
    first = bench.store().install(bench.server.url())
    bench.server.body, bench.server.etag = release_zip(conf=b"listenPort: 5001\n"), '"two"'
    second = bench.store().install(bench.server.url())
    assert (first.outcome, second.outcome) == ("installed", "new_bytes")
    assert second.previous == first.release
    assert second.release.version == f"{first.release.version}-{second.release.sha256[:8]}"
    assert bench.store().install(bench.server.url()).outcome == "already_installed"
    assert {release.version for release in bench.store().list()} == {first.release.version, second.release.version}


def test_pinned_release_that_is_installed_is_not_fetched(bench: Bench) -> None:
    """A pin identifies the bytes: if they are installed, no request is made."""
    digest = bench.install()
    asked = len(bench.server.requests)
    assert bench.store().install(bench.server.url(), sha256=digest.upper()).outcome == "already_installed"
    assert len(bench.server.requests) == asked


def test_pin_that_does_not_match_installs_nothing(bench: Bench) -> None:
    """Bytes with a checksum other than the pinned one are neither installed nor kept."""
    with pytest.raises(ReleaseBroken, match="not the pinned"):
        bench.store().install(bench.server.url(), sha256="0" * 64)
    assert bench.store().list() == []
    assert bench.parts() == []


def test_certificate_nobody_vouches_for_is_refused_at_once(bench: Bench, self_signed: tuple[Path, Path]) -> None:
    """TLS is verified: a self-signed server is refused without a retry."""
    with serving_tls(BODY, self_signed) as server, pytest.raises(DownloadFailed, match="certificate is not trusted"):
        bench.store().install(server.url().replace("http:", "https:"), progress=bench.seen.append)
    assert server.connections == 1
    assert bench.pauses == []


def test_https_is_installed_from_and_not_left(
    bench: Bench, self_signed: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trusted https server is used; its redirect to plain http, even on this machine, is not followed."""
    monkeypatch.setenv("SSL_CERT_FILE", str(self_signed[0]))
    with serving_tls(BODY, self_signed) as server:
        url = server.url().replace("http:", "https:")
        server.answers = [says(302, Location=bench.server.url())]
        with pytest.raises(DownloadFailed, match="not https: not followed"):
            bench.store().install(url)
        assert bench.store().install(url).release.source == url
    assert bench.server.requests == []


def test_loopback_never_goes_by_a_proxy(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment is not used for an address on this machine."""
    with serving(b"") as gone:
        proxy = gone.url("")
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert bench.install() == hashlib.sha256(BODY).hexdigest()


@pytest.mark.parametrize("more", [b"", b"more"])
def test_part_as_long_as_the_file_starts_over(bench: Bench, more: bytes) -> None:
    """If the server has no more bytes than the disk, none of those are used."""
    with pytest.raises(DownloadFailed):
        bench.install(drops_after(150_000), attempts=1)
    bench.parts()[0].write_bytes(BODY + more)
    assert bench.install() == hashlib.sha256(BODY).hexdigest()
    assert "Range" not in bench.server.requests[-1]
