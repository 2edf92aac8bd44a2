"use strict";
// What both pages share: texts, times, signs, copying, and the stream of events.
// Insert texts as text, never as HTML; drawings are SVG elements with attributes.

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

// A number and its unit, and a date and its time, stay on one line.
const measured = (...parts) => parts.join("\u00a0");

function duration(s) {
  if (s === null || s === undefined) return "–";
  if (s < 9.95) return measured(s.toFixed(1), "s");
  const whole = Math.round(s);
  if (whole < 60) return measured(whole, "s");
  if (whole < 3600) return measured(Math.floor(whole / 60), "min", whole % 60, "s");
  if (whole < 86400) return measured(Math.floor(whole / 3600), "h", Math.floor((whole % 3600) / 60), "min");
  return measured(Math.floor(whole / 86400), "d", Math.floor((whole % 86400) / 3600), "h");
}

const two = (n) => String(n).padStart(2, "0");
const clockOf = (date) => two(date.getHours()) + ":" + two(date.getMinutes()) + ":" + two(date.getSeconds());
const dayOf = (date) => date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate());

// The one form of a time: of today without the date, in this browser's zone, which the clock names.
function time(s) {
  const date = new Date(s * 1000);
  return dayOf(date) === dayOf(new Date()) ? clockOf(date) : measured(dayOf(date), clockOf(date));
}
const seconds = (utc) => Date.parse(utc) / 1000;

function showClock() {
  const now = new Date(), minutes = -now.getTimezoneOffset();
  const zone = "UTC" + (minutes < 0 ? "-" : "+") + two(Math.floor(Math.abs(minutes) / 60)) + ":" + two(Math.abs(minutes) % 60);
  put("clock", dayOf(now) + " " + clockOf(now) + " " + zone);
}

// Times that are counted from an age differ by a second from one status to the next.
const held = {};
function hold(name, s) {
  if (!(Math.abs(s - held[name]) < 2)) held[name] = s;
  return held[name];
}

// Leave an unchanged text alone: otherwise a screen reader would read it again.
function put(place, text) {
  const where = typeof place === "string" ? $(place) : place;
  if (where.textContent !== text) where.textContent = text;
  where.hidden = text === "" && where.getAttribute("role") === "alert";
}

// A line may end after a space or a slash, and nowhere else in a name, a command or a path.
function putWhole(place, text) {
  const where = typeof place === "string" ? $(place) : place;
  if (where.textContent === text) return;
  const pieces = text.split(/(?<=[^/]\/)(?!\/)|( )/).filter(Boolean);
  where.replaceChildren(...pieces.map((piece) => (piece === " " ? piece : element("span", piece, { class: "whole" }))));
}

function copyButton(place, words) {
  const button = element("button", "Copy", { type: "button", class: "copy", "data-copies": place.id });
  button.append(element("span", " " + words, { class: "unseen" }));
  return button;
}

function element(name, text, attributes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  return made;
}

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// Each phase: its words, its tone, and what happens or what to do, each with the command to type, if any.
const PHASES = {
  ready: ["Ready", "good"],
  starting: ["Starting", "busy", ["gwctl starts the gateway and then logs in. There is nothing to do."]],
  logging_in: ["Logging in", "busy", ["gwctl logs in with a hidden browser. There is nothing to do unless your phone asks for your approval."]],
  awaiting_second_factor: ["Waiting for a second factor", "wait", ["Approve the notification on your phone. gwctl then continues by itself."]],
  recovering: ["Recovering", "busy", ["gwctl repairs the session by itself. If this lasts, find the cause:", "doctor"]],
  degraded: ["Degraded", "wait", ["The session cannot be used at the moment. gwctl keeps trying; if this lasts, find the cause:", "doctor"]],
  backoff: ["Waiting to try again", "wait", ["The last attempt failed. gwctl tries again by itself; to find the cause:", "doctor"]],
  held: ["Waiting for the login hours", "off", ["Outside the login hours, gwctl does not log in by itself. To log in now:", "login"]],
  paused: ["Paused", "off", ["The brokerage session is yours, for TWS or the mobile app. To take it back:", "resume"]],
  locked_out: ["Locked out", "bad", ["gwctl sends no login until a person has fixed the cause. To see it:", "login --explain"], ["Once it is fixed:", "login --reset-lockout"]],
  stopping: ["Stopping", "off", ["gwctl ends the session and the gateway. To start again:", "up"]],
  stopped: ["Stopped", "off", ["Nothing runs for this profile. To start it:", "up"]],
  lost: ["No answer", "off", ["The supervisor may have been stopped, or the machine sleeps. To see what is going on:", "status"]],
};
const phaseWord = (phase) => (PHASES[phase] || [phase.replaceAll("_", " ")])[0];
const toneOf = (phase) => (PHASES[phase] || ["", "wait"])[1];

// Always with the profile: which one is meant without it can change, and another one may have real money.
const command = (profile, rest) => "gwctl --profile " + profile + " " + rest;

// A session that waits for the login hours is not in trouble.
function stateOf(status) {
  const waits = status.phase === "backoff" && status.planned && status.planned.logins_from && status.next;
  return waits && status.next.what === "login" ? "held" : status.phase;
}

function adviceFor(status) {
  if (status.question) return [["IBKR asks for a code. To type it on a terminal:", "login"]];
  if (status.person_needed === "manual_login") return [["A person must log in, in a window:", "login --manual"]];
  return (PHASES[stateOf(status)] || []).slice(2);
}

// Shows texts, each with the command to type below it. Rebuilt only on a change: a button keeps its focus.
function showCommands(list, name, pairs) {
  list.hidden = pairs.length === 0;
  const told = JSON.stringify(pairs);
  if (list.dataset.told === told) return;
  list.dataset.told = told;
  list.replaceChildren(...pairs.map(([text, typed], at) => {
    const item = element("li");
    if (text) item.append(element("p", text));
    if (!typed) return item;
    const line = element("p", undefined, { class: "command" }), code = element("code", "", { id: name + "-" + at });
    putWhole(code, typed);
    line.append(code, copyButton(code, "the command"));
    item.append(line);
    return item;
  }));
}
const typedFor = (profile, pairs) => pairs.map(([text, rest]) => [text, rest && command(profile, rest)]);

const isLive = (status) => status.mode === "live" && !status.sandbox;

function accountWords(status) {
  const kind = status.sandbox ? "SANDBOX" : { live: "LIVE, real money", paper: "PAPER" }[status.mode];
  return [kind, status.show_username !== false && status.username].filter(Boolean).join(" · ");
}

// How long the profile's state lasts.
function sinceWords(status) {
  if (!status.since) return "";
  const since_s = hold("since " + status.profile, seconds(status.since));
  return (status.ready ? "Authenticated for " : "For ") + duration(Math.max(0, Date.now() / 1000 - since_s)) + ", since " + time(since_s);
}

function nextWords(status) {
  const next = status.next, at = status.planned && status.planned.relogin_at;
  const plan = at ? "a login is planned at " + time(seconds(at)) : "";
  return [next && nextAction(next), plan].filter(Boolean).join("; ");
}

function nextAction(next) {
  const what = "Next: " + next.what.replaceAll("_", " ");
  if (!(next.in_s > 0)) return what + ", now";
  return what + " in " + duration(next.in_s) + (next.in_s < 60 ? "" : ", at " + time(Date.now() / 1000 + next.in_s));
}

// The signs differ in shape, not in colour alone. Each is an outer form and a stroke in it.
const SIGNS = {
  good: ["M16 1a15 15 0 1 0 0 30 15 15 0 0 0 0-30z", "M9 16.5l5 5 9.5-10.5"],
  busy: ["M16 1a15 15 0 1 0 0 30 15 15 0 0 0 0-30z", "M16 8.5v8l5.5 3.5"],
  wait: ["M16 2.2L31 29.5H1z", "M16 11.5v8.5M16 24.4v.6"],
  bad: ["M10 1h12l9 9v12l-9 9H10l-9-9V10z", "M10.8 10.8l10.4 10.4M21.2 10.8L10.8 21.2"],
  off: ["M5 2h22a3 3 0 0 1 3 3v22a3 3 0 0 1-3 3H5a3 3 0 0 1-3-3V5a3 3 0 0 1 3-3z", "M9 16h14"],
};
const COLOURS = { good: "#0f7b5a", busy: "#1a6fb0", wait: "#9a6700", bad: "#c9202a", off: "#59636e" };

function drawSign(place, tone) {
  if (place.dataset.tone === tone) return;
  place.dataset.tone = tone;
  const [form, stroke] = SIGNS[tone];
  place.replaceChildren(drawn("path", { d: form, class: "form" }), drawn("path", { d: stroke, class: "stroke" }));
}

function showIcon(tone) {
  const [form, stroke] = SIGNS[tone];
  const svg = `<svg xmlns="${SVG}" viewBox="0 0 32 32"><path d="${form}" fill="${COLOURS[tone]}"/>` +
    `<path d="${stroke}" fill="none" stroke="#fff" stroke-width="3.6" stroke-linecap="round" stroke-linejoin="round"/></svg>`;
  const address = "data:image/svg+xml," + encodeURIComponent(svg);
  if ($("icon").href !== address) $("icon").href = address;
}

// Without the permission to write to the clipboard, the text is selected, and the keys copy it.
async function copy(button) {
  const place = $(button.dataset.copies), words = button.firstChild;
  const before = button.dataset.words || (button.dataset.words = words.data);
  let said = "Copied";
  try {
    await navigator.clipboard.writeText(place.textContent);
  } catch {
    getSelection().selectAllChildren(place);
    said = document.execCommand("copy") ? "Copied" : "Selected";
  }
  words.data = said;
  clearTimeout(button.timer);
  button.timer = setTimeout(() => { words.data = before; }, 2000);
}
document.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-copies]");
  if (button) copy(button);
});

// Where the system cannot tell the supervisor whose browser this is, `gwctl status --web` puts a token into the address.
const token = new URLSearchParams(location.hash.slice(1)).get("token") || sessionStorage.getItem("token");
if (token) {
  sessionStorage.setItem("token", token);
  history.replaceState(null, "", location.pathname);
}

let heard = Date.now();

function showEvent(text, shows) {
  const fields = Object.fromEntries(text.split("\n").map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]));
  if (fields.event === "busy") {
    put("lost", "Too many windows show this page: close one");
    return;
  }
  heard = Date.now();
  if (!shows[fields.event]) return;
  put("lost", "");
  shows[fields.event](JSON.parse(fields.data));
}

// Like an EventSource, which cannot send a token.
async function followOnce(path, shows) {
  const answer = await fetch(path, token ? { headers: { Authorization: "Bearer " + token } } : {});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let rest = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    events.forEach((text) => showEvent(text, shows));
  }
}

async function follow(path, shows, onLost) {
  showClock();
  setInterval(() => {
    showClock();
    if (Date.now() - heard >= 5000) onLost(heard / 1000);
  }, 1000);
  for (;;) {
    await followOnce(path, shows).catch(() => undefined);
    await new Promise((resume) => setTimeout(resume, 3000));
  }
}
