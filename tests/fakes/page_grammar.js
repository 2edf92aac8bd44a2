// The behavior of a page of the grammar; the server inserts its configuration. It finds parts by data attributes, which
// the login ignores.
(() => {
const C = "@@CONFIG@@";
const host = document.getElementById("app");
const R = C.inside === "shadow" ? host.attachShadow({mode: "open"}) : host;
const top_ = C.inside === "frame" ? window.top : window;
const q = (s) => R.querySelector(s), all = (s) => [...R.querySelectorAll(s)];
const later = (ms, f) => ms ? setTimeout(f, ms) : f();
let mode = C.mode, lost = C.click_lost, step = "password", device = "", spinning = false, sent = false;

function style() {
  const css = document.querySelector("style").cloneNode(true);
  if (C.inside === "shadow") R.append(css);
}
function fields() {
  q("[data-r=fields]").innerHTML = C.fields;
  enable();
}
let able = 0;
function enable() {
  const button = q("[data-r=b]");
  if (!button) return;
  const full = q("[data-r=u]").value && q("[data-r=p]").value;
  const off = spinning || performance.now() < able || (C.disabled_while_empty && !full);
  if (button.matches("button, input")) button.disabled = off;
  else button.setAttribute("aria-disabled", String(off));
}
function show(name) {
  step = name;
  q("[data-p=password]").hidden = name !== "password";
  if (C.lazy) q("[data-r=steps]").innerHTML = name in C.panels ? C.panels[name] : "";
  all("[data-r=steps] [data-p]").forEach((p) => { p.hidden = p.dataset.p !== name; });
  if (C.cover_returns) cover();
  if (name === "push") poll();
}
function cover() {
  if (!C.cover || R.querySelector(".over")) return;
  const box = document.createElement("div");
  box.innerHTML = C.cover;
  R.append(box);
  box.querySelectorAll("[data-close]").forEach((b) => b.addEventListener("click", () => box.remove()));
  if (C.cover_goes_ms) setTimeout(() => box.remove(), C.cover_goes_ms);
}
function banner(text) {
  q("[data-r=banner]").textContent = text;
  q("[data-r=banner]").hidden = false;
}
function hush() {
  all("[data-e]").forEach((e) => e.remove());
  all(".is-invalid").forEach((e) => e.classList.remove("is-invalid"));
  all("[aria-invalid]").forEach((e) => e.removeAttribute("aria-invalid"));
}
function complain(text, place, stands_ms) {
  hush();
  const box = document.createElement("div");
  box.dataset.e = "";
  const inCode = step === "code";
  // Next to a visible field: the password's may be on the second half, which is hidden again.
  const places = inCode ? ["[data-p=code] [data-k]"] : ["[data-r=p]", "[data-r=u]"];
  const field = places.map(q).find((f) => f.checkVisibility()) || q(places[0]);
  const slot = q(inCode ? "[data-r=code-error]" : "[data-r=error]");
  const p = document.createElement("p");
  p.textContent = text;
  box.append(p);
  if (place === "xyz") { box.className = "xyzblock-error"; p.className = "xyz-errormessage"; }
  if (place === "legacy") { box.className = "alert alert-danger margin-top-10"; p.id = "ERRORMSG"; }
  if (place === "danger" || place === "both") box.className = "alert alert-danger";
  if (place === "role" || place === "both") box.setAttribute("role", "alert");
  if (place === "feedback") { field.classList.add("is-invalid"); box.className = "invalid-feedback"; }
  if (place === "aria") {
    box.id = "why";
    field.setAttribute("aria-invalid", "true");
    field.setAttribute("aria-describedby", "why");
  }
  if (place === "feedback" || place === "aria") field.after(box); else slot.append(box);
  if (stands_ms) setTimeout(() => box.remove(), stands_ms);
}
async function send(message) {
  sent = true;
  hush();
  if (C.transport === "document") {
    const form = document.createElement("form");
    form.method = "post";
    form.action = "/sso/Authenticator";
    const input = document.createElement("input");
    input.type = "hidden";
    input.name = "j";
    input.value = JSON.stringify(message);
    form.append(input);
    document.body.append(form);
    form.submit();
    return;
  }
  spinning = true;
  enable();
  let answer = {};
  try {
    const r = await fetch("/sso/Authenticator", {method: "POST", body: JSON.stringify(message)});
    try { answer = await r.json(); } catch { answer = {}; }
  } catch { answer = {}; }
  spinning = false;
  enable();
  apply(answer);
}
function apply(a) {
  if (a.done) { setTimeout(() => { top_.location.href = "/sso/Dispatcher?forwardTo=22&RL=1&ip2loc=US"; }, a.done_ms); return; }
  if (a.reload) { top_.location.reload(); return; }
  if (a.spin) { spinning = true; enable(); return; }
  if (a.clear) fields();
  if (a.show !== undefined) show(a.show);
  if (a.clear_code) all("[data-k]").forEach((k) => { k.value = ""; });
  if (a.banner) { q("[data-p=password]").hidden = true; all("[data-p]").forEach((p) => { p.hidden = true; }); banner(a.banner); }
  if (a.error) later(a.late_ms, () => complain(a.error, a.place, a.stands_ms));
}
async function poll() {
  while (step === "push") {
    await new Promise((go) => setTimeout(go, 150));
    const r = await fetch("/sso/Authenticator", {method: "POST", body: JSON.stringify({a: "poll"})});
    const answer = await r.json();
    if (step === "push") apply(answer);
  }
}
const beacon = (what) => fetch("/sso/metrics", {method: "POST", body: what}).catch(() => 0);
function press() {
  const button = q("[data-r=b]");
  if (button.disabled || button.getAttribute("aria-disabled") === "true") return;
  const user = q("[data-r=u]").value, secret = q("[data-r=p]").value;
  if (C.telemetry === "click") beacon("click");
  if (C.two_step && q("[data-r=second]").hidden) { second(); return; }
  if (C.press_empties) { C.press_empties = false; fields(); return; }
  if (!user || !secret || C.temper === "swallowed") return;
  const decoys = Object.fromEntries(all("[data-d]").map((d) => [d.dataset.d, d.type === "checkbox" ? String(d.checked) : d.value]));
  send({a: "password", mode: C.switch === "none" ? null : mode, user, secret, decoys});
}
function second() {
  if (!q("[data-r=u]").value) return;
  q("[data-r=go]").hidden = true;
  q("[data-r=second]").hidden = false;
  if (!C.username_stays) q("[data-r=first]").hidden = true;
}
function code() {
  const value = all("[data-p=code] [data-k]").map((k) => k.value).join("");
  if (value) send({a: "code", code: value});
}
function to(wanted) {
  if (lost) { lost = false; mark(); return; }
  mode = wanted;
  mark();
  if (C.clears) fields();
}
function mark() {
  const on = mode === "paper";
  all("[data-m]").forEach((m) => { m.checked = on; });
  all("[data-mb]").forEach((m) => m.setAttribute("aria-checked", String(on)));
  all("[data-mr]").forEach((m) => { m.checked = m.value === mode; });
  all("[data-mt]").forEach((m) => m.setAttribute("aria-selected", String(m.dataset.mt === mode)));
  all("[data-ms]").forEach((m) => { m.value = on ? "p" : "l"; });
  const button = q("[data-r=b].xyz-button-login");
  if (button) { button.textContent = on ? "Simulated Login" : "Login"; button.classList.toggle("btn-danger", on); }
}
function listen() {
  R.addEventListener("submit", (e) => {
    e.preventDefault();
    if (step === "code") code(); else if (step === "password" && e.target.querySelector("[data-r=p]")) press();
  });
  R.addEventListener("input", enable);
  R.addEventListener("input", (e) => {
    if (!e.target.matches(".box") || !e.target.value) return;
    const boxes = all(".box"), next = boxes[boxes.indexOf(e.target) + 1];
    if (next) next.focus();
  });
  R.addEventListener("change", (e) => {
    if (e.target.matches("[data-m]")) to(e.target.checked ? "paper" : "live");
    if (e.target.matches("[data-mr]")) to(e.target.value);
    if (e.target.matches("[data-ms]")) to(e.target.value === "p" ? "paper" : "live");
    if (e.target.matches("[data-r=ds]")) { device = e.target.value; if (device && !C.button_needed) send({a: "device", device}); }
  });
  R.addEventListener("click", (e) => {
    const on = (s) => e.target.closest(s);
    let hit;
    if ((hit = on("[data-r=b]")) && !(hit.form && hit.type === "submit")) press();
    else if (on("[data-r=c]")) second();
    else if (on("[data-mb]")) to(mode === "paper" ? "live" : "paper");
    else if ((hit = on("[data-mt]"))) to(hit.dataset.mt);
    else if ((hit = on("[data-v]"))) {
      all("[data-v]").forEach((v) => v.setAttribute("aria-selected", String(v === hit)));
      device = hit.dataset.v;
      if (!C.button_needed) send({a: "device", device});
    }
    else if (on("[data-r=db]")) { if (device) send({a: "device", device}); }
    else if ((hit = on("[data-ch]"))) send({a: "channel", channel: hit.dataset.ch});
    else if ((hit = on("[data-r=kb]")) && !hit.form) code();
    else if (on("[data-skip]")) send({a: "skip"});
    else if (on("[data-resend]")) { e.preventDefault(); send({a: "resend"}); }
  });
}
function begin() {
  R.innerHTML = C.page;
  style();
  able = performance.now() + C.disabled_ms;
  setTimeout(enable, C.disabled_ms + 5);
  fields();
  mark();
  listen();
  if (C.telemetry === "always") setInterval(() => beacon("tick"), 300);
  if (C.cover) cover();
  if (C.empties_after_ms !== null && !C.answer) setTimeout(() => { if (!sent) fields(); }, C.empties_after_ms);
  if (C.announces_after_ms !== null) setTimeout(() => banner("Scheduled maintenance on Saturday from 9 to 11"), C.announces_after_ms);
  if (C.answer) apply(C.answer);
}
if (!C.never) later(C.answer ? 0 : C.form_after_ms, begin);
})();
