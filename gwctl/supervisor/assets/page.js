"use strict";
// Shows the events of /live. Insert texts as text, never as HTML; drawings are SVG elements with attributes.

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);
const GOOD = new Set(["ready"]);
const BAD = new Set(["locked_out", "degraded", "backoff"]);
const OFF = new Set(["stopped", "stopping"]);
const LABELS = { locked_out: "locked out", logging_in: "logging in", awaiting_second_factor: "waiting for a second factor" };

function duration(s) {
  if (s === null || s === undefined) return "–";
  if (s < 9.95) return s.toFixed(1) + " s";
  const whole = Math.round(s);
  if (whole < 60) return whole + " s";
  if (whole < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
  if (whole < 86400) return Math.floor(whole / 3600) + " h " + Math.floor((whole % 3600) / 60) + " min";
  return Math.floor(whole / 86400) + " d " + Math.floor((whole % 86400) / 3600) + " h";
}
const milliseconds = (s) => (s < 1 ? Math.round(s * 1000) + " ms" : s.toFixed(2) + " s");
const megabytes = (b) => (b ? Math.round(b / 1e6) + " MB" : "–");
const time = (s) => new Date(s * 1000).toLocaleTimeString("en-GB");
const percent = (share) => (Math.floor(share * 10000) / 100).toFixed(2) + " %";
const many = (n, word) => n + " " + word + (n === 1 ? "" : "s");

// Leave an unchanged text alone: otherwise a screen reader would read it again.
function put(id, text) {
  const place = $(id);
  if (place.textContent !== text) place.textContent = text;
  place.hidden = text === "" && place.getAttribute("role") === "alert";
}

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function row(cells) {
  const made = element("tr");
  for (const cell of cells) made.append(element("td", cell));
  return made;
}

function rectangle(x, y, width, height, kind, title) {
  const made = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x, y, width, height })) made.setAttribute(key, value.toFixed(2));
  if (kind) made.setAttribute("class", kind);
  if (title) {
    const words = document.createElementNS(SVG, "title");
    words.textContent = title;
    made.append(words);
  }
  return made;
}

function showStatus(status) {
  const phase = status.phase;
  document.title = phase.replaceAll("_", " ") + " · " + status.profile + " · gwctl";
  const live = status.mode === "live" && !status.sandbox;
  const kind = status.sandbox ? "SANDBOX" : live ? "LIVE, real money" : "PAPER";
  put("profile", status.profile);
  put("account", [kind, status.show_username && status.username].filter(Boolean).join(" · "));
  $("account").className = live ? "badge bad" : "badge";
  put("phase-word", LABELS[phase] || phase);
  $("phase-word").className = "badge " + (GOOD.has(phase) ? "good" : BAD.has(phase) ? "bad" : OFF.has(phase) ? "off" : "");
  put("reason", status.reason || "");
  put("question", status.question ? status.question.text || "A second factor is needed" : "");
  showDrift(status.drift || []);
  put("next", status.next ? "next: " + status.next.what.replaceAll("_", " ") + (status.next.in_s > 0 ? " in " + duration(status.next.in_s) : " now") : "");
  put("clock", new Date().toLocaleString("en-GB"));
  const login = status.login;
  put("login", login.rejected + " of " + login.rejected_limit + " refused logins in 24 h" +
    (login.shared_with && login.shared_with.length ? " (with " + login.shared_with.join(", ") + ")" : "") +
    (login.last_at ? ", last login: " + String(login.last_outcome).replaceAll("_", " ") + " at " + login.last_at : "") +
    (login.locked ? ". LOCKED: a person is needed" : ""));
  showTickles(status.tickles, status.session);
  $("budget").replaceChildren(...Object.entries(status.budget || {}).map(([rung, spent]) =>
    row([rung, spent.hour + " of " + spent.per_hour, spent.day + " of " + spent.per_day])));
  showParts(status);
}

function showDrift(drift) {
  const list = $("drift");
  const texts = drift.map((one) => one.text + "; to apply it: " + one.remedy);
  list.hidden = texts.length === 0;
  if ([...list.children].map((one) => one.textContent).join("\n") === texts.join("\n")) return;
  list.replaceChildren(...texts.map((text) => element("li", text)));
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
  const top = Math.max(tickles.worst_s, 0.01);
  $("tickles").replaceChildren(...tickles.recent_s.map((s, at) => {
    const height = Math.max(1, (30 * s) / top);
    return rectangle(at, 30 - height, 0.8, height, "", milliseconds(s));
  }));
}

function access(isolation) {
  if (!isolation) return "–";
  return isolation.open_to.length ? "OPEN to " + isolation.open_to.join(" and ") + ": " + isolation.reason : "this user's programs only";
}

function showParts(status) {
  const gateway = status.gateway, session = status.session, supervisor = status.supervisor;
  const words = ["authenticated", "connected", "competing"].filter((word) => session[word]).join(", ") || "none";
  const facts = [
    ["session", words + (session.server_name ? ", " + session.server_name : "")],
    ["address", gateway.base_url || "–"],
    ["access", access(status.isolation)],
    ["gateway", gateway.pid ? "pid " + gateway.pid + ", up " + duration(gateway.uptime_s) + ", " + megabytes(gateway.rss_bytes) + ", " + many(gateway.restarts, "restart") : "not running"],
    ["release", gateway.release || "–"],
    ["supervisor", supervisor ? "pid " + supervisor.pid + ", up " + duration(supervisor.uptime_s) + ", " + megabytes(supervisor.rss_bytes) : "–"],
  ];
  const list = $("parts");
  if (list.children.length !== 2 * facts.length) {
    list.replaceChildren(...facts.flatMap(([name]) => [element("dt", name), element("dd", "")]));
  }
  facts.forEach(([, text], at) => {
    const place = list.children[2 * at + 1];
    if (place.textContent !== text) place.textContent = text;
  });
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
  const hours = [0, 0.25, 0.5, 0.75, 1].map((part) => (part === 1 ? "now" : time(day.began_s + part * span).slice(0, 5)));
  $("hours").replaceChildren(...hours.map((hour) => element("span", hour)));
  put("day-words", (day.uptime === null ? "no session was wanted" : percent(day.uptime) + " ready") + ", " +
    many(day.outages, "outage") + ", " + many(day.logins, "login") + ", " + many(day.restarts, "restart"));
  $("stretches").replaceChildren(...[...day.stretches].reverse().map((one) =>
    row([time(one.began_s), duration(one.ended_s - one.began_s), one.state, one.words])));
  $("lines").replaceChildren(...[...day.lines].reverse().map((line) => {
    const item = element("li");
    item.append(element("time", time(line.at_s), { datetime: new Date(line.at_s * 1000).toISOString() }), line.text);
    return item;
  }));
}

// Where the system cannot tell the supervisor whose browser this is, `gwctl status --web` puts a token into the address.
const token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token");
if (token) {
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", "/");
}

// What somebody sees who may not see everything.
function showOutline(outline) {
  document.title = outline.phase.replaceAll("_", " ") + " · gwctl";
  document.body.className = "outline";
  put("phase-word", LABELS[outline.phase] || outline.phase);
  put("reason", outline.reason || "");
  put("next", "For everything else, run `gwctl status --web` as the user who runs gwctl.");
}

let heard = Date.now();
const SHOWS = {
  status: (status) => { document.body.className = ""; showStatus(status); },
  outline: showOutline,
  day: showDay,
  busy: () => put("lost", "Too many windows show this page: close one"),
};

function showEvent(text) {
  const fields = Object.fromEntries(text.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
  if (!SHOWS[fields.event]) return;
  if (fields.event !== "busy") {
    heard = Date.now();
    put("lost", "");
  }
  SHOWS[fields.event](JSON.parse(fields.data));
}

// Like an EventSource, which cannot send a token.
async function follow() {
  const answer = await fetch("/live", token ? { headers: { Authorization: "Bearer " + token } } : {});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach(showEvent);
  }
}

async function followAlways() {
  for (;;) {
    await follow().catch(() => undefined);
    await new Promise((resume) => setTimeout(resume, 3000));
  }
}
followAlways();

setInterval(() => {
  if (Date.now() - heard < 5000) return;
  put("lost", "The supervisor has not answered since " + time(heard / 1000) + ". Run: gwctl status");
  $("phase-word").className = "badge off";
}, 1000);
