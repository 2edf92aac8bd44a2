"use strict";
// One profile's page: shows the events of /live.

const milliseconds = (s) => (s < 1 ? measured(Math.round(s * 1000), "ms") : measured(s.toFixed(2), "s"));
const megabytes = (b) => (b ? measured(Math.round(b / 1e6), "MB") : "–");
const percent = (share) => measured((Math.floor(share * 10000) / 100).toFixed(2), "%");
const many = (n, word) => n + " " + word + (n === 1 ? "" : "s");
const yes = (value) => (value ? "yes" : "no");

let last = null;

function row(cells) {
  const made = element("tr");
  for (const cell of cells) made.append(element("td", cell));
  return made;
}

function rectangle(x, y, width, height, kind, title) {
  const [left, top, wide, high] = [x, y, width, height].map((n) => n.toFixed(2));
  const made = drawn("rect", { x: left, y: top, width: wide, height: high });
  if (kind) made.setAttribute("class", kind);
  if (title) {
    const words = drawn("title", {});
    words.textContent = title;
    made.append(words);
  }
  return made;
}

function showPhase(phase, titleStart) {
  const tone = toneOf(phase);
  put("phase-word", phaseWord(phase));
  $("hero").className = "card hero " + tone;
  drawSign($("sign"), tone);
  showIcon(tone);
  document.title = [titleStart, phaseWord(phase).toLowerCase(), last && last.profile, "gwctl"].filter(Boolean).join(" · ");
}

function showStatus(status) {
  last = status;
  document.body.className = isLive(status) ? "live" : "";
  showPhase(stateOf(status), isLive(status) ? "LIVE" : "");
  put("profile", status.profile);
  putWhole("account", accountWords(status));
  $("account").hidden = !accountWords(status);
  // A ready session's reason only counts its seconds.
  put("reason", status.ready ? "" : status.reason || "");
  putWhole("since", sinceWords(status));
  put("question", status.question ? status.question.text || "A second factor is needed" : "");
  showCommands($("advice"), "advice", typedFor(status.profile, adviceFor(status)));
  showCommands($("drift"), "drift", byRemedy(status.drift || []));
  putWhole("next", nextWords(status));
  showConnect(status);
  showSession(status);
  showLogins(status);
  showParts(status);
  showTickles(status.tickles, status.session);
}

function byRemedy(drift) {
  return [...new Set(drift.map((one) => one.remedy))].map((remedy) => {
    const texts = drift.filter((one) => one.remedy === remedy).map((one) => one.text);
    return [texts.join(". ") + ". To apply " + (texts.length === 1 ? "it" : "them") + ":", remedy];
  });
}

function showConnect(status) {
  const gateway = status.gateway;
  putWhole("address", gateway.base_url || "–");
  putWhole("ca", gateway.ca_file);
  putWhole("env", 'eval "$(' + command(status.profile, "env") + ')"');
  const isolation = status.isolation, door = status.door;
  put("access", !isolation ? "–" : isolation.open_to.length
    ? "OPEN to " + isolation.open_to.join(" and ") + ": " + isolation.reason : "this user's programs only");
  $("access").className = isolation && isolation.open_to.length ? "loud" : "";
  $("door-row").hidden = !door;
  if (!door) return;
  putWhole("door", door.problem ? "closed: " + door.problem : "https://" + door.address + (door.read_only ? ", read-only" : "") +
    (door.token_file ? ", token in " + door.token_file : ", client certificates"));
}

function showSession(status) {
  const session = status.session;
  put("authenticated", yes(session.authenticated));
  put("connected", yes(session.connected));
  put("competing", yes(session.competing));
  put("sso", session.sso_expires_s ? "valid for " + duration(session.sso_expires_s) : "–");
  put("server", session.server_name || "–");
}

function showLogins(status) {
  const login = status.login, shared = login.shared_with || [];
  $("login").className = login.locked ? "loud" : "";
  put("login", login.rejected + " of " + login.rejected_limit + (login.locked ? ", LOCKED: a person is needed" : ""));
  putWhole("last-login", login.last_at ? String(login.last_outcome).replaceAll("_", " ") + ", " + time(seconds(login.last_at)) : "none yet");
  $("shared-row").hidden = shared.length === 0;
  put("shared", shared.join(", "));
  $("budget").replaceChildren(...Object.entries(status.budget || {}).map(([step, spent]) =>
    row([step, spent.hour + " of " + spent.per_hour, spent.day + " of " + spent.per_day])));
}

function showParts(status) {
  const gateway = status.gateway, supervisor = status.supervisor;
  put("gateway", gateway.pid ? "pid " + gateway.pid : "not running");
  put("gateway-up", gateway.pid ? duration(gateway.uptime_s) : "–");
  put("gateway-memory", megabytes(gateway.rss_bytes));
  put("restarts", String(gateway.restarts));
  put("release", gateway.release || "–");
  put("supervisor", supervisor ? "pid " + supervisor.pid : "–");
  put("supervisor-up", supervisor ? duration(supervisor.uptime_s) : "–");
  put("supervisor-memory", supervisor ? megabytes(supervisor.rss_bytes) : "–");
}

function showTickles(tickles, session) {
  if (!tickles) {
    put("tickle-words", "none yet");
    $("tickles").replaceChildren();
    return;
  }
  const age = session.last_tickle_age_s;
  put("tickle-words", "answered in " + milliseconds(tickles.last_s) + (age === null ? "" : ", " + duration(age) + " ago") +
    "; median " + milliseconds(tickles.median_s) + ", worst " + milliseconds(tickles.worst_s));
  const top = Math.max(tickles.worst_s, 0.01), width = 120 / Math.max(60, tickles.recent_s.length);
  $("tickles").replaceChildren(...tickles.recent_s.map((s, at) => {
    const height = Math.max(1, (30 * s) / top);
    return rectangle(at * width, 30 - height, width * 0.8, height, "", milliseconds(s));
  }));
}

function showDay(day) {
  if (day.error) {
    put("day-words", day.error);
    return;
  }
  const span = day.ended_s - day.began_s;
  const x = (s) => (1000 * (s - day.began_s)) / span;
  // Draw short and bad stretches last, and wide enough to see.
  const weight = { stopped: 0, ready: 1, starting: 2, unknown: 3, down: 4 };
  const stretches = [...day.stretches].sort((a, b) => weight[a.state] - weight[b.state]);
  $("day").replaceChildren(...stretches.map((one) => {
    const width = x(one.ended_s) - x(one.began_s);
    return rectangle(Math.max(0, x(one.began_s)), 0, weight[one.state] > 1 ? Math.max(3, width) : width, 28, one.state,
      one.state + ": " + one.words + "\n" + time(one.began_s) + ", " + duration(one.ended_s - one.began_s));
  }));
  const hours = [0, 0.25, 0.5, 0.75, 1].map((part) =>
    (part === 1 ? "now" : clockOf(new Date(1000 * (day.began_s + part * span))).slice(0, 5)));
  $("hours").replaceChildren(...hours.map((hour) => element("span", hour)));
  const ready = day.lengths_s.ready, wanted = Object.values(day.lengths_s).reduce((sum, s) => sum + s, 0) - day.lengths_s.stopped;
  const share = day.uptime !== null ? percent(day.uptime) + " ready" : wanted > 0
    ? "not enough data: ready " + duration(ready) + " of " + duration(wanted) : "no session was wanted";
  put("day-words", share + ", " +
    many(day.outages, "outage") + ", " + many(day.logins, "login") + ", " + many(day.restarts, "restart"));
  $("stretches").replaceChildren(...[...day.stretches].reverse().map((one) =>
    row([time(one.began_s), duration(one.ended_s - one.began_s), one.state, one.words])));
  $("lines").replaceChildren(...[...day.lines].reverse().map((line) => {
    const item = element("li");
    item.append(element("time", time(line.at_s), { datetime: new Date(line.at_s * 1000).toISOString() }), element("span", line.text));
    return item;
  }));
}

// What somebody sees who may not see everything.
function showOutline(outline) {
  document.body.className = "outline";
  showPhase(outline.phase, "");
  put("reason", outline.reason || "");
  put("next", "The user who runs gwctl sees everything else with: gwctl status --web");
}

function showLost(since_s) {
  const before = last ? " Before that: " + phaseWord(stateOf(last)).toLowerCase() + "." : "";
  put("lost", "The supervisor has not answered since " + time(since_s) + "." + before);
  showPhase("lost", "");
  put("reason", "");
  put("since", "");
  put("next", "");
  if (last) showCommands($("advice"), "advice", typedFor(last.profile, PHASES.lost.slice(2)));
}

follow("/live", { status: showStatus, outline: showOutline, day: showDay }, showLost);
