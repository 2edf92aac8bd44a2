"use strict";
// All profiles of this gwctl: shows the events of /profiles/live.

const cards = new Map();

function makeCard(name) {
  const card = element("li", undefined, { class: "card profile" });
  const sign = drawn("svg", { class: "sign", viewBox: "0 0 32 32", "aria-hidden": "true" });
  const parts = {
    card, sign,
    account: element("p", "", { class: "account" }),
    name: element("h2"),
    word: element("p", "", { class: "word" }),
    reason: element("p", "", { class: "reason" }),
    since: element("p"),
    advice: element("ul", undefined, { class: "commands" }),
    next: element("p", "", { class: "faint" }),
  };
  const state = element("div", undefined, { class: "state" });
  state.append(sign, parts.word);
  card.append(parts.account, parts.name, state, parts.reason, parts.since, parts.advice, parts.next);
  return parts;
}

function showName(place, status) {
  const address = status.supervisor ? status.supervisor.health_url + "/" : "";
  if (place.dataset.shown === status.profile + " " + address) return;
  place.dataset.shown = status.profile + " " + address;
  place.replaceChildren(address ? element("a", status.profile, { href: address }) : status.profile);
}

function showProfile(status) {
  if (!cards.has(status.profile)) cards.set(status.profile, makeCard(status.profile));
  const parts = cards.get(status.profile), tone = toneOf(stateOf(status)), account = accountWords(status);
  parts.card.className = "card profile " + tone + (isLive(status) ? " live" : "");
  drawSign(parts.sign, tone);
  putWhole(parts.account, account);
  parts.account.hidden = !account;
  showName(parts.name, status);
  put(parts.word, phaseWord(stateOf(status)));
  put(parts.reason, status.ready || status.reason === "not running" ? "" : status.reason);
  putWhole(parts.since, sinceWords(status));
  const commands = adviceFor(status).filter(([, rest]) => rest).map(([, rest]) => ["", command(status.profile, rest)]);
  showCommands(parts.advice, "command-" + status.profile, commands);
  putWhole(parts.next, nextWords(status));
  return parts.card;
}

function showProfiles({ profiles }) {
  const shown = profiles.map(showProfile), list = $("profiles");
  if (shown.length !== list.children.length || shown.some((card, at) => list.children[at] !== card)) list.replaceChildren(...shown);
  $("count").className = "count";
  const ready = profiles.filter((one) => one.ready).length;
  put("count", ready + " of " + profiles.length + " ready");
  document.title = ready + " of " + profiles.length + " ready · gwctl";
  document.body.className = "";
  showIcon(profiles.map((one) => toneOf(stateOf(one))).sort((a, b) => GRAVITY.indexOf(a) - GRAVITY.indexOf(b))[0] || "off");
}
// The page's icon is that of the profile that needs somebody most.
const GRAVITY = ["bad", "wait", "busy", "good", "off"];

function showOutline() {
  $("count").className = "card";
  put("count", "The user who runs gwctl sees all profiles with: gwctl status --web --all");
}

function showLost(since_s) {
  put("lost", "The supervisor that serves this page has not answered since " + time(since_s) + ". Run: gwctl status --all");
  document.body.className = "stale";
  showIcon("off");
}

follow("/profiles/live", { profiles: showProfiles, outline: showOutline, failed: ({ error }) => put("lost", error) }, showLost);
