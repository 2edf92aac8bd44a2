"""One supervisor from start to end: its lock, record, HTTP server and signals around the loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from msgspec.structs import replace

from gwctl import process
from gwctl.background_writer import BackgroundWriter
from gwctl.core.messages import (
    ByHandWanted,
    Finish,
    FolderLost,
    LoggedInByHand,
    LoginWanted,
    Pause,
    Phase,
    RestartWanted,
    SessionPushed,
    StartWanted,
    StopWanted,
)
from gwctl.core.planned import PauseOver, PauseWanted
from gwctl.core.tables import NO_LOGINS, Snapshot, phase_of
from gwctl.errors import GwctlError, ProfileHeld
from gwctl.gateway.launch import adopt as find_running
from gwctl.history.counters import Counters
from gwctl.history.journal import Journal
from gwctl.login_ledger.ledger import Ledger
from gwctl.signals import whole
from gwctl.state_file import make_private_dir, write_json
from gwctl.supervisor import kept_pause, release_watch
from gwctl.supervisor.authenticator import Authenticator
from gwctl.supervisor.door_keeper import DoorKeeper
from gwctl.supervisor.gateway_keeper import GatewayKeeper
from gwctl.supervisor.handover import Lease, hidden
from gwctl.supervisor.health import Answer, HealthServer, Routes, open_health
from gwctl.supervisor.interfaces import Witness
from gwctl.supervisor.kept_budgets import KeptBudgets
from gwctl.supervisor.loop import Loop
from gwctl.supervisor.probe import Probe
from gwctl.supervisor.profile_lock import FolderGuard, ProfileLock
from gwctl.supervisor.questions import ManualLogins, Questions
from gwctl.supervisor.registration import Registration
from gwctl.supervisor.sandbox_process import begin_anew, stop_stand_in
from gwctl.supervisor.served import DriftWatch, refuse_other_kind
from gwctl.supervisor.status_object import outline_of, status_of
from gwctl.supervisor.status_report import Page
from gwctl.supervisor.wiring import Order, find_credentials, notifier_of, plan_of, policy_from, ports_of, worker_of
from gwctl.version import VERSION

log = logging.getLogger("gwctl.supervisor")

HOUSEKEEPING_S = 30.0
DRAIN_S = 2.0
TIDY_AFTER_S = 1.0
HEARTBEAT_S = 1.0
LIVE_WITHIN_S = 120.0
NEWS_S = 10.0
"""How long the end waits for notifications; it does not wait if a person requested the end."""


class Service:
    """One supervisor. ``run`` returns how it ended; by then everything it held is released."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.settings = order.settings
        self.paths = order.settings.paths
        self.instance = secrets.token_hex(8)
        self.started_monotonic = time.monotonic()
        self.disk = BackgroundWriter("gwctl-disk")
        self.journal = Journal(self.paths.journal_file, scribe=self.disk)
        self.ledger = Ledger.of(order.settings, sandbox=order.sandbox)
        self.probe = Probe(
            wanted_kind=self.settings["mode"], portfolio_is_enough=self.settings["ready_when"] == "portfolio"
        )
        self.hold = ProfileLock(self.paths.supervisor_lock)
        self.folder = FolderGuard(
            self.paths, self.hold, write=self._write_again, on_lost=self._folder_lost, on_taken=self._abdicate
        )
        self.keeper = GatewayKeeper(
            self.settings,
            order.environment.variables,
            self.probe,
            sandbox=order.sandbox,
            fast=order.fast,
            on_pin=self._warm_up,
            on_note=self._note,
            on_hint=lambda ready: self.loop.post(SessionPushed(ready=ready)),
            load=order.load,
            is_ours=self.folder.is_ours,
        )
        self.door = DoorKeeper(lambda: self.keeper.settings, order.environment.variables, self._note)
        self.drift = None if order.load is None else DriftWatch(self.settings, order.load, self.keeper.pid, self._note)
        self.notifier = notifier_of(order, self.disk.do)
        self.questions = Questions(self.settings, order.environment.variables, on_note=self._note)
        self.questions.attended = order.attended
        self.authenticator = Authenticator(
            self.settings,
            order.environment.variables,
            self.ledger,
            credentials=lambda: find_credentials(self.order),
            on_cookies=self._keep_cookies,
            on_note=self._note,
            questions=self.questions,
            start_worker=worker_of(order),
        )
        self.plan = plan_of(self.settings)
        ports = ports_of(order, self.keeper, self.probe, self.authenticator, self.plan)
        self.loop = Loop(policy_from(self.settings, fast=order.fast), ports, self.journal, self._changed)
        outline = partial(outline_of, self)
        self.page = Page(self.status, outline, self.paths, lambda: self.journal.count, order.environment.variables)
        reads = (self.status, outline, self.is_live)
        routes = Routes(*reads, self._control, self._events, self.page.pages, self.page.streams, self._metrics)
        self.health = HealthServer(routes, secrets.token_urlsafe(24), self.instance)
        self.registration = Registration(self.paths, self.health.open_control)
        self.port: int | None = None
        self._news = asyncio.Event()
        self.numbers = Counters(time.monotonic)
        self.probe.on_tickle = self.numbers.ticked
        follower = [] if order.follow is None else [order.follow]
        self.witnesses: list[Witness] = [self.numbers.saw, self.notifier.see, *follower]
        self._finish: dict[str, Any] | None = None
        self._followed = 0
        self._keep_gateway = self._gave_up = False
        self.journal.on_entry = self._tell_followers
        self._was_ready = self._forgets = False
        self.budgets = None if order.sandbox else KeptBudgets(self.paths.budget_file, self.disk.do)
        self.ended_by: signal.Signals | None = None
        self.manual_logins = ManualLogins(self.loop.post)
        self.lease = Lease(order.holder, lambda: self.loop.post(StopWanted()), self._note)

    # Callbacks of the loop.

    def _warm_up(self, pin: str) -> None:
        snapshot = self.loop.snapshot
        if not self.probe.cookies and snapshot.session not in NO_LOGINS and snapshot.logins_from is None:
            self.authenticator.prepare(pin)
        self.authenticator.pin = pin

    def _note(self, kind: str, **fields: object) -> None:
        self.journal.write(kind, **fields)
        if kind in {"gateway", "adopted"}:
            self.door.open()
        if kind in {"gateway", "adopted"} and self.drift is not None:
            settle_s = policy_from(self.keeper.settings).settle_expected_s
            self.loop.policy = replace(self.loop.policy, settle_expected_s=settle_s)
            self.drift.poke()
        self._changed(self.loop.snapshot)

    def _keep_cookies(self, cookies: tuple[tuple[str, str], ...]) -> None:
        self.probe.cookies = cookies

    def _changed(self, snapshot: Snapshot) -> None:
        self._guard_folder()
        if self.budgets is not None:
            self.budgets.keep(snapshot)
        ready = phase_of(snapshot) is Phase.READY
        if ready and not self._was_ready:
            self._close_idle_browser()
            # The call that started it is over: no person is at a terminal for the next login.
            self.questions.attended = False
            asyncio.get_running_loop().call_later(TIDY_AFTER_S, process.give_back_memory)
        if ready is not self._was_ready:
            self.keeper.hints.session_is(up=ready)
        self._was_ready = ready
        self._tell_followers()

    def _tell_followers(self) -> None:
        """Pass on each entry as it is written, not at the next phase change; a witness's error never stops the loop."""
        entries, self._followed = self.journal.since(self._followed), self.journal.count
        for entry in entries:
            for saw in self.witnesses:
                try:
                    saw(entry)
                except Exception:  # the session comes first
                    log.exception("a witness of the journal failed")
        self._news.set()

    def _guard_folder(self) -> None:
        """Lock the profile again if its folder was deleted; if another supervisor has taken it, leave it."""
        if self.port is not None and self._finish is None:
            self.folder.look()

    async def _write_again(self) -> None:
        await self.registration.write()
        await whole(self.ledger.restore)
        if self.loop.snapshot.pause is not None:
            await asyncio.to_thread(kept_pause.save, self.paths, self.loop.snapshot.pause)
        if self.budgets is not None:
            self.budgets.lose()

    def _folder_lost(self) -> None:
        self.journal.write("warning", code="folder_lost", text="the profile's folder was deleted")
        self.loop.post(FolderLost())

    def _abdicate(self) -> None:
        self._keep_gateway = True
        self.loop.post(StopWanted(keep_gateway=True))

    def _close_idle_browser(self) -> None:
        if self.authenticator.is_warm:
            task = asyncio.get_running_loop().create_task(self.authenticator.close())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def is_live(self) -> bool:
        """Return whether the loop still runs."""
        return time.monotonic() - self.loop.turned_at < LIVE_WITHIN_S

    # Requests.

    def status(self) -> dict[str, Any]:
        """Return the ``status`` object."""
        return status_of(self)

    def _metrics(self, accept: str) -> Answer:
        from gwctl.supervisor.metrics import answer_scrape

        return answer_scrape(self, accept)

    async def _control(self, verb: str, body: dict[str, Any]) -> dict[str, Any]:
        match verb:
            case "stop":
                self._keep_gateway = bool(body.get("keep_session"))
                self._forgets = body.get("by_person", True) is True
                self.loop.post(StopWanted(keep_gateway=self._keep_gateway))
            case "restart":
                self.loop.post(RestartWanted())
            case "pause" | "resume":
                await self._pause(kept_pause.wanted(body) if verb == "pause" else None)
            case "door":
                self.door.open()
            case "login":
                handed = hidden(body.get("secrets", {}))
                self.order = replace(self.order, handed_over={**self.order.handed_over, **handed})
                self.questions.attended = body.get("attended") is True
                self.loop.post(LoginWanted())
            case "by_hand" | "logged_in_by_hand":
                self._leave_to_person(body, logged_in=verb == "logged_in_by_hand")
            case "answer":
                if not self.questions.give(int(body.get("id", 0)), str(body.get("code", ""))):
                    return {"ok": False, "error": "no code is needed any more"}
            case "hold" | "let_go" | "keep":
                ending = self._finish is not None or phase_of(self.loop.snapshot) is Phase.STOPPING
                return self.lease.answer(verb, body, ending=ending)
            case _:
                return {"ok": False, "error": f"no such command: {verb}"}
        return {"ok": True, "n": self.journal.count}

    async def _pause(self, pause: Pause | None) -> None:
        """Begin a pause, or end it; on disk first, because it must hold for the next supervisor."""
        if pause is None:
            await asyncio.to_thread(kept_pause.remove, self.paths)
            self.loop.post(PauseOver())
        else:
            await asyncio.to_thread(kept_pause.save, self.paths, pause)
            self._keep_cookies(())
            self.loop.post(PauseWanted(pause=pause))

    def _leave_to_person(self, body: dict[str, Any], *, logged_in: bool) -> None:
        if not logged_in:
            self.manual_logins.take(body)
            return
        cookies = tuple((str(name), str(value)) for name, value in body.get("cookies", []))
        self._keep_cookies(cookies)
        self.manual_logins.done()
        self.loop.post(LoggedInByHand(resumable=bool(cookies)))

    async def _events(self, since: int) -> AsyncIterator[dict[str, Any]]:
        yield {"n": 0, "kind": "status", "status": self.status()}
        while True:
            self._news.clear()
            for entry in self.journal.since(since):
                since = entry["n"]
                yield entry
            if self._finish is not None:
                yield self._finish
                return
            try:
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_S)
            except TimeoutError:
                # A follower's own deadline must not wait for the next entry.
                yield {"n": 0, "kind": "alive"}

    # Start and end.

    async def run(self) -> Finish:
        """Lock the profile, run the loop to its end, and release everything; raises GwctlError if it cannot start."""
        await asyncio.to_thread(make_private_dir, self.paths.logs_dir)
        if not await asyncio.to_thread(self.hold.take):
            raise ProfileHeld(f"another gwctl supervises profile {self.settings.profile!r}", hint="gwctl status")
        try:
            return await self._run_locked()
        finally:
            await whole(self.hold.release)
            # The lock is released: a new start of the profile need not wait for the notifications.
            await self.notifier.close(grace_s=NEWS_S if self._gave_up else 0.0)

    async def _run_locked(self) -> Finish:
        await asyncio.to_thread(refuse_other_kind, self.paths, self.settings.profile, sandbox=self.order.sandbox)
        if self.order.sandbox:
            await asyncio.to_thread(begin_anew, self.paths)
        aside = await asyncio.to_thread(self.ledger.prepare)
        if aside is not None:
            self.journal.write("warning", code="damaged_state", text=f"the damaged login ledger was moved to {aside}")
        if self.budgets is not None:
            # Before anything saves the snapshot: a note, or a request to stop.
            self.loop.take(await asyncio.to_thread(self.budgets.recall))
        if (pause := await asyncio.to_thread(kept_pause.load, self.paths)) is not None:
            self.loop.take(PauseWanted(pause=pause))
        self.port = await open_health(self.health, self.settings)
        told = {"port": self.port, "instance": self.instance, "token": self.health.token}
        self.registration.told = {**told, "sandbox": self.order.sandbox, "gateway_port": self.settings["port"]}
        await self.registration.write()
        self.journal.begin(sandbox=self.order.sandbox, version=VERSION, attended=self.order.attended)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Under nohup, SIGHUP is ignored and stays ignored.
            if number is not signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._on_signal, number)
        self.lease.begin()
        housekeeping = loop.create_task(self._keep_house())
        try:
            if self.order.by_hand:
                # Before the gateway starts, or a login would begin before the person's call has reported itself.
                self.loop.post(ByHandWanted())
            running = await asyncio.to_thread(find_running, self.paths)
            if running is not None and self.drift is not None:
                await self.drift.look_first(running.java.pid)
            finish = await self.loop.run(StartWanted(adopted=running is not None))
            await self._end(finish)
            return finish
        finally:
            housekeeping.cancel()
            await asyncio.gather(housekeeping, self.lease.close(), self.manual_logins.close(), return_exceptions=True)
            await self.door.close()
            await self.keeper.close()
            await self.authenticator.close()
            await self.health.stop()
            await self.page.close()
            if await self.folder.is_ours():
                self.disk.do(self._unrecord)
            # While the lock is held: the next supervisor continues where the journal ends.
            await asyncio.to_thread(self.disk.flush)

    def _on_signal(self, number: signal.Signals) -> None:
        log.info("%s: stopping", number.name)
        self.ended_by = number
        self.loop.post(StopWanted())

    def _unrecord(self) -> None:
        if self.hold.is_intact():  # otherwise the record may belong to the next supervisor
            self.registration.remove()

    async def _keep_house(self) -> None:
        watches = (release_watch.watch(self.order), *([] if self.drift is None else [self.drift.watch()]))
        await asyncio.gather(self._keep_files(), *watches)

    async def _keep_files(self) -> None:
        while True:
            await asyncio.sleep(HOUSEKEEPING_S)
            self.disk.do(self.keeper.rotate_log)
            await self.keeper.keep_firewall()
            self.notifier.look(self.loop.snapshot.reason)
            if self.hold.is_intact():
                self.journal.seen(ready=self._was_ready)
                with contextlib.suppress(GwctlError):
                    await asyncio.to_thread(self.ledger.keep, self.settings)
                    if await asyncio.to_thread(self.registration.is_lost):
                        await self.registration.write()
            if self._was_ready:
                await self.keeper.classes.make()

    async def _end(self, finish: Finish) -> None:
        if self._keep_gateway and self.keeper.running is not None:
            self.keeper.let_go()
        elif self.order.sandbox and await self.folder.is_ours():
            await stop_stand_in(self.paths)
        told: dict[str, Any] = {"exit_code": finish.exit_code, "code": finish.code, "text": finish.text}
        self._finish = {"n": 0, "kind": "finish", **told, "hint": finish.hint}
        if self.folder.abdicated:
            return
        self._gave_up = finish.exit_code != 0
        if finish.exit_code == 0 and self._forgets and self.budgets is not None:
            # The person may start it again at once: the budgets limit only what gwctl does by itself.
            self.budgets.forget()
        self.journal.write("end", **told)
        self.disk.do(partial(write_json, self.paths.last_end_file, {**self._finish, "at_s": time.time()}))
        self._changed(self.loop.snapshot)
        await self.health.drain(DRAIN_S)
